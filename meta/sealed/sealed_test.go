package sealed_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/edgekit/edgekit/meta/sealed"
)

var key = bytes.Repeat([]byte{7}, sealed.KeyBytes)

func seal(t testing.TB, plain []byte, pieces ...int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := sealed.NewWriter(&out, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range pieces {
		n = min(n, len(plain))
		if _, err := w.Write(plain[:n]); err != nil {
			t.Fatal(err)
		}
		plain = plain[n:]
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("written after Close")
	}
	return out.Bytes()
}

func open(stream, key []byte) ([]byte, error) {
	r, err := sealed.NewReader(bytes.NewReader(stream), key)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func text(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// TestSealed opens what was sealed, whatever the sizes.
func TestSealed(t *testing.T) {
	const piece = 64 << 10
	for _, n := range []int{0, 1, piece - 1, piece, piece + 1, 2 * piece, 3*piece + 17} {
		plain := text(n)
		stream := seal(t, plain, 1, 100, piece)
		if n > 16 && bytes.Contains(stream, plain[:16]) {
			t.Errorf("%d bytes: in clear", n)
		}
		if got, err := open(stream, key); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: %d, %v", n, len(got), err)
		}
		r, err := sealed.NewReader(iotest.OneByteReader(bytes.NewReader(stream)), key)
		if err != nil {
			t.Fatal(err)
		}
		if err := iotest.TestReader(r, plain); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// TestDamaged: a stream that was cut, changed, or made of pieces of others is refused.
func TestDamaged(t *testing.T) {
	const piece = 64<<10 + 16
	stream := seal(t, text(3*64<<10-5))
	head := stream[:len(sealed.Head)+32]
	body := stream[len(head):]
	other := seal(t, text(100))
	cut := func(n int) []byte { return append(append([]byte(nil), head...), body[:n]...) }
	for name, tt := range map[string]struct {
		stream, key []byte
		want        error
	}{
		"empty":               {nil, key, sealed.ErrNotSealed},
		"no head":             {[]byte("edgekit store backup 1\n" + strings.Repeat("x", 100)), key, sealed.ErrNotSealed},
		"only a head":         {head, key, sealed.ErrKey},
		"another key":         {stream, bytes.Repeat([]byte{8}, 32), sealed.ErrKey},
		"a short key":         {stream, key[:16], nil},
		"cut at a piece":      {cut(piece), key, sealed.ErrKey},
		"cut at a later one":  {cut(2 * piece), key, sealed.ErrDamaged},
		"cut within a piece":  {cut(2*piece - 10), key, sealed.ErrDamaged},
		"pieces exchanged":    {append(append(cut(piece)[:len(head)], body[piece:2*piece]...), body[:piece]...), key, sealed.ErrKey},
		"a piece repeated":    {append(cut(2*piece), body[piece:]...), key, sealed.ErrDamaged},
		"longer":              {append(append([]byte(nil), stream...), 0), key, sealed.ErrDamaged},
		"the head of another": {append(append([]byte(nil), other[:len(head)]...), body...), key, sealed.ErrKey},
	} {
		_, err := open(tt.stream, tt.key)
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	for range 50 {
		bad := bytes.Clone(stream)
		bad[rand.IntN(len(bad))] ^= 1
		if _, err := open(bad, key); err == nil {
			t.Error("a changed bit was not noticed")
		}
	}
}

// TestWriteFails: the error of the writer below ends the stream.
func TestWriteFails(t *testing.T) {
	if _, err := sealed.NewWriter(failing{}, key); err == nil {
		t.Error("the head was not written")
	}
	if _, err := sealed.NewWriter(io.Discard, key[:4]); err == nil {
		t.Error("a short key")
	}
	w, err := sealed.NewWriter(&limited{100}, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(text(200 << 10)); err == nil {
		t.Error("written to a full disk")
	}
	if err := w.Close(); err == nil {
		t.Error("closed on a full disk")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("full") }

type limited struct{ left int }

func (l *limited) Write(b []byte) (int, error) {
	if l.left -= len(b); l.left < 0 {
		return 0, errors.New("full")
	}
	return len(b), nil
}

// FuzzReader: whatever comes, a Reader returns what was sealed with the key, or an error, and
// holds no more than a piece.
func FuzzReader(f *testing.F) {
	f.Add(seal(f, []byte("hello")))
	f.Add([]byte(sealed.Head))
	f.Fuzz(func(t *testing.T, stream []byte) {
		plain, err := open(stream, key)
		if err == nil && len(plain) > len(stream) {
			t.Errorf("%d bytes of %d", len(plain), len(stream))
		}
	})
}
