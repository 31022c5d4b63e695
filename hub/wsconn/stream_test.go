package wsconn

import (
	"slices"
	"testing"
)

// TestNothingAfterClose closes a stream while a Write waits, and checks the message that
// is sent before the Write wakes: bytes after a close break the protocol, which ends the
// whole connection.
func TestNothingAfterClose(t *testing.T) {
	for name, x := range map[string]struct {
		known bool // to the peer
		want  []byte
	}{
		"the peer knows it":       {true, []byte{frameClose}},
		"the peer never heard it": {false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := &Conn{slots: make(chan struct{}, 1), streams: make(map[uint64]*stream), flushing: true} // the test sends
			c.slots <- struct{}{}
			s := c.addLocked(2, true)
			s.opening = !x.known
			s.out, s.queued = []byte("late"), true // the state of a stream while a Write waits
			c.ready = []*stream{s}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			var kinds []byte
			for b := c.fill(nil); len(b) > 0; {
				f, rest, err := parseFrame(b)
				if err != nil {
					t.Fatal(err)
				}
				kinds, b = append(kinds, f.kind), rest
			}
			if !slices.Equal(kinds, x.want) {
				t.Errorf("frames of kinds %v, want %v", kinds, x.want)
			}
		})
	}
}
