package wsframe

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"testing"
)

// pipe is a connection that reads from one buffer and writes to another.
type pipe struct {
	net.Conn
	in  io.Reader
	out bytes.Buffer
}

func (p *pipe) Read(b []byte) (int, error)  { return p.in.Read(b) }
func (p *pipe) Write(b []byte) (int, error) { return p.out.Write(b) }

func conn(frames ...[]byte) (*Conn, *pipe) {
	p := &pipe{in: bytes.NewReader(bytes.Join(frames, nil))}
	return &Conn{Conn: p, in: bufio.NewReaderSize(p, 16)}, p
}

func masked(first byte, payload string) []byte {
	out := []byte{first, 0x80 | byte(len(payload)), 1, 2, 3, 4}
	for i := range len(payload) {
		out = append(out, payload[i]^byte(i%4+1))
	}
	return out
}

func TestFrames(t *testing.T) {
	c, p := conn(masked(2, "he"), masked(0x89, "ping"), masked(0x80, "llo"), masked(0x82, ""), masked(0x82, " you"), masked(0x88, "\x03\xe8bye"), masked(0x82, "late"))
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "hello you" {
		t.Errorf("%q, %v", got, err)
	}
	if want := "\x8a\x04ping\x88\x02\x03\xe8"; p.out.String() != want {
		t.Errorf("answers %q, want %q", p.out.String(), want)
	}
	if _, err := c.Write([]byte("x")); err == nil {
		t.Error("written after the close frame")
	}
	for name, frame := range map[string][]byte{
		"text": masked(0x81, "x"), "not masked": {0x82, 1, 'x'}, "reserved": masked(0xc2, "x"), "long ping": append([]byte{0x89, 0xfe, 0, 126}, make([]byte, 130)...),
		"continued": masked(0x80, "x"), "unknown": masked(0x83, "x"), "cut": {0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, "cut ping": {0x09, 0x80, 0, 0, 0, 0},
	} {
		c, _ := conn(frame)
		if _, err := io.ReadAll(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// FuzzFrames reads any bytes as frames.
func FuzzFrames(f *testing.F) {
	f.Add(masked(0x82, "x"))
	f.Add([]byte{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, _ := conn(b)
		if n, _ := io.Copy(io.Discard, c); n > int64(len(b)) {
			t.Errorf("%d bytes of %d", n, len(b))
		}
	})
}
