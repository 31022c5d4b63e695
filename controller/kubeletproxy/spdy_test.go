package kubeletproxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/iotest"

	"github.com/moby/spdystream/spdy"

	"github.com/edgekit/edgekit/hub"
)

// dead is a connection whose reads give some bytes and then fail.
type dead struct {
	io.Reader
	closed bool
}

func (d *dead) Write(p []byte) (int, error)         { return len(p), nil }
func (d *dead) ReadFrom(r io.Reader) (int64, error) { return io.Copy(io.Discard, r) }
func (d *dead) CloseWrite() error                   { return nil }
func (d *dead) Close() error                        { d.closed = true; return nil }

// lost returns the SPDY frames that a client gets of what a node sent before its link was
// lost.
func lost(t *testing.T, sent []byte, err error) (frames []spdy.Frame, end error) {
	t.Helper()
	conn := &dead{Reader: io.MultiReader(iotest.OneByteReader(bytes.NewReader(sent)), iotest.ErrReader(err))}
	resp := &http.Response{StatusCode: http.StatusSwitchingProtocols, Header: http.Header{"Upgrade": {"SPDY/3.1"}}, Body: conn}
	if err := endWithGoAway(resp); err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	_, end = all.ReadFrom(struct{ io.Reader }{resp.Body})
	resp.Body.Close()
	if !conn.closed {
		t.Error("Close does not reach the connection")
	}
	framer, ferr := spdy.NewFramer(io.Discard, &all)
	if ferr != nil {
		t.Fatal(ferr)
	}
	for {
		f, err := framer.ReadFrame()
		if err != nil {
			return frames, end
		}
		frames = append(frames, f)
	}
}

// TestEndWithGoAway: a SPDY connection ends with GOAWAY, unless it broke off within a
// frame.
func TestEndWithGoAway(t *testing.T) {
	var sent bytes.Buffer
	framer, err := spdy.NewFramer(&sent, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []spdy.Frame{&spdy.PingFrame{Id: 2}, &spdy.DataFrame{StreamId: 1, Data: bytes.Repeat([]byte("x"), 300)}, &spdy.DataFrame{StreamId: 3}} {
		if err := framer.WriteFrame(f); err != nil {
			t.Fatal(err)
		}
	}
	for _, cause := range []error{hub.ErrInterrupted, io.EOF} {
		frames, end := lost(t, sent.Bytes(), cause)
		if errors.Is(cause, io.EOF) {
			cause = nil // as ReadFrom has it
		}
		if !errors.Is(end, cause) {
			t.Errorf("ended with %v, want %v", end, cause)
		}
		if len(frames) != 4 {
			t.Fatalf("%d frames came: %v", len(frames), frames)
		}
		if away, ok := frames[3].(*spdy.GoAwayFrame); !ok || away.Status != spdy.GoAwayOK {
			t.Errorf("the last frame is %#v", frames[3])
		}
	}
	if frames, _ := lost(t, nil, io.EOF); len(frames) != 1 {
		t.Errorf("nothing was sent, then came %v", frames)
	}
	for cut := range sent.Len() {
		frames, _ := lost(t, sent.Bytes()[:cut], hub.ErrInterrupted)
		for i, f := range frames {
			if d, ok := f.(*spdy.DataFrame); ok && len(bytes.Trim(d.Data, "x")) > 0 {
				t.Fatalf("cut after %d bytes, frame %d holds what was not sent: %q", cut, i, d.Data)
			}
		}
	}
	other := &http.Response{StatusCode: http.StatusSwitchingProtocols, Header: http.Header{"Upgrade": {"websocket"}}, Body: &dead{}}
	if err := endWithGoAway(other); err != nil {
		t.Error(err)
	}
	if _, ok := other.Body.(*goAwayConn); ok {
		t.Error("a WebSocket is taken for SPDY")
	}
}

// FuzzFrames sends a node's bytes in two pieces: whatever they are, they pass unchanged,
// and the ends of frames do not depend on the pieces.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1}, 3)
	f.Add([]byte{0, 0, 0, 1, 1, 0xff, 0xff, 0xff, 'x'}, 8)
	f.Fuzz(func(t *testing.T, sent []byte, cut int) {
		cut = max(0, min(cut, len(sent)))
		var once, twice spdyFrames
		once.track(sent)
		twice.track(sent[:cut])
		twice.track(sent[cut:])
		if once.complete() != twice.complete() || once.rest != twice.rest || once.have != twice.have {
			t.Errorf("%+v, in pieces %+v", once, twice)
		}
		p := &goAwayConn{Upgraded: &dead{Reader: bytes.NewReader(sent)}}
		got, err := io.ReadAll(p)
		if err != nil || !bytes.HasPrefix(got, sent) {
			t.Errorf("%q became %q, %v", sent, got, err)
		}
		if extra := got[len(sent):]; once.complete() != bytes.Equal(extra, spdyGoAway[:]) || !once.complete() && len(extra) > 0 {
			t.Errorf("after %q came %q", sent, extra)
		}
	})
}
