package hub

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// squeeze makes a batch by hand.
func squeeze(tb testing.TB, raw []byte, says int) batch {
	tb.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, packLevel)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(raw); err != nil || w.Close() != nil {
		tb.Fatal(err)
	}
	return batch{uint64(says), out.Bytes()}
}

// pods are n puts of objects of about 2 KiB, which compress or not.
func pods(n int, compressible bool) []frame {
	out := make([]frame, n)
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
		out[i] = put{uint64(i + 1), Message{Operation: Update, Key: Key{"pods", "default", fmt.Sprint("web-", i)}, Version: "1", Body: []byte(body.String())}}
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
			raw += frameSize(f) + 2
		}
		if small := len(b) < raw/4; small != compressible {
			t.Errorf("compressible %v: %d bytes became %d", compressible, raw, len(b))
		}
		if skips := s.packing.skip > 0; skips == compressible {
			t.Errorf("compressible %v: the next are skipped: %v", compressible, skips)
		}
		var got []frame
		r := newFrameReader(bytes.NewReader(b), maxPiece, 0)
		for {
			f, err := r.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if packed, ok := f.(batch); ok {
				if err := packed.unpack(&decoder{keys: 1 << 20, versions: 1 << 20}, func(f frame) error { got = append(got, f); return nil }); err != nil {
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

// TestBadBatches has peers lie about batches: each is a violation, at no more
// cost than what a batch may have.
func TestBadBatches(t *testing.T) {
	good := appendDelimited(nil, pods(1, true)[0])
	bomb := squeeze(t, make([]byte, 64<<20), maxBatchRaw)
	for name, b := range map[string]batch{
		"says more than allowed":   squeeze(t, make([]byte, maxBatchRaw+1), maxBatchRaw+1),
		"says a terabyte":          {1 << 40, nil},
		"has more than it says":    squeeze(t, good, len(good)-1),
		"has less than it says":    squeeze(t, good, len(good)+1),
		"a bomb":                   bomb,
		"garbage":                  {100, []byte("garbage that is no deflate")},
		"nothing":                  {100, nil},
		"a frame that is cut":      squeeze(t, good[:len(good)-3], len(good)-3),
		"a batch in a batch":       squeeze(t, appendDelimited(nil, squeeze(t, good, len(good))), frameSize(squeeze(t, good, len(good)))+1),
		"a goodbye in a batch":     squeeze(t, appendDelimited(nil, goodbye{Kind: goodbyeFenced}), 5),
		"a length without a frame": squeeze(t, []byte{0xff, 0xff, 0xff}, 3),
	} {
		allocs := testing.AllocsPerRun(1, func() {
			if err := b.unpack(&decoder{keys: 1 << 20, versions: 1 << 20}, func(frame) error { return nil }); !errors.Is(err, ErrProtocol) {
				t.Errorf("%s: %v", name, err)
			}
		})
		if allocs > 100 {
			t.Errorf("%s took %v allocations", name, allocs)
		}
	}
	if len(bomb.Data) > maxPiece {
		t.Logf("the bomb has %d bytes", len(bomb.Data))
	}
}

func FuzzBatch(f *testing.F) {
	good := appendDelimited(nil, pods(1, true)[0])
	f.Add(uint64(len(good)), squeeze(f, good, 0).Data)
	f.Add(uint64(3), []byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, raw uint64, data []byte) {
		total := 0
		err := batch{raw, data}.unpack(&decoder{keys: 1 << 20, versions: 1 << 20}, func(f frame) error { total += frameSize(f); return nil })
		if err != nil && !errors.Is(err, ErrProtocol) {
			t.Fatal(err)
		}
		if total > 2*maxBatchRaw {
			t.Fatalf("%d bytes out of a batch", total)
		}
	})
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
