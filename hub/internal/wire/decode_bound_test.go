package wire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/sync/semaphore"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgekit/edgekit/hub/decodetest"
	"github.com/edgekit/edgekit/hub/internal/message"
)

// TestAttackDecoders searches for the frames that cost most.
func TestAttackDecoders(t *testing.T) {
	limits := message.Limits{MaxFrame: 4 << 20, MaxKeys: 100_000}
	read := func(b []byte) {
		r := NewReader(bytes.NewReader(b), MaxPiece, limits.MaxFrame)
		r.decoder = newDecoder(limits.MaxKeys)
		r.stands = true
		for {
			f, err := r.Next()
			if err != nil {
				return
			}
			if packed, ok := f.(Batch); ok {
				if packed.unpack(&r.decoder, func(Frame) error { return nil }) != nil {
					return
				}
			}
		}
	}
	decodetest.Search(t,
		decodetest.Case{Name: "hub_frames", Decode: read, Units: smallFrames()},
		decodetest.Case{Name: "hub_versions", Decode: read, Units: smallEntries(), Wrap: fragmented(numVersions)},
		decodetest.Case{Name: "hub_marks", Decode: read, Units: smallEntries(), Wrap: fragmented(numMarks)},
		decodetest.Case{Name: "hub_state", Decode: read, Units: []string{"x", "\x42\x00", "\x42\x01x", "\x0a\x02xx"}, Wrap: func(b []byte) []byte {
			m := append(protowire.AppendVarint(protowire.AppendTag(nil, 5, protowire.VarintType), 1), b...)
			p := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)
			return fragmented(numPut)(protowire.AppendBytes(protowire.AppendTag(p, 2, protowire.BytesType), m))
		}},
		decodetest.Case{Name: "hub_hello", Units: []string{"\x5a\x01x", "\x32\x00", "\x32\x01x", "\x32\x02xx", "\x42\x00", "\x1a\x02xx"},
			Decode: func(b []byte) { _, _ = parseHello(b) }},
		decodetest.Case{Name: "hub_welcome", Units: []string{"\x2a\x00", "\x2a\x01x", "\x2a\x02xx"},
			Decode: func(b []byte) { _, _ = parseWelcome(b) }},
		// Count the unpacked bytes of a batch as well, at most 64 KiB: they may be a
		// thousand times the packed ones.
		decodetest.Case{Name: "hub_batches", Units: smallFrames(), Decode: func(raw []byte) {
			d := newDecoder(limits.MaxKeys)
			_ = Batch{uint64(min(len(raw), 1<<16-1)), stored(raw)}.unpack(&d, func(Frame) error { return nil })
		}},
	)
}

// stored is raw in DEFLATE's own frame, not compressed.
func stored(raw []byte) []byte {
	raw = raw[:min(len(raw), 1<<16-1)]
	n := len(raw)
	return append([]byte{1, byte(n), byte(n >> 8), ^byte(n), ^byte(n >> 8)}, raw...)
}

// smallFrames are the smallest valid frames of each kind, and some that are smaller.
func smallFrames() []string {
	var out []string
	for _, f := range append(sampleFrames(),
		Put{Seq: 1, Message: message.Message{Operation: message.Insert}}, Put{Seq: 1, Message: message.Message{Operation: message.Insert, Error: &message.Error{}}},
		Nack{1, &message.Error{}}, Event{message.Event{Source: "a", ID: 1}}, Refusal{"a", 1, &message.Error{}}, Response{message.Message{Operation: message.Response}},
		Open{ClassCall, 0, message.Message{Operation: message.Query}}, GoAway{}, Ping{}, Hello{}, Welcome{},
		Versions{[]message.Entry{{Key: message.Key{Name: "a"}}}, false}, Marks{[]message.Mark{{Source: "a"}}, false},
	) {
		out = append(out, string(AppendDelimited(nil, f)))
	}
	for n := numHello; n <= numOpening; n++ {
		out = append(out, string(protowire.AppendBytes(nil, protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), nil))))
	}
	return out
}

func smallEntries() []string {
	return []string{
		"\x0a\x00", "\x0a\x02\x1a\x00", "\x0a\x03\x1a\x01x", "\x0a\x04\x1a\x02xx", "\x0a\x06\x1a\x01x\x22\x01x", "\x0a\x03\x0a\x01x", "\x10\x01",
		"\x0a\x08\x1a\x02xx\x22\x02xx", "\x0a\x09\x0a\x01x\x12\x01x\x1a\x01x", "\x0a\x0c\x0a\x02xx\x12\x02xx\x1a\x02xx",
		"\x0a\x1c" + strings.Repeat("\x22\x02xx", 6) + "\x1a\x02xx",
	}
}

// fragmented makes one frame of a body, cut into fragments.
func fragmented(num protowire.Number) func([]byte) []byte {
	return func(body []byte) []byte {
		var b []byte
		whole := protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), body)
		for len(whole) > 0 {
			n := min(len(whole), PieceSize)
			b = AppendDelimited(b, Fragment{whole[:n], n == len(whole)})
			whole = whole[n:]
		}
		return b
	}
}

// TestPartsShareABudget: several sessions send most of a large object. The memory comes
// from one budget, and goes back with the object or the session.
func TestPartsShareABudget(t *testing.T) {
	const size = 1 << 20
	budget := semaphore.NewWeighted(3 << 20)
	body := Put{Seq: 1, Message: message.Message{Operation: message.Insert, Key: message.Key{Name: "a"}, Body: make([]byte, size)}}
	var parts []byte
	whole := AppendFrame(nil, body)
	for rest := whole; len(rest) > 0; {
		n := min(len(rest), PieceSize)
		parts = AppendDelimited(parts, Fragment{rest[:n], n == len(rest)})
		rest = rest[n:]
	}
	open := func(b []byte) (*Reader, error) {
		r := NewReader(bytes.NewReader(b), MaxPiece, 4<<20)
		r.Budget = budget
		_, err := r.Next()
		return r, err
	}
	var readers []*Reader
	for range 2 {
		r, err := open(parts[:len(parts)-10])
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
		readers = append(readers, r)
	}
	if r, err := open(parts); !errors.Is(err, errNoBudget) {
		t.Errorf("a third: %v", err)
	} else {
		r.DropFragments()
	}
	readers[0].DropFragments()
	if r, err := open(parts); err != nil || r.lent != 0 {
		t.Errorf("after one has gone: %d bytes, %v", r.lent, err)
	}
	readers[1].DropFragments()
	if !budget.TryAcquire(3 << 20) {
		t.Error("something was not given back")
	}
}
