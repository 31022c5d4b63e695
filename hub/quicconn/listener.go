package quicconn

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/internal/load"
)

// busyRetry is what an edge waits at least when the backlog is full.
const busyRetry = 5 * time.Second

// Listener takes QUIC connections. It owns as many goroutines as connections may be
// under way, besides those of quic-go; Close waits for them.
type Listener struct {
	cfg       ListenerConfig
	transport *quic.Transport
	listener  *quic.Listener
	waiting   *load.Backlog[*Conn]
	initials  *initialQueue
	closing   chan struct{} // ends the wait for a place
	reads     *reads
	once      sync.Once
	running   sync.WaitGroup
	grown     atomic.Int64           // bytes of windows beyond their beginning
	chosen    atomic.Pointer[choice] // the last one, which is the next one's too for days
}

// Listen takes over the socket and accepts connections from now on.
func Listen(cfg ListenerConfig) (*Listener, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	l := &Listener{
		cfg: cfg, waiting: load.NewBacklog[*Conn](cfg.Backlog),
		closing: make(chan struct{}), reads: newReads(cfg.Socket.LocalAddr()),
	}
	mark, in := newMark(), &inbound{conn: cfg.Socket, reads: l.reads}
	if cfg.ResetKey != nil {
		in.resetter = &resetter{mark: mark, key: *cfg.ResetKey}
	}
	l.initials = newInitialQueue(mark, cfg.Handshakes, in.wake)
	in.initials = l.initials
	l.transport = &quic.Transport{
		Conn:                  in.socket(),
		ConnectionIDGenerator: mark,
		StatelessResetKey:     (*quic.StatelessResetKey)(cfg.ResetKey),
		TokenGeneratorKey:     (*quic.TokenGeneratorKey)(cfg.TokenKey),
		VerifySourceAddress:   l.verify,
		ConnContext:           l.handshake,
	}
	if l.listener, err = l.transport.Listen(l.serverTLS(), l.settings()); err != nil {
		_ = cfg.Socket.Close()
		return nil, fmt.Errorf("quicconn: %w", err)
	}
	for range cfg.Handshakes {
		l.running.Go(l.take)
	}
	return l, nil
}

func (l *Listener) settings() *quic.Config {
	c := settings(2 * l.cfg.Keepalive)
	// quic-go asks before a window grows, and does not report the end of a connection:
	// the connection's context frees its share.
	c.AllowConnectionWindowIncrease = func(conn *quic.Conn, delta uint64) bool {
		s, ok := shareOf(conn)
		if !ok {
			return false
		}
		if l.grown.Add(int64(delta)) > l.cfg.Memory {
			l.grown.Add(-int64(delta))
			return false
		}
		if s.grown.Add(int64(delta)) == int64(delta) {
			context.AfterFunc(conn.Context(), func() { l.shrink(s) })
		}
		if conn.Context().Err() != nil { // and it may have been too late for that
			l.shrink(s)
		}
		return true
	}
	return c
}

// shrink gives back what the windows of a connection have grown.
func (l *Listener) shrink(s *share) { l.grown.Add(-s.grown.Swap(0)) }

// verify reports whether a client must prove its address before its connection begins
// (Retry, RFC 9000 section 8.1.2). quic-go calls it for each client that has not, before
// handshake.
func (l *Listener) verify(from net.Addr) bool {
	return l.initials.refuse(load.Network(from), l.cfg.Unproven)
}

// handshake is called for each connection that a client begins, one after the
// other. ctx ends with the connection. A client that comes back with its proof did not go
// through the queue and may wait here; meanwhile quic-go keeps the first packets of
// further ones, and all other packets pass.
func (l *Listener) handshake(ctx context.Context, client *quic.ClientInfo) (context.Context, error) {
	s := l.initials.begin(ctx, load.Network(client.RemoteAddr), client.AddrVerified, l.closing)
	if s == nil {
		return nil, net.ErrClosed
	}
	// A child of ctx would have it keep a list of its children for as long as the
	// connection lives; quic-go ends both.
	return context.WithValue(context.WithoutCancel(ctx), shareKey{}, s), nil
}

// take empties quic-go's queue of connections whose handshake is complete. The queue has
// 32 places, and a connection that finds none is refused. Under load it fills in the time
// that a goroutine takes to be scheduled, so there is one take for each handshake that
// may be under way. It ends when the Listener is closed or its socket fails.
func (l *Listener) take() {
	for {
		// Close ends the wait: there is no caller whose context could.
		conn, err := l.listener.Accept(context.Background())
		if err != nil {
			if failed := l.reads.failure(); failed != nil {
				err = failed
			}
			l.waiting.Close(err) // quic-go has ended those that wait
			return
		}
		l.admit(conn)
	}
}

func (l *Listener) admit(conn *quic.Conn) {
	s, ok := shareOf(conn)
	if !ok {
		return // no connection of this listener
	}
	l.initials.proven(s)
	chains := conn.ConnectionState().TLS.VerifiedChains
	if len(chains) == 0 {
		_ = conn.CloseWithError(codeRefused, "the link needs a client certificate: join this node first")
		return
	}
	name, err := l.cfg.NodeName(chains[0][0])
	if err != nil {
		_ = conn.CloseWithError(codeRefused, err.Error())
		return
	}
	c := &Conn{
		conn: conn, done: func() {},
		peer: hub.Peer{Name: name, Certificate: chains[0][0], Addr: conn.RemoteAddr(), Transport: transport},
	}
	if !l.waiting.Reserve() {
		_ = conn.CloseWithError(codeBusy, "too many nodes are connecting")
		return
	}
	s.forget = context.AfterFunc(conn.Context(), func() {
		s.pass.Leave()
		l.waiting.Drop(c)
	})
	if l.waiting.Put(c) && conn.Context().Err() != nil { // after Close, all end with the socket
		l.waiting.Drop(c)
	}
}

// Accept waits for the next connection. It fails with net.ErrClosed once the Listener is
// closed, and with a *SocketError when the socket no longer works: no connection comes
// then, and all earlier ones have ended.
func (l *Listener) Accept(ctx context.Context) (hub.Conn, error) {
	c, err := l.waiting.Accept(ctx)
	switch {
	case err == nil:
		if s, ok := shareOf(c.conn); ok {
			s.forget()
			s.forget = nil
			s.pass.Leave()
		}
		return c, nil
	case ctx.Err() != nil:
		return nil, err
	}
	return nil, fmt.Errorf("quicconn: accept: %w", err)
}

// Backlog implements hub.BacklogReporter.
func (l *Listener) Backlog() map[string]hub.Backlog {
	return map[string]hub.Backlog{transport: {UnderWay: l.initials.entry.Taken(), Waiting: l.initials.length()}}
}

// Addr is the socket's address.
func (l *Listener) Addr() net.Addr { return l.cfg.Socket.LocalAddr() }

// Close ends the Listener and its socket. QUIC connections share the socket,
// so that all of them end with it: close them first. Twice is nil.
func (l *Listener) Close() error {
	l.once.Do(func() {
		l.waiting.Close(nil)
		close(l.closing)
		_ = l.listener.Close()
		_ = l.transport.Close()
		_ = l.cfg.Socket.Close()
		l.running.Wait()
	})
	return nil
}
