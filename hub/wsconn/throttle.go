package wsconn

import (
	"crypto/tls"
	"net"
	"sync"

	"github.com/edgekit/edgekit/hub/internal/backlog"
)

// Throttle gives the TCP connections of inner only as fast as the ones before
// get through their handshake, see ListenerConfig.Handshakes: a herd that comes
// at once then waits in the kernel, where that costs nothing. TLS goes on top:
//
//	err := srv.Serve(tls.NewListener(l.Throttle(socket), tlsConfig))
//
// Connections that are used for something else than a link count for 3 s.
func (l *Listener) Throttle(inner net.Listener) net.Listener {
	return &throttled{Listener: inner, entry: l.entry, closing: make(chan struct{})}
}

type throttled struct {
	net.Listener
	entry   *backlog.Entry
	once    sync.Once
	closing chan struct{}
}

// Accept waits for the next connection, and until it may begin.
func (t *throttled) Accept() (net.Conn, error) {
	conn, err := t.Listener.Accept()
	if err != nil {
		return nil, err
	}
	pass := t.entry.Enter(t.closing)
	if pass == nil {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	return &entering{conn, pass}, nil
}

func (t *throttled) Close() error {
	t.once.Do(func() { close(t.closing) })
	return t.Listener.Close()
}

// entering is a connection that counts until it is inside, or closed.
type entering struct {
	net.Conn
	pass *backlog.Pass
}

func (e *entering) Close() error {
	e.pass.Leave()
	return e.Conn.Close()
}

// inside ends the time in which a link's connection counts, if it does.
func inside(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if e, ok := conn.(*entering); ok {
		e.pass.Leave()
	}
}
