package hub

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
)

// sampleFrames has one frame of each kind with every field set.
func sampleFrames() []frame {
	limits := Limits{MaxFrame: 1 << 20, Window: 7, WindowBytes: 9}
	query := Message{ID: 4, Operation: Query, Key: Key{"logs", "ns", "n"}, Body: []byte("which")}
	message := Message{
		ID: 3, Operation: Update, Key: Key{"pods/status", "ns", "n"}, Version: "17", Body: []byte("body"),
		Error: &Error{Code: CodeConflict, Text: "no", RetryAfter: time.Second},
	}
	return []frame{
		hello{1, 2, "n", "i", "v", []string{"x", "y"}, time.Minute, limits, 5, true},
		welcome{1, 1 << 50, time.Minute, limits, []string{"z"}, 1 << 49},
		goodbye{goodbyeFenced, &Error{Code: CodeForbidden, Text: "gone"}, 8},
		ping{1, 3 * time.Millisecond}, pong{2}, want{}, ack{3}, cancel{4},
		digest{digestSum{[16]byte{1, 15: 2}, 4}},
		versions{[]entry{{Key{"a", "b", "c"}, "1"}, {Key{"d", "", "e"}, "2"}}, true},
		put{6, message},
		nack{7, &Error{Code: CodeInvalid, Text: "never"}},
		fragment{[]byte("part"), true},
		open{classCall, time.Second, query},
		response{message},
		marks{[]mark{{"a", 1}, {"b", 1 << 40}}, true},
		event{Event{"a", 5, Key{"events", "ns", "n"}, []byte("it rained")}},
		refusal{"a", 5, &Error{Code: CodeInvalid, Text: "never"}},
		batch{17, []byte("squeezed")},
		opening{3},
	}
}

// parseAny reads a frame of a peer that may list what it likes.
func parseAny(b []byte) (frame, error) {
	d := newDecoder(1 << 20)
	return d.frame(b)
}

func TestFrames(t *testing.T) {
	for _, f := range sampleFrames() {
		b := appendFrame(nil, f)
		if len(b) != frameSize(f) {
			t.Errorf("%T has %d bytes, announced are %d", f, len(b), frameSize(f))
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
	big := put{1, Message{Operation: Insert, Key: Key{Name: "big"}, Body: bytes.Repeat([]byte("x"), 100_000)}}
	whole := appendFrame(nil, big)
	var b []byte
	for rest := whole; len(rest) > 0; {
		n := min(len(rest), pieceSize)
		b = appendDelimited(b, fragment{rest[:n], n == len(rest)})
		b = appendDelimited(b, ping{ID: 9}) // small frames come between
		rest = rest[n:]
	}
	r := newFrameReader(bytes.NewReader(b), maxPiece, len(whole))
	pings, puts := 0, 0
	for {
		f, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		switch f := f.(type) {
		case ping:
			pings++
		case put:
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
	r = newFrameReader(bytes.NewReader(b), maxPiece, len(whole)-1)
	for {
		if _, err := r.next(); err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Errorf("over the limit: %v", err)
			}
			break
		}
	}
}

// TestLyingLengths has peers announce much and send little: memory follows
// what they send.
func TestLyingLengths(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		b := binary.AppendUvarint(nil, 4<<20)
		b = append(b, strings.Repeat("x", 100)...)
		r := newFrameReader(bytes.NewReader(b), 4<<20, 4<<20)
		if _, err := r.next(); !errors.Is(err, io.ErrUnexpectedEOF) {
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
		f.Add(appendFrame(nil, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseAny(b)
		if err != nil || got == nil {
			return
		}
		// What was understood survives another trip.
		out := appendFrame(nil, got)
		if len(out) != frameSize(got) {
			t.Fatalf("%T has %d bytes, announced are %d", got, len(out), frameSize(got))
		}
		again, err := parseAny(out)
		if err != nil {
			t.Fatal(err)
		}
		if b := appendFrame(nil, again); !bytes.Equal(out, b) {
			t.Fatalf("%+v became %+v", got, again)
		}
	})
}

func FuzzFrameReader(f *testing.F) {
	var all []byte
	for _, s := range sampleFrames() {
		all = appendDelimited(all, s)
	}
	f.Add(all)
	f.Add(appendDelimited(nil, fragment{appendFrame(nil, ping{ID: 1}), true}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newFrameReader(bytes.NewReader(b), 1<<10, 4<<10)
		for {
			if _, err := r.next(); err != nil {
				return
			}
			if len(r.join) > 4<<10 || cap(r.buf) > 64<<10 {
				t.Fatal("more memory than the limits allow")
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	f := put{1, Message{Operation: Update, Key: Key{"pods", "default", "web-1"}, Version: "123456", Body: make([]byte, 2048)}}
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = appendDelimited(buf[:0], f)
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkDecode(b *testing.B) {
	f := put{1, Message{Operation: Update, Key: Key{"pods", "default", "web-1"}, Version: "123456", Body: make([]byte, 2048)}}
	wire := appendDelimited(nil, f)
	in := bytes.NewReader(wire)
	r := newFrameReader(in, maxPiece, maxPiece)
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	for b.Loop() {
		in.Reset(wire)
		r.r.Reset(in)
		if _, err := r.next(); err != nil {
			b.Fatal(err)
		}
	}
}
