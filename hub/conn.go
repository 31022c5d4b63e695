package hub

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"time"
)

// Conn is one authenticated connection between an edge and a cloud that
// carries any number of independent streams. All methods may be called by
// several goroutines at once.
type Conn interface {
	// OpenStream opens a stream to the peer. It blocks while the transport's
	// limit on streams is reached.
	OpenStream(ctx context.Context) (Stream, error)
	// AcceptStream waits for a stream that the peer opened. When the
	// connection has ended it returns an error that wraps net.ErrClosed.
	AcceptStream(ctx context.Context) (Stream, error)
	// Peer returns the identity at the other end, as proved by the transport.
	Peer() Peer
	// Close ends the connection and all its streams. Twice is nil.
	Close() error
}

// LastReader is implemented by a Conn that knows when it last received anything from the peer,
// on any stream or of the transport's own. The session counts that as a sign of life, so that
// a ping that waits behind much data on a slow link does not end it.
type LastReader interface {
	// LastRead is when the last byte arrived; zero for never.
	LastRead() time.Time
}

// Stream is an ordered, flow-controlled stream of bytes in both directions.
// One goroutine may read while another writes. A stream whose peer does not
// read holds at most its window and never delays another stream.
type Stream interface {
	io.Reader
	io.Writer
	// CloseWrite tells the peer that no more bytes come; reading goes on.
	CloseWrite() error
	// Close ends both directions at once and frees the stream. Twice is nil.
	Close() error
	// SetDeadline bounds every read and write, as on a net.Conn.
	SetDeadline(t time.Time) error
}

// Peer is the proven identity at the other end of a Conn. It comes from the
// transport's handshake (for TLS: from the peer's certificate) and never from
// anything that the peer says later.
type Peer struct {
	// Name is the node's name. It is empty on the edge's side, where the peer
	// is the cloud, and where the transport proves nothing.
	Name string
	// Certificate is the peer's leaf certificate; nil without TLS.
	Certificate *x509.Certificate
	// Addr is where the peer is seen from here, for logs; it may be nil.
	Addr net.Addr
	// Transport names the kind of connection: "quic", "websocket" or "mem".
	Transport string
}

// Dialer opens connections to the cloud.
type Dialer interface {
	// Dial opens one connection. It does not retry; Client does.
	Dial(ctx context.Context) (Conn, error)
}

// Listener accepts connections from edges.
type Listener interface {
	// Accept waits for the next authenticated connection. After Close it
	// returns an error that wraps net.ErrClosed.
	Accept(ctx context.Context) (Conn, error)
	// Addr is where the listener is reached.
	Addr() net.Addr
	// Close stops accepting. Connections that were accepted live on. Twice is
	// nil.
	Close() error
}

// BacklogReporter is implemented by a Listener that limits how many connections are on
// their way in. Server.Stats includes its report.
type BacklogReporter interface {
	// Backlog counts those that are on their way in, by transport.
	Backlog() map[string]Backlog
}

// Backlog is how many connections are on their way in.
type Backlog struct {
	UnderWay int // between their first packet and Accept
	Waiting  int // that wait for those, as far as the Listener knows
}
