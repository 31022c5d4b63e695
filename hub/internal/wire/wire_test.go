package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/internal/message"
)

// sampleFrames has one frame of each kind with every field set.
func sampleFrames() []Frame {
	trace := parent
	limits := message.Limits{MaxFrame: 1 << 20, Window: 7, WindowBytes: 9}
	query := message.Message{ID: 4, Operation: message.Query, Key: message.Key{Resource: "logs", Namespace: "ns", Name: "n"}, Body: []byte("which")}
	full := message.Message{
		ID: 3, Operation: message.Update, Key: message.Key{Resource: "pods/status", Namespace: "ns", Name: "n"}, Version: "17", Body: []byte("body"),
		Error: &message.Error{Code: message.CodeConflict, Text: "no", RetryAfter: time.Second},
	}
	return []Frame{
		Hello{1, 2, "n", "i", "v", []string{"x", "y"}, time.Minute, limits, 5, true, []string{"h", "g"}},
		Welcome{1, 1 << 50, time.Minute, limits, []string{"z"}, 1 << 49},
		GoAway{GoAwayFenced, &message.Error{Code: message.CodeForbidden, Text: "gone"}, 8},
		Ping{1, 3 * time.Millisecond}, Pong{2, 1 << 50}, Pong{2, 0}, Want{}, Ack{3}, Cancel{4},
		Digest{message.Digest{Sum: [16]byte{1, 15: 2}, Count: 4}},
		Versions{[]message.Entry{{Key: message.Key{Resource: "a", Namespace: "b", Name: "c"}, Version: "1"}, {Key: message.Key{Resource: "d", Namespace: "", Name: "e"}, Version: "2"}}, true},
		Put{6, full, &trace},
		Nack{7, &message.Error{Code: message.CodeInvalid, Text: "never"}},
		Fragment{[]byte("part"), true},
		Open{ClassCall, time.Second, query},
		Response{full},
		Marks{[]message.Mark{{Source: "a", ID: 1}, {Source: "b", ID: 1 << 40}}, true},
		Event{message.Event{Source: "a", ID: 5, Key: message.Key{Resource: "events", Namespace: "ns", Name: "n"}, Body: []byte("it rained")}},
		Refusal{"a", 5, &message.Error{Code: message.CodeInvalid, Text: "never"}},
		Batch{17, []byte("squeezed")},
		Opening{3},
	}
}

// parseAny reads a frame of a peer without limits on lists.
func parseAny(b []byte) (Frame, error) {
	d := newDecoder(1 << 20)
	return d.Frame(b)
}

func TestFrames(t *testing.T) {
	for _, f := range sampleFrames() {
		b := AppendFrame(nil, f)
		if len(b) != Size(f) {
			t.Errorf("%T has %d bytes, announced are %d", f, len(b), Size(f))
		}
		// A field of the future, before and after, is skipped.
		future := []byte{0xf8, 0x07, 0x01}
		for _, in := range [][]byte{b, append(bytes.Clone(future), b...), append(bytes.Clone(b), future...)} {
			got, err := parseAny(in)
			if err != nil || !reflect.DeepEqual(got, f) {
				t.Errorf("%T came back as %+v, %v", f, got, err)
			}
		}
	}
	if f, err := parseAny([]byte{0xfa, 0x07, 0x00}); f != nil || err != nil {
		t.Errorf("a frame of the future is %v, %v", f, err)
	}
}

func TestFragmentsAreJoined(t *testing.T) {
	big := Put{Seq: 1, Message: message.Message{Operation: message.Insert, Key: message.Key{Name: "big"}, Body: bytes.Repeat([]byte("x"), 100_000)}}
	whole := AppendFrame(nil, big)
	var b []byte
	for rest := whole; len(rest) > 0; {
		n := min(len(rest), PieceSize)
		b = AppendDelimited(b, Fragment{rest[:n], n == len(rest)})
		b = AppendDelimited(b, Ping{ID: 9}) // small frames come between
		rest = rest[n:]
	}
	r := NewReader(bytes.NewReader(b), MaxPiece, len(whole))
	pings, puts := 0, 0
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		switch f := f.(type) {
		case Ping:
			pings++
		case Put:
			puts++
			if !reflect.DeepEqual(f, big) {
				t.Error("the object was mangled")
			}
		default:
			t.Fatalf("%T, %v", f, err)
		}
	}
	if puts != 1 || pings != 7 {
		t.Errorf("%d objects, %d pings", puts, pings)
	}
	r = NewReader(bytes.NewReader(b), MaxPiece, len(whole)-1)
	for {
		if _, err := r.Next(); err != nil {
			if !errors.Is(err, message.ErrProtocol) {
				t.Errorf("over the limit: %v", err)
			}
			break
		}
	}
}

// TestLyingLengths: a peer announces much and sends little. Memory is allocated for what
// it sends.
func TestLyingLengths(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		b := binary.AppendUvarint(nil, 4<<20)
		b = append(b, strings.Repeat("x", 100)...)
		r := NewReader(bytes.NewReader(b), 4<<20, 4<<20)
		if _, err := r.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 100*64<<10 {
		t.Errorf("100 peers that lied cost %d bytes", used)
	}
}

func FuzzFrame(f *testing.F) {
	for _, s := range sampleFrames() {
		f.Add(AppendFrame(nil, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseAny(b)
		if err != nil || got == nil {
			return
		}
		// The parsed frame is the same after it is written and parsed again.
		out := AppendFrame(nil, got)
		if len(out) != Size(got) {
			t.Fatalf("%T has %d bytes, announced are %d", got, len(out), Size(got))
		}
		again, err := parseAny(out)
		if err != nil {
			t.Fatal(err)
		}
		if b := AppendFrame(nil, again); !bytes.Equal(out, b) {
			t.Fatalf("%+v became %+v", got, again)
		}
	})
}

func FuzzFrameReader(f *testing.F) {
	var all []byte
	for _, s := range sampleFrames() {
		all = AppendDelimited(all, s)
	}
	f.Add(all)
	f.Add(AppendDelimited(nil, Fragment{AppendFrame(nil, Ping{ID: 1}), true}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b), 1<<10, 4<<10)
		for {
			if _, err := r.Next(); err != nil {
				return
			}
			if len(r.join) > 4<<10 || cap(r.buf) > 64<<10 {
				t.Fatal("more memory than the limits allow")
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	f := Put{Seq: 1, Message: message.Message{Operation: message.Update, Key: message.Key{Resource: "pods", Namespace: "default", Name: "web-1"}, Version: "123456", Body: make([]byte, 2048)}}
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendDelimited(buf[:0], f)
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkDecode(b *testing.B) {
	f := Put{Seq: 1, Message: message.Message{Operation: message.Update, Key: message.Key{Resource: "pods", Namespace: "default", Name: "web-1"}, Version: "123456", Body: make([]byte, 2048)}}
	wire := AppendDelimited(nil, f)
	in := bytes.NewReader(wire)
	r := NewReader(in, MaxPiece, MaxPiece)
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	for b.Loop() {
		in.Reset(wire)
		r.r.Reset(in)
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}
