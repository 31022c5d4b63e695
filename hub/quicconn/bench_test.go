package quicconn_test

import "testing"

// BenchmarkHandshake is a node's connection, both ends: what limits how fast a
// fleet comes back.
func BenchmarkHandshake(b *testing.B) {
	c := newCloud(b)
	d := c.dialer(c.link.Addr().String(), "edge-1").(dialer).Dialer
	b.ReportAllocs()
	for b.Loop() {
		near, err := d.Dial(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		far, err := c.link.Accept(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		near.Close()
		far.Close()
	}
}
