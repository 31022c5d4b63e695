package hub

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// pipeStream is a Stream over two byte buffers, for the codec of chunks.
type pipeStream struct {
	io.Reader
	io.Writer
}

func (pipeStream) CloseWrite() error           { return nil }
func (pipeStream) Close() error                { return nil }
func (pipeStream) SetDeadline(time.Time) error { return nil }

func TestChunks(t *testing.T) {
	text := strings.Repeat("0123456789", 20_000)
	var wire bytes.Buffer
	w := newHalf(pipeStream{nil, &wire}, nil)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	cut := wire.Len()
	if err := w.CloseWrite(); err != nil || w.CloseWrite() != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("more")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write after CloseWrite: %v", err)
	}
	got, err := io.ReadAll(newHalf(pipeStream{&wire, nil}, nil))
	if err != nil || string(got) != text {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	// The same bytes without their end are not a whole stream.
	var again bytes.Buffer
	w = newHalf(pipeStream{nil, &again}, nil)
	_, _ = io.WriteString(w, text)
	again.Truncate(cut)
	if _, err := io.ReadAll(newHalf(pipeStream{&again, nil}, nil)); !errors.Is(err, ErrInterrupted) {
		t.Errorf("a stream that broke off ended with %v", err)
	}
}

func FuzzChunks(f *testing.F) {
	f.Add([]byte{chunkData, 3, 'a', 'b', 'c', chunkEnd, 0})
	f.Add([]byte{chunkStatus, 2, 8, 1})
	f.Add([]byte{chunkData, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		h := newHalf(pipeStream{bytes.NewReader(b), nil}, nil)
		n, err := io.Copy(io.Discard, h)
		if n > int64(len(b)) {
			t.Fatalf("%d bytes out of %d", n, len(b))
		}
		_, second := h.Read(make([]byte, 1))
		if err != nil && second == nil {
			t.Fatal("a stream went on after", err)
		}
	})
}
