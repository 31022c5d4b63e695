package hub

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/hub/internal/wire"
)

// pods are n puts of objects of about 2 KiB, which compress or not.
func pods(n int, compressible bool) []wire.Frame {
	out := make([]wire.Frame, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range out {
		var body strings.Builder
		for body.Len() < 2048 {
			if compressible {
				fmt.Fprintf(&body, `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web-%d","uid":"%016x"},"spec":{"containers":[{"name":"c%d"}]}}`, i, r.Uint64(), i)
			} else {
				body.WriteByte(byte(r.Uint32()))
			}
		}
		out[i] = wire.Put{Seq: uint64(i + 1), Message: Message{Operation: Update, Key: Key{Resource: "pods", Namespace: "default", Name: fmt.Sprint("web-", i)}, Version: "1", Body: []byte(body.String())}}
	}
	return out
}

func TestBatch(t *testing.T) {
	for _, compressible := range []bool{true, false} {
		s := &session{sessionConfig: sessionConfig{stats: newCounters()}}
		frames := pods(20, compressible)
		b := s.pack(nil, frames)
		raw := 0
		for _, f := range frames {
			raw += wire.Size(f) + 2
		}
		if small := len(b) < raw/4; small != compressible {
			t.Errorf("compressible %v: %d bytes became %d", compressible, raw, len(b))
		}
		if skips := s.packing.skip > 0; skips == compressible {
			t.Errorf("compressible %v: the next are skipped: %v", compressible, skips)
		}
		var got []wire.Frame
		r := wire.NewReader(bytes.NewReader(b), wire.MaxPiece, 0)
		for {
			f, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if packed, ok := f.(wire.Batch); ok {
				if err := r.Unpack(packed, func(f wire.Frame) error { got = append(got, f); return nil }); err != nil {
					t.Fatal(err)
				}
				continue
			}
			got = append(got, f)
		}
		if !reflect.DeepEqual(got, frames) {
			t.Errorf("compressible %v: %d frames came back of %d", compressible, len(got), len(frames))
		}
		if sent := s.stats.sent.read()[ClassState]; sent.Messages != 20 || sent.Bytes < uint64(len(b))-60 || sent.Bytes > uint64(len(b)) {
			t.Errorf("counted were %+v of %d bytes", sent, len(b))
		}
	}
}

func BenchmarkBatch(b *testing.B) {
	for _, compressible := range []bool{true, false} {
		b.Run(fmt.Sprintf("compressible=%v", compressible), func(b *testing.B) {
			s := &session{sessionConfig: sessionConfig{stats: newCounters()}}
			frames := pods(30, compressible)
			var out []byte
			for b.Loop() {
				s.packing = packing{}
				out = s.pack(out[:0], frames)
			}
			b.SetBytes(30 * 2048)
			b.ReportMetric(30*2048/float64(len(out)), "ratio")
		})
	}
}
