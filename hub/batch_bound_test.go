package hub

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/hub/decodetest"
)

// What unpacking one batch may allocate: batchFree whatever its size, for the
// buffer, its copies and one frame, and batchMultiple for each packed byte. A peer
// that sends what is worth sending costs about a third of that.
const (
	batchFree     = 128 << 10
	batchMultiple = 200
)

// TestAttackBatches searches for the compressed batch that costs most for the bytes
// that carry it. hub_batches of TestAttackDecoders counts the bytes that it unpacks to.
func TestAttackBatches(t *testing.T) {
	decodetest.SkipUnderRace(t)
	decode := func(b batch) func([]byte) {
		return func([]byte) {
			d := newDecoder(Limits{}.withDefaults().MaxKeys)
			_ = b.unpack(&d, func(frame) error { return nil })
		}
	}
	units := append(smallFrames(),
		string(appendDelimited(nil, event{Event{Source: "a", ID: 1, Key: Key{"a", "b", "c"}, Body: make([]byte, 100)}})),
		string(appendDelimited(nil, put{1, Message{Operation: Insert, Body: make([]byte, 60<<10)}})),
	)
	for _, n := range []int{1000, 15_000} {
		units = append(units, string(appendDelimited(nil, versions{make([]entry, n), false})),
			string(appendDelimited(nil, marks{make([]mark, n), false})))
	}
	random := rand.New(rand.NewPCG(1, 2))
	worst, name := 0.0, ""
	for _, unit := range units {
		for _, noise := range []int{0, 1000, 20_000} { // what makes the batch longer, at the end
			raw := []byte(strings.Repeat(unit, max(1, (maxBatchRaw-noise-10)/len(unit))))
			if len(raw)+noise+10 > maxBatchRaw {
				continue
			}
			if noise > 0 {
				body := make([]byte, noise)
				for i := range body {
					body[i] = byte(random.Uint32())
				}
				raw = appendDelimited(raw, event{Event{Source: "a", ID: 1, Body: body}})
			}
			if len(raw) > maxBatchRaw {
				continue
			}
			b := squeeze(t, raw, len(raw))
			took := decodetest.Multiple(decode(b), nil) * decodetest.Least
			if m := took / float64(batchFree+batchMultiple*len(b.Data)); m > worst {
				worst, name = m, fmt.Sprintf("%d bytes of %d: %.0f bytes; %.20q", len(raw), len(b.Data), took, unit)
			}
		}
	}
	fmt.Fprintf(os.Stdout, "RESULT attack_batch_share %.2f x\n", worst)
	if worst > 1 {
		t.Errorf("%.1f times what may be allocated: %s", worst, name)
	}
	t.Log(name)
}

// TestBatchOfFewBytes has a peer announce much and send little, and send one frame
// again and again: both are violations before they cost much.
func TestBatchOfFewBytes(t *testing.T) {
	again := bytes.Repeat(appendDelimited(nil, event{Event{Source: "a", ID: 1}}), 4000)
	list := appendDelimited(nil, versions{make([]entry, 15_000), false})
	for name, x := range map[string]struct {
		b    batch
		says string
	}{
		"announced":   {batch{maxBatchRaw, []byte{1, 2, 3}}, "no compression does that"},
		"one frame":   {squeeze(t, again, len(again)), "send them unpacked"},
		"one version": {squeeze(t, list, len(list)), "keys"},
	} {
		d := newDecoder(1 << 20)
		seen := 0
		err := x.b.unpack(&d, func(frame) error { seen++; return nil })
		if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: %v", name, err)
		}
		if seen > x.b.items() || d.versions != 1<<20 {
			t.Errorf("%s: %d frames of %d bytes, %d versions are left", name, seen, len(x.b.Data), d.versions)
		}
	}
	// The buffer is as large as what came, not as what was announced.
	u := unpackers.New().(*unpacker)
	raw := make([]byte, 3000)
	if _, err := u.inflated(squeeze(t, raw, 20_000)); !errors.Is(err, ErrProtocol) || cap(u.raw) > 2*firstRaw {
		t.Errorf("%v, with a buffer of %d", err, cap(u.raw))
	}
}

// TestBatchesOfLikes has what a peer really sends, and what compresses best of it, go
// through: near-equal pods, events and versions with long names that are alike.
func TestBatchesOfLikes(t *testing.T) {
	long := strings.Repeat("a-rather-long-name-of-a-namespace-", 6)
	body := []byte(strings.Repeat(`{"name":"kube-api-access","readOnly":true},`, 40))
	for name, make1 := range map[string]func(i int) frame{
		"pods": func(i int) frame {
			return put{uint64(i + 1), Message{Operation: Update, Key: Key{"pods", "a", fmt.Sprint("web-", i)}, Version: fmt.Sprint(i), Body: body}}
		},
		"deletes": func(i int) frame {
			return put{uint64(i + 1), Message{Operation: Delete, Key: Key{"pods", long, fmt.Sprint(long, i)}}}
		},
		"events": func(i int) frame { return event{Event{Source: "a", ID: uint64(i + 1)}} },
		"same": func(i int) frame {
			return event{Event{Source: "a", ID: uint64(i + 1), Key: Key{"events", long, long}, Body: body}}
		},
		"versions": func(i int) frame {
			var v versions
			for n := range 100 {
				v.Entries = append(v.Entries, entry{Key: Key{"pods", long, fmt.Sprint(long, 100*i+n)}, Version: "1"})
			}
			return v
		},
		"zeros": func(i int) frame {
			return put{uint64(i + 1), Message{Operation: Insert, Key: Key{Name: "a"}, Body: make([]byte, 50<<10)}}
		},
	} {
		var frames []frame
		size := 0
		for i := 0; ; i++ {
			f := make1(i)
			if size += frameSize(f) + 3; size > maxBatchRaw && i > 0 {
				break
			}
			frames = append(frames, f)
		}
		s := &session{sessionConfig: sessionConfig{stats: newCounters()}}
		packed := s.pack(nil, frames)
		r := newFrameReader(bytes.NewReader(packed), maxPiece, 0)
		f, err := r.next()
		b, ok := f.(batch)
		if err != nil || !ok {
			t.Errorf("%s: %T, %v", name, f, err)
			continue
		}
		got := 0
		d := newDecoder(1 << 20)
		if err := b.unpack(&d, func(frame) error { got++; return nil }); err != nil || got != len(frames) {
			t.Errorf("%s: %d frames of %d, %v", name, got, len(frames), err)
		}
		t.Logf("%s: %d frames, %d bytes for each, 1 of %d", name, got, len(b.Data)/got, int(b.Raw)/len(b.Data))
	}
}
