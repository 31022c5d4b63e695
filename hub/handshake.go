package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// The handshake: the edge opens the first stream of the connection, which
// becomes the session's control stream, and says hello; the cloud answers with
// a welcome or a goodbye.

const (
	defaultKeepalive = 30 * time.Second
	defaultHandshake = 15 * time.Second
	minKeepalive     = 10 * time.Second // that a server accepts by default
	maxKeepalive     = 10 * time.Minute // that a server accepts: it is how late a dead link is noticed
	maxName          = 253              // bytes of a node's name, as in DNS
	maxInstance      = 128
)

// line is a control stream with its reader, while and after the handshake.
type line struct {
	conn    Conn
	control Stream
	reader  *frameReader
	heard   *atomic.Int64 // when it last brought bytes, Unix nanoseconds
}

func newLine(conn Conn, control Stream) *line {
	l := &line{conn: conn, control: control, heard: new(atomic.Int64)}
	l.heard.Store(time.Now().UnixNano())
	l.reader = newFrameReader(heardReader{control, l.heard}, maxHello, 0)
	return l
}

// lastHeard is the peer's last sign of life.
func (l *line) lastHeard() time.Time {
	at := time.Unix(0, l.heard.Load())
	if c, ok := l.conn.(Lively); ok && c.Heard().After(at) {
		return c.Heard()
	}
	return at
}

// established lifts the limits of the handshake.
func (l *line) established(own Limits) error {
	l.reader.establish(own.MaxFrame, own.MaxKeys)
	return l.control.SetDeadline(time.Time{})
}

// heardReader notes when bytes arrive.
type heardReader struct {
	r     io.Reader
	heard *atomic.Int64
}

func (h heardReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	if n > 0 {
		h.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

// greet is the edge's side.
func greet(ctx context.Context, conn Conn, h hello) (*line, welcome, error) {
	control, err := conn.OpenStream(ctx)
	if err != nil {
		return nil, welcome{}, err
	}
	l := newLine(conn, control)
	if at, ok := ctx.Deadline(); ok {
		err = control.SetDeadline(at)
	}
	if err == nil {
		err = writeFrame(control, h, maxHello)
	}
	if err != nil {
		return nil, welcome{}, err
	}
	f, err := l.reader.next()
	if err != nil {
		return nil, welcome{}, err
	}
	switch f := f.(type) {
	case goodbye:
		return nil, welcome{}, &farewell{f}
	case welcome:
		f.Limits = withDefaults(f.Limits)
		if f.Version < h.Min || f.Version > h.Max {
			return nil, welcome{}, violation("server chose version %d, offered were %d to %d", f.Version, h.Min, h.Max)
		}
		if f.Keepalive <= 0 || f.Limits.MaxFrame < minFrame {
			return nil, welcome{}, violation("welcome with impossible limits")
		}
		return l, f, nil
	default:
		return nil, welcome{}, violation("%T in answer to a hello", f)
	}
}

// receive is the first half of the cloud's side.
func receive(ctx context.Context, conn Conn) (*line, hello, error) {
	control, err := conn.AcceptStream(ctx)
	if err != nil {
		return nil, hello{}, err
	}
	l := newLine(conn, control)
	if at, ok := ctx.Deadline(); ok {
		if err := control.SetDeadline(at); err != nil {
			return l, hello{}, err
		}
	}
	f, err := l.reader.next()
	if err != nil {
		return l, hello{}, err
	}
	h, ok := f.(hello)
	if !ok {
		return l, hello{}, violation("%T before a hello", f)
	}
	h.Limits = withDefaults(h.Limits)
	return l, h, nil
}

// agree checks a hello against what the transport proved and chooses the
// version. It is pure.
func agree(h hello, peer Peer) (uint64, error) {
	version := min(h.Max, protocolMax)
	switch {
	case version < protocolMin || version < h.Min:
		return 0, &turnedAway{HandshakeVersion, &Error{Code: CodeUnsupported, Text: fmt.Sprintf(
			"the edge speaks protocol versions %d to %d, this server %d to %d: update the older of the two", h.Min, h.Max, protocolMin, protocolMax)}}
	case peer.Name == "":
		return 0, &turnedAway{HandshakeIdentity, &Error{Code: CodeForbidden, Text: "the connection proves no node name: join this node first"}}
	case h.Node != peer.Name:
		return 0, &turnedAway{HandshakeIdentity, &Error{Code: CodeForbidden, Text: fmt.Sprintf(
			"the edge says that it is node %q, its certificate is for %q", clip(h.Node), peer.Name)}}
	case h.Instance == "" || len(h.Instance) > maxInstance:
		return 0, &turnedAway{HandshakeInvalid, &Error{Code: CodeInvalid, Text: fmt.Sprintf("the instance must have 1 to %d bytes", maxInstance)}}
	case h.Limits.MaxFrame < minFrame:
		return 0, &turnedAway{HandshakeInvalid, &Error{Code: CodeInvalid, Text: "the edge's frame limit is below 1 KiB"}}
	}
	return version, nil
}

// sayGoodbye ends a connection that has no session: it writes why and waits a
// moment for the peer to read it.
func (l *line) sayGoodbye(g goodbye) {
	defer l.conn.Close()
	if l.control.SetDeadline(time.Now().Add(farewellWait)) != nil || writeFrame(l.control, g, maxPiece) != nil {
		return
	}
	for {
		if _, err := l.reader.next(); err != nil {
			return
		}
	}
}

// goodbyeFor says on the wire why a session is not to be.
func goodbyeFor(err error) goodbye {
	if f, ok := errors.AsType[*fencedRefusal](err); ok {
		return fencedBy(f.held, f.after)
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return goodbye{Kind: goodbyeRefused, Err: e}
	}
	// What went wrong here is nothing the edge should read.
	return goodbye{Kind: goodbyeRefused, Err: &Error{Code: CodeUnavailable, Text: "the server cannot take this node now"}}
}

// addr is for logs.
func addr(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}
