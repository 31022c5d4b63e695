package sealed_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"testing"

	"github.com/edgekit/edgekit/hub/decodetest"
	"github.com/edgekit/edgekit/meta/sealed"
)

// TestAttackDecoders: a Reader takes room for what has come and no more. The inputs are whole
// streams, and streams that are of no key or end early.
func TestAttackDecoders(t *testing.T) {
	plain := make([]byte, 256<<10)
	_, _ = rand.Read(plain) // never fails
	stream := seal(t, plain)
	head := stream[:len(sealed.Head)+32]
	decodetest.Search(t, decodetest.Case{
		Name: "sealed_stream", Before: string(head), Units: []string{"\x00", string(stream[len(head) : len(head)+64])},
		Whole: [][]byte{head, stream, stream[:64<<10], stream[:8<<10], seal(t, plain[:8<<10])},
		Decode: func(b []byte) {
			r, err := sealed.NewReader(bytes.NewReader(b), key)
			if err == nil {
				_, _ = io.Copy(io.Discard, r) // that it fails does not matter
			}
		},
	})
}

// TestReaderAllocates: a long stream costs no more than a short one.
func TestReaderAllocates(t *testing.T) {
	decodetest.SkipUnderRace(t)
	for _, size := range []int{1 << 20, 4 << 20} {
		stream := seal(t, make([]byte, size))
		most := decodetest.Multiple(func(b []byte) {
			r, err := sealed.NewReader(bytes.NewReader(b), key)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, r); err != nil || n != int64(size) {
				t.Fatal(n, err)
			}
		}, stream)
		if bytes := most * float64(len(stream)); bytes > 384<<10 {
			t.Errorf("%.0f bytes were allocated for a stream of %d: want the room of a few pieces", bytes, len(stream))
		}
	}
}
