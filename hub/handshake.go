package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/edgekit/edgekit/hub/internal/message"
	"github.com/edgekit/edgekit/hub/internal/wire"
)

// The handshake: the edge opens the first stream of the connection, which becomes the
// session's control stream, and sends a hello. The cloud answers with a welcome or a
// GOAWAY.

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
	reader  *wire.Reader
	heard   *atomic.Int64 // when it last brought bytes, Unix nanoseconds
}

func newLine(conn Conn, control Stream) *line {
	l := &line{conn: conn, control: control, heard: new(atomic.Int64)}
	l.heard.Store(time.Now().UnixNano())
	l.reader = wire.NewReader(heardReader{control, l.heard}, wire.MaxHello, 0)
	return l
}

// lastHeard is the peer's last sign of life.
func (l *line) lastHeard() time.Time {
	at := time.Unix(0, l.heard.Load())
	if c, ok := l.conn.(LastReader); ok && c.LastRead().After(at) {
		return c.LastRead()
	}
	return at
}

// established lifts the limits of the handshake.
func (l *line) established(own Limits) error {
	l.reader.Establish(own.MaxFrame, own.MaxKeys)
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

// greet performs the edge's side of the handshake.
func greet(ctx context.Context, conn Conn, h wire.Hello) (*line, wire.Welcome, error) {
	control, err := conn.OpenStream(ctx)
	if err != nil {
		return nil, wire.Welcome{}, err
	}
	l := newLine(conn, control)
	if at, ok := ctx.Deadline(); ok {
		err = control.SetDeadline(at)
	}
	if err == nil {
		err = wire.WriteFrame(control, h, wire.MaxHello)
	}
	if err != nil {
		return nil, wire.Welcome{}, err
	}
	f, err := l.reader.Next()
	if err != nil {
		return nil, wire.Welcome{}, err
	}
	switch f := f.(type) {
	case wire.GoAway:
		return nil, wire.Welcome{}, &closedByPeer{f}
	case wire.Welcome:
		f.Limits = message.DefaultLimits(f.Limits)
		if f.Version < h.Min || f.Version > h.Max {
			return nil, wire.Welcome{}, message.Violation("server chose version %d, offered were %d to %d", f.Version, h.Min, h.Max)
		}
		if f.Keepalive <= 0 || f.Limits.MaxFrame < message.MinFrame {
			return nil, wire.Welcome{}, message.Violation("welcome with impossible limits")
		}
		return l, f, nil
	default:
		return nil, wire.Welcome{}, message.Violation("%T in answer to a hello", f)
	}
}

// receive performs the first half of the cloud's side: it reads the hello.
func receive(ctx context.Context, conn Conn) (*line, wire.Hello, error) {
	control, err := conn.AcceptStream(ctx)
	if err != nil {
		return nil, wire.Hello{}, err
	}
	l := newLine(conn, control)
	if at, ok := ctx.Deadline(); ok {
		if err := control.SetDeadline(at); err != nil {
			return l, wire.Hello{}, err
		}
	}
	f, err := l.reader.Next()
	if err != nil {
		return l, wire.Hello{}, err
	}
	h, ok := f.(wire.Hello)
	if !ok {
		return l, wire.Hello{}, message.Violation("%T before a hello", f)
	}
	h.Limits = message.DefaultLimits(h.Limits)
	return l, h, nil
}

// agree checks a hello against the identity that the transport proved, and chooses the
// protocol version. It is pure.
func agree(h wire.Hello, peer Peer) (uint64, error) {
	version := min(h.Max, wire.ProtocolMax)
	switch {
	case version < wire.ProtocolMin || version < h.Min:
		return 0, &rejected{HandshakeVersion, &Error{Code: CodeUnsupported, Text: fmt.Sprintf(
			"the edge speaks protocol versions %d to %d, this server %d to %d: update the older of the two", h.Min, h.Max, wire.ProtocolMin, wire.ProtocolMax)}}
	case peer.Name == "":
		return 0, &rejected{HandshakeIdentity, &Error{Code: CodeForbidden, Text: "the connection proves no node name: join this node first"}}
	case h.Node != peer.Name:
		return 0, &rejected{HandshakeIdentity, &Error{Code: CodeForbidden, Text: fmt.Sprintf(
			"the edge says that it is node %q, its certificate is for %q", message.Clip(h.Node), peer.Name)}}
	case h.Instance == "" || len(h.Instance) > maxInstance:
		return 0, &rejected{HandshakeInvalid, &Error{Code: CodeInvalid, Text: fmt.Sprintf("the instance must have 1 to %d bytes", maxInstance)}}
	case slices.ContainsFunc(h.Earlier, func(i string) bool { return len(i) > maxInstance }):
		return 0, &rejected{HandshakeInvalid, &Error{Code: CodeInvalid, Text: fmt.Sprintf("an earlier instance has more than %d bytes", maxInstance)}}
	case h.Limits.MaxFrame < message.MinFrame:
		return 0, &rejected{HandshakeInvalid, &Error{Code: CodeInvalid, Text: "the edge's frame limit is below 1 KiB"}}
	}
	return version, nil
}

// sendGoAway ends a connection that has no session: it writes why and waits a
// moment for the peer to read it.
func (l *line) sendGoAway(g wire.GoAway) {
	defer l.conn.Close()
	if l.control.SetDeadline(time.Now().Add(closeWait)) != nil || wire.WriteFrame(l.control, g, wire.MaxPiece) != nil {
		return
	}
	for {
		if _, err := l.reader.Next(); err != nil {
			return
		}
	}
}

// goAwayFor returns the frame that says why a session was refused.
func goAwayFor(err error) wire.GoAway {
	if f, ok := errors.AsType[*fencedError](err); ok {
		return fencedBy(f.held, f.after)
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return wire.GoAway{Kind: wire.GoAwayRefused, Err: e}
	}
	// The edge must not see the server's internal errors.
	return wire.GoAway{Kind: wire.GoAwayRefused, Err: &Error{Code: CodeUnavailable, Text: "the server cannot take this node now"}}
}

// addr is for logs.
func addr(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}

// Capabilities are what a peer can do beyond its protocol version. Each side sends its own in
// the handshake, and the session uses those that both have, so a peer of an earlier release
// still works. hub's own begin with hubPrefix.
const (
	hubPrefix  = "hub."
	capEvents  = "hub.events"  // the event class
	capBatch   = "hub.batch"   // compressed batches
	capOpening = "hub.opening" // streams are announced
)

// offers returns the names for the handshake: hub's own and the program's.
func offers(program []string) []string {
	return append([]string{capEvents, capBatch, capOpening}, program...)
}

// maxCapabilities bounds a program's own capabilities, so that a hello fits into its
// frame.
const maxCapabilities = 4 << 10

func checkCapabilities(program []string) error {
	size := 0
	for _, c := range program {
		if strings.HasPrefix(c, hubPrefix) {
			return fmt.Errorf("%q: names that begin with %q are hub's own", c, hubPrefix)
		}
		size += len(c)
	}
	if size > maxCapabilities {
		return fmt.Errorf("they have %d bytes, the limit is %d", size, maxCapabilities)
	}
	return nil
}

// negotiate removes what the peer cannot do.
func (cfg *sessionConfig) negotiate(peer []string) {
	cfg.batches = slices.Contains(peer, capBatch)
	cfg.announced = slices.Contains(peer, capOpening)
	if slices.Contains(peer, capEvents) {
		return
	}
	if cfg.outbox != nil {
		cfg.log.Warn("the peer's release does not support events: they stay in the outbox")
	}
	cfg.outbox, cfg.inbox = nil, nil
}
