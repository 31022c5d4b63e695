package wsconn

import (
	"bytes"
	"testing"
)

// FuzzFrames checks that a frame that parses is written as the same bytes.
func FuzzFrames(f *testing.F) {
	for _, seed := range []frame{
		{kind: frameOpen, id: 1}, {kind: frameData, id: 3, data: []byte("abc")}, {kind: frameBlocked, id: 300},
		{kind: frameEnd, id: 2}, {kind: frameClose, id: 1 << 40}, {kind: frameCredit, id: 7, n: 65536},
	} {
		f.Add(append(appendFrame(nil, seed), frameEnd, 1))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			got, rest, err := parseFrame(b)
			if err != nil {
				return
			}
			again, left, err := parseFrame(appendFrame(nil, got))
			if err != nil || len(left) != 0 || again.kind != got.kind || again.id != got.id || again.n != got.n || !bytes.Equal(again.data, got.data) {
				t.Fatalf("%+v became %+v, %v", got, again, err)
			}
			b = rest
		}
	})
}
