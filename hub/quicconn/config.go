package quicconn

import (
	"time"

	"github.com/quic-go/quic-go"
)

const (
	transport = "quic"
	// protocol is the ALPN name (RFC 7301) that both sides insist on.
	protocol = "edgekit.v1"

	// A link at rest needs a window for one message; a busy stream grows it to
	// what a fast, far peer can fill: 2 MiB over 20 ms are 100 MiB a second.
	firstStreamWindow = 16 << 10
	maxStreamWindow   = 2 << 20
	// What nobody reads counts against the window of the whole connection, and
	// a connection whose window is full is stuck as a whole. So it has room for
	// a thousand streams that are stuck at their beginning, and for several
	// that were fast before. It is credit: memory is used only for what
	// arrives.
	firstConnWindow = 16 << 20
	maxConnWindow   = 64 << 20

	// idLength is how many bytes a connection's ids have. Each connection has several,
	// and quic-go does not check whether an id is taken: its own four random bytes would
	// collide among 100,000 connections.
	idLength = 8

	// maxStreams is how many streams a peer may have open at once.
	maxStreams = 4096
	// idleTimeout is the longest that either end lets a connection be silent,
	// and twice the longest keepalive that a Listener may ask for.
	idleTimeout = 20 * time.Minute
	// keepalive is a Listener's default: below the 30 s after which common NATs
	// forget a UDP flow, and a node at rest stays at 1.5 MB a day
	// (hub/BENCHMARKS.md).
	keepalive = 15 * time.Second
	// handshakeTimeout bounds the wait for a peer's next handshake packet.
	handshakeTimeout = 10 * time.Second
	// answerTimeout is that of an edge, which may wait in its server's queue for
	// maxQueueTime. It sends its first packet again after 0.2, 0.6, 1.4, 3.0, 6.2 and
	// 12.6 s (RFC 9002 section 6.2), and the next time only 13 s after that: a new
	// attempt is faster.
	answerTimeout = 14 * time.Second
)

// settings are quic-go's for one end, with its idle time-out.
func settings(idle time.Duration) *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:           handshakeTimeout,
		MaxIdleTimeout:                 idle,
		InitialStreamReceiveWindow:     firstStreamWindow,
		MaxStreamReceiveWindow:         maxStreamWindow,
		InitialConnectionReceiveWindow: firstConnWindow,
		MaxConnectionReceiveWindow:     maxConnWindow,
		MaxIncomingStreams:             maxStreams,
		MaxIncomingUniStreams:          -1,
	}
}

// edgeSettings are quic-go's for an edge. Its window of the connection has its full size at once,
// since one grows only while bytes are read: pods leave answers of the cloud unread.
func edgeSettings() *quic.Config {
	c := settings(idleTimeout)
	c.InitialConnectionReceiveWindow = maxConnWindow
	return c
}
