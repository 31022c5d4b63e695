package wire

import (
	"bytes"
	"compress/flate"
	"errors"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/hub/internal/message"
)

// squeeze makes a batch by hand.
func squeeze(tb testing.TB, raw []byte, says int) Batch {
	tb.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, packLevel)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(raw); err != nil || w.Close() != nil {
		tb.Fatal(err)
	}
	return Batch{uint64(says), out.Bytes()}
}

// pod is a put of an object of about 2 KiB that compresses.
func pod() Frame {
	body := strings.Repeat(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web-1"},"spec":{"containers":[{"name":"c1"}]}}`, 21)
	return Put{Seq: 1, Message: message.Message{Operation: message.Update, Key: message.Key{Resource: "pods", Namespace: "default", Name: "web-1"}, Version: "1", Body: []byte(body)}}
}

// TestBadBatches sends batches with wrong sizes: each is a violation, and costs no more
// than a valid batch.
func TestBadBatches(t *testing.T) {
	good := AppendDelimited(nil, pod())
	bomb := squeeze(t, make([]byte, 64<<20), MaxBatchRaw)
	for name, b := range map[string]Batch{
		"says more than allowed":   squeeze(t, make([]byte, MaxBatchRaw+1), MaxBatchRaw+1),
		"says a terabyte":          {1 << 40, nil},
		"has more than it says":    squeeze(t, good, len(good)-1),
		"has less than it says":    squeeze(t, good, len(good)+1),
		"a bomb":                   bomb,
		"garbage":                  {100, []byte("garbage that is no deflate")},
		"nothing":                  {100, nil},
		"a frame that is cut":      squeeze(t, good[:len(good)-3], len(good)-3),
		"a batch in a batch":       squeeze(t, AppendDelimited(nil, squeeze(t, good, len(good))), Size(squeeze(t, good, len(good)))+1),
		"marks in a batch":         squeeze(t, AppendDelimited(nil, Marks{make([]message.Mark, 15_000), false}), 60_016),
		"a goodbye in a batch":     squeeze(t, AppendDelimited(nil, GoAway{Kind: GoAwayFenced}), 5),
		"a length without a frame": squeeze(t, []byte{0xff, 0xff, 0xff}, 3),
	} {
		allocs := testing.AllocsPerRun(1, func() {
			if err := b.unpack(&decoder{keys: 1 << 20, versions: 1 << 20}, func(Frame) error { return nil }); !errors.Is(err, message.ErrProtocol) {
				t.Errorf("%s: %v", name, err)
			}
		})
		if allocs > 100 {
			t.Errorf("%s took %v allocations", name, allocs)
		}
	}
	if len(bomb.Data) > MaxPiece {
		t.Logf("the bomb has %d bytes", len(bomb.Data))
	}
}

func FuzzBatch(f *testing.F) {
	good := AppendDelimited(nil, pod())
	f.Add(uint64(len(good)), squeeze(f, good, 0).Data)
	f.Add(uint64(3), []byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, raw uint64, data []byte) {
		total := 0
		err := Batch{raw, data}.unpack(&decoder{keys: 1 << 20, versions: 1 << 20}, func(f Frame) error { total += Size(f); return nil })
		if err != nil && !errors.Is(err, message.ErrProtocol) {
			t.Fatal(err)
		}
		if total > 2*MaxBatchRaw {
			t.Fatalf("%d bytes out of a batch", total)
		}
	})
}
