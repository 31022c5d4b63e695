package quicconn

import (
	"bytes"
	"testing"
)

// short makes a packet of n bytes for a connection with that mark.
func short(m marked, n int) []byte {
	return append(append([]byte{headerFixed}, m[:]...), make([]byte, n-1-markLength)...)
}

func TestReset(t *testing.T) {
	own, other := marked{1, 2}, marked{1, 3}
	f := &resetter{mark: own, key: Key{7}}
	for _, tt := range []struct {
		name   string
		packet []byte
		want   int // length of the answer
	}{
		{"a ping of a forgotten connection", short(other, 30), 29},
		{"the shortest", short(other, 22), 21},
		{"a reset", short(other, 21), 0},
		{"the longest", short(other, 42), 41},
		{"one that quic-go answers", short(other, 43), 0},
		{"one of this server's connections", short(own, 30), 0},
		{"a long header", append([]byte{headerForm | headerFixed}, short(other, 30)[1:]...), 0},
		{"no QUIC", append([]byte{0}, short(other, 30)[1:]...), 0},
		{"nothing", nil, 0},
	} {
		got := f.reset(tt.packet)
		if len(got) != tt.want || tt.want > 0 && got[0]&(headerForm|headerFixed) != headerFixed {
			t.Errorf("%s: answered with %d bytes, want %d", tt.name, len(got), tt.want)
		}
	}
	if (*resetter)(nil).reset(short(other, 30)) != nil {
		t.Error("answered without a key")
	}
	a, b := f.reset(short(other, 30)), f.reset(short(other, 40))
	if !bytes.Equal(a[len(a)-resetToken:], b[len(b)-resetToken:]) {
		t.Error("one connection id, two tokens")
	}
}

// FuzzReset makes two servers answer each other's resets, which must come to an end.
func FuzzReset(f *testing.F) {
	f.Add(short(marked{1, 2}, 42))
	f.Add(short(marked{1, 3}, 22))
	servers := []*resetter{{mark: marked{1, 2}, key: Key{7}}, {mark: marked{1, 3}, key: Key{8}}}
	f.Fuzz(func(t *testing.T, packet []byte) {
		for i := 0; packet != nil; i++ {
			answer := servers[i%2].reset(packet)
			if answer != nil && (len(answer) >= len(packet) || len(answer) < minReset) {
				t.Fatalf("%d bytes are answered with %d", len(packet), len(answer))
			}
			packet = answer
		}
	})
}
