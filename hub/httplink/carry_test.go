package httplink

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

func noise(n int) []byte {
	rng, b := rand.New(rand.NewPCG(1, 2)), make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func TestCarryIsExact(t *testing.T) {
	want := noise(1<<20 + 17)
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader, "end with data": iotest.DataErrReader,
	} {
		var got bytes.Buffer
		n, err := carry(struct{ io.Writer }{&got}, wrap(bytes.NewReader(want)))
		if n != int64(len(want)) || err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: %d bytes, %v, equal %t", name, n, err, bytes.Equal(got.Bytes(), want))
		}
	}
	if n, err := carry(io.Discard, bytes.NewReader(nil)); n != 0 || err != nil {
		t.Errorf("of nothing: %d %v", n, err)
	}
}

// slow takes a second for a write.
type slow struct{ sizes []int }

func (s *slow) Write(p []byte) (int, error) {
	<-time.After(time.Second)
	s.sizes = append(s.sizes, len(p))
	return len(p), nil
}

// TestCarryGathers: the writer is slower than the reader. Bytes that come meanwhile are
// written together, and no more than the bound is held.
func TestCarryGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &slow{}
		const pieces, size = 100, 16 << 10
		n, err := carry(w, iotest.OneByteReader(bytes.NewReader([]byte("x"))))
		if n != 1 || err != nil {
			t.Errorf("%d %v", n, err)
		}
		w.sizes = nil
		if n, err = carry(w, bytes.NewReader(make([]byte, pieces*size))); n != pieces*size || err != nil {
			t.Errorf("%d %v", n, err)
		}
		for _, size := range w.sizes {
			if size > mostGathered {
				t.Errorf("a write of %d bytes", size)
			}
		}
		if len(w.sizes) > pieces*size/mostGathered+4 {
			t.Errorf("%d writes", len(w.sizes))
		}
	})
}

// TestCarryDeliversAtOnce: the reader goes silent, and what it gave before is written.
func TestCarryDeliversAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, out := net.Pipe()
		w := &slow{}
		done := make(chan error, 1)
		go func() {
			_, err := carry(w, out)
			done <- err
		}()
		for _, text := range []string{"a", "bc", "def"} {
			if _, err := io.WriteString(in, text); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		total := 0
		for _, size := range w.sizes {
			total += size
		}
		if total != len("abcdef") {
			t.Errorf("writes of %v bytes", w.sizes)
		}
		in.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestCarryEnds: writer and reader fail.
func TestCarryEnds(t *testing.T) {
	broken := errors.New("broken")
	if _, err := carry(io.Discard, iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("a broken reader: %v", err)
	}
	in, out := net.Pipe()
	defer in.Close()
	reader, writer := io.Pipe()
	reader.CloseWithError(broken)
	done := make(chan error, 1)
	go func() {
		_, err := carry(writer, out)
		done <- err
	}()
	if _, err := io.WriteString(in, "x"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, broken) { // although no more bytes come
		t.Errorf("a broken writer: %v", err)
	}
}
