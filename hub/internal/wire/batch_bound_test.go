package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/hub/decodetest"
	"github.com/edgekit/edgekit/hub/internal/message"
)

// How many bytes unpacking one batch may allocate: batchFree whatever its size, for the
// buffer, its copies and one frame, and batchMultiple for each packed byte. An honest
// peer costs about a third of that.
const (
	batchFree     = 128 << 10
	batchMultiple = 200
)

// TestAttackBatches searches for the compressed batch that costs most for the bytes
// that carry it. hub_batches of TestAttackDecoders counts the bytes that it unpacks to.
func TestAttackBatches(t *testing.T) {
	decodetest.SkipUnderRace(t)
	decode := func(b Batch) func([]byte) {
		return func([]byte) {
			d := newDecoder(100_000)
			_ = b.unpack(&d, func(Frame) error { return nil })
		}
	}
	units := append(smallFrames(),
		string(AppendDelimited(nil, Event{message.Event{Source: "a", ID: 1, Key: message.Key{Resource: "a", Namespace: "b", Name: "c"}, Body: make([]byte, 100)}})),
		string(AppendDelimited(nil, Put{Seq: 1, Message: message.Message{Operation: message.Insert, Body: make([]byte, 60<<10)}})),
	)
	for _, n := range []int{1000, 15_000} {
		units = append(units, string(AppendDelimited(nil, Versions{make([]message.Entry, n), false})),
			string(AppendDelimited(nil, Marks{make([]message.Mark, n), false})))
	}
	random := rand.New(rand.NewPCG(1, 2))
	worst, name := 0.0, ""
	for _, unit := range units {
		for _, noise := range []int{0, 1000, 20_000} { // what makes the batch longer, at the end
			raw := []byte(strings.Repeat(unit, max(1, (MaxBatchRaw-noise-10)/len(unit))))
			if len(raw)+noise+10 > MaxBatchRaw {
				continue
			}
			if noise > 0 {
				body := make([]byte, noise)
				for i := range body {
					body[i] = byte(random.Uint32())
				}
				raw = AppendDelimited(raw, Event{message.Event{Source: "a", ID: 1, Body: body}})
			}
			if len(raw) > MaxBatchRaw {
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

// TestBatchOfFewBytes: a peer announces much and sends little, or sends one frame again
// and again. Both are violations before they cost much.
func TestBatchOfFewBytes(t *testing.T) {
	again := bytes.Repeat(AppendDelimited(nil, Event{message.Event{Source: "a", ID: 1}}), 4000)
	list := AppendDelimited(nil, Versions{make([]message.Entry, 15_000), false})
	for name, x := range map[string]struct {
		b    Batch
		says string
	}{
		"announced":   {Batch{MaxBatchRaw, []byte{1, 2, 3}}, "no compression does that"},
		"one frame":   {squeeze(t, again, len(again)), "send them unpacked"},
		"one version": {squeeze(t, list, len(list)), "keys"},
	} {
		d := newDecoder(1 << 20)
		seen := 0
		err := x.b.unpack(&d, func(Frame) error { seen++; return nil })
		if !errors.Is(err, message.ErrProtocol) || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: %v", name, err)
		}
		if seen > x.b.items() || d.versions != 1<<20 {
			t.Errorf("%s: %d frames of %d bytes, %d versions are left", name, seen, len(x.b.Data), d.versions)
		}
	}
	// The buffer has the size of what came, not of what was announced.
	u := unpackers.New().(*unpacker)
	raw := make([]byte, 3000)
	if _, err := u.inflated(squeeze(t, raw, 20_000)); !errors.Is(err, message.ErrProtocol) || cap(u.raw) > 2*firstRaw {
		t.Errorf("%v, with a buffer of %d", err, cap(u.raw))
	}
}

// TestBatchesOfLikes checks that what an honest peer sends is accepted, also what
// compresses best: nearly equal pods, events and versions with similar long names.
func TestBatchesOfLikes(t *testing.T) {
	long := strings.Repeat("a-rather-long-name-of-a-namespace-", 6)
	body := []byte(strings.Repeat(`{"name":"kube-api-access","readOnly":true},`, 40))
	for name, make1 := range map[string]func(i int) Frame{
		"pods": func(i int) Frame {
			return Put{Seq: uint64(i + 1), Message: message.Message{Operation: message.Update, Key: message.Key{Resource: "pods", Namespace: "a", Name: fmt.Sprint("web-", i)}, Version: fmt.Sprint(i), Body: body}}
		},
		"deletes": func(i int) Frame {
			return Put{Seq: uint64(i + 1), Message: message.Message{Operation: message.Delete, Key: message.Key{Resource: "pods", Namespace: long, Name: fmt.Sprint(long, i)}}}
		},
		"events": func(i int) Frame { return Event{message.Event{Source: "a", ID: uint64(i + 1)}} },
		"same": func(i int) Frame {
			return Event{message.Event{Source: "a", ID: uint64(i + 1), Key: message.Key{Resource: "events", Namespace: long, Name: long}, Body: body}}
		},
		"versions": func(i int) Frame {
			var v Versions
			for n := range 100 {
				v.Entries = append(v.Entries, message.Entry{Key: message.Key{Resource: "pods", Namespace: long, Name: fmt.Sprint(long, 100*i+n)}, Version: "1"})
			}
			return v
		},
		"zeros": func(i int) Frame {
			return Put{Seq: uint64(i + 1), Message: message.Message{Operation: message.Insert, Key: message.Key{Name: "a"}, Body: make([]byte, 50<<10)}}
		},
	} {
		var frames []Frame
		size := 0
		for i := 0; ; i++ {
			f := make1(i)
			if size += Size(f) + 3; size > MaxBatchRaw && i > 0 {
				break
			}
			frames = append(frames, f)
		}
		packed, ok := AppendBatch(nil, frames)
		f, err := NewReader(bytes.NewReader(packed), MaxPiece, 0).Next()
		b, is := f.(Batch)
		if err != nil || !ok || !is {
			t.Errorf("%s: %T, %v, %v", name, f, ok, err)
			continue
		}
		got := 0
		d := newDecoder(1 << 20)
		if err := b.unpack(&d, func(Frame) error { got++; return nil }); err != nil || got != len(frames) {
			t.Errorf("%s: %d frames of %d, %v", name, got, len(frames), err)
		}
		t.Logf("%s: %d frames, %d bytes for each, 1 of %d", name, got, len(b.Data)/got, int(b.Raw)/len(b.Data))
	}
}
