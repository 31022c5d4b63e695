package quicconn_test

import (
	"testing"

	"github.com/edgekit/edgekit/hub/quicconn"
)

// BenchmarkHandshake connects a node, both ends in one process: this limits how fast a
// fleet comes back.
func BenchmarkHandshake(b *testing.B) {
	c := newCloud(b)
	d, err := quicconn.NewDialer(quicconn.DialerConfig{Addr: c.link.Addr().String(), TLS: c.ClientTLS("edge-1")})
	if err != nil {
		b.Fatal(err)
	}
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
