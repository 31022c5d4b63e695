package hub

import (
	"bytes"
	"compress/flate"
	"errors"
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

// pod is a put of an object of about 2 KiB that compresses.
func pod() frame {
	body := strings.Repeat(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web-1"},"spec":{"containers":[{"name":"c1"}]}}`, 21)
	return put{1, Message{Operation: Update, Key: Key{"pods", "default", "web-1"}, Version: "1", Body: []byte(body)}}
}

// TestBadBatches has peers lie about batches: each is a violation, at no more
// cost than what a batch may have.
func TestBadBatches(t *testing.T) {
	good := appendDelimited(nil, pod())
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
	good := appendDelimited(nil, pod())
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
