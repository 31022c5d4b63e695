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
	"github.com/edgekit/edgekit/hub/internal/backlog"
)

// busyRetry is what an edge waits at least when the backlog is full.
const busyRetry = 5 * time.Second

// Listener takes QUIC connections. It owns one goroutine, and one for each that is
// under way, besides those of quic-go; Close waits for them.
type Listener struct {
	cfg       ListenerConfig
	transport *quic.Transport
	listener  *quic.Listener
	waiting   *backlog.Queue[*Conn]
	lobby     *lobby
	listens   chan struct{} // closed when listener is set
	closing   chan struct{} // ends the wait for a place
	reads     *reads
	once      sync.Once
	running   sync.WaitGroup
	grown     atomic.Int64 // bytes of windows beyond their beginning
	unproven  atomic.Int64
	chosen    atomic.Pointer[choice] // the last one, which is the next one's too for days
}

// Listen takes over the socket and accepts connections from now on.
func Listen(cfg ListenerConfig) (*Listener, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	l := &Listener{
		cfg: cfg, waiting: backlog.New[*Conn](cfg.Backlog),
		listens: make(chan struct{}), closing: make(chan struct{}), reads: newReads(cfg.Socket.LocalAddr()),
	}
	mark, in := newMark(), &inbound{conn: cfg.Socket, reads: l.reads}
	if cfg.ResetKey != nil {
		in.forgotten = &forgotten{mark: mark, key: *cfg.ResetKey}
	}
	l.lobby = newLobby(mark, cfg.Handshakes, in.wake)
	in.lobby = l.lobby
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
	close(l.listens)
	l.running.Go(l.take)
	return l, nil
}

func (l *Listener) settings() *quic.Config {
	c := settings(2 * l.cfg.Keepalive)
	// quic-go asks before a window grows and tells nothing when a connection
	// ends, so each connection's share is given back by its context.
	c.AllowConnectionWindowIncrease = func(conn *quic.Conn, delta uint64) bool {
		share, ok := shareOf(conn)
		if !ok {
			return false
		}
		if l.grown.Add(int64(delta)) > l.cfg.Memory {
			l.grown.Add(-int64(delta))
			return false
		}
		share.grown.Add(int64(delta))
		return true
	}
	return c
}

// share is what a connection takes of its Listener's limits.
type share struct {
	grown    atomic.Int64 // bytes of Listener.grown
	unproven atomic.Bool  // counts in Listener.unproven
	waits    atomic.Pointer[Conn]
	pass     *backlog.Pass // its place on the way in
}

// shareKey is where a connection's context has its share.
type shareKey struct{}

// shareOf is the share of a connection; false if it is of another listener.
func shareOf(conn *quic.Conn) (*share, bool) {
	s, ok := conn.Context().Value(shareKey{}).(*share)
	return s, ok
}

// proven ends the time in which the connection counts as unproven.
func (l *Listener) proven(s *share) {
	if s.unproven.Swap(false) {
		l.unproven.Add(-1)
	}
}

// verify tells whether a client must prove its address before its connection
// begins. It is called for each one that has not, before handshake.
func (l *Listener) verify(net.Addr) bool {
	if l.unproven.Load() < int64(l.cfg.Unproven) {
		return false
	}
	if pass := l.lobby.begun(); pass != nil {
		pass.Leave()
	}
	return true
}

// handshake is called for each connection that a client begins, one after the
// other. ctx ends with the connection. One that comes with its proof does not
// stand in line and may wait here, while quic-go keeps the first packets of
// further ones, and all other packets take their way.
func (l *Listener) handshake(ctx context.Context, client *quic.ClientInfo) (context.Context, error) {
	pass := l.lobby.begun()
	if pass == nil {
		pass = l.lobby.entry.Enter(l.closing)
	}
	if pass == nil {
		return nil, net.ErrClosed
	}
	l.running.Go(func() {
		<-l.listens // connections begin before that
		_ = l.takeOne(ctx)
	})
	s := &share{pass: pass}
	if !client.AddrVerified {
		s.unproven.Store(true)
		l.unproven.Add(1)
	}
	context.AfterFunc(ctx, func() {
		l.grown.Add(-s.grown.Load())
		l.proven(s)
		s.pass.Leave()
		if c := s.waits.Load(); c != nil {
			l.waiting.Drop(c)
		}
	})
	return context.WithValue(ctx, shareKey{}, s), nil
}

// take empties quic-go's queue. It ends when the Listener is closed or its socket
// fails, for then quic-go gives up all that use it.
func (l *Listener) take() {
	for {
		// Close ends the wait: there is no caller whose context could.
		if err := l.takeOne(context.Background()); err != nil {
			if failed := l.reads.failure(); failed != nil {
				err = failed
			}
			l.waiting.Close(err) // quic-go has ended those that wait
			return
		}
	}
}

// takeOne waits for a connection whose handshake is complete. quic-go's queue of
// them has 32 places, and refuses who finds none, in a herd within the time that
// a goroutine takes to be scheduled: so there is one waiting for each connection
// under way, besides take.
func (l *Listener) takeOne(ctx context.Context) error {
	conn, err := l.listener.Accept(ctx)
	if err != nil {
		return err
	}
	l.admit(conn)
	return nil
}

func (l *Listener) admit(conn *quic.Conn) {
	s, ok := shareOf(conn)
	if !ok {
		return // no connection of this listener
	}
	l.proven(s)
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
	s.waits.Store(c)
	if l.waiting.Put(c) && conn.Context().Err() != nil { // after Close, all end with the socket
		l.waiting.Drop(c)
	}
}

// Accept waits for the next connection. It fails with net.ErrClosed once the
// Listener is closed, and with a *SocketError when the socket works no more: no
// connection comes then, and those that were are gone.
func (l *Listener) Accept(ctx context.Context) (hub.Conn, error) {
	c, err := l.waiting.Accept(ctx)
	switch {
	case err == nil:
		if s, ok := shareOf(c.conn); ok {
			s.pass.Leave()
		}
		return c, nil
	case ctx.Err() != nil:
		return nil, err
	}
	return nil, fmt.Errorf("quicconn: accept: %w", err)
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
