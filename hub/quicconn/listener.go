package quicconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/internal/backlog"
	"github.com/edgekit/edgekit/hub/join"
)

// busyRetry is what an edge waits at least when the backlog is full.
const busyRetry = 5 * time.Second

// Key is a secret of a Listener: 32 random bytes.
type Key [32]byte

// ListenerConfig sets up a Listener. Socket and TLS are required.
type ListenerConfig struct {
	// Socket is the UDP socket, which the Listener owns from then on.
	Socket net.PacketConn
	// TLS is the server's certificate and the roots that clients are checked
	// against, both of which its GetConfigForClient may choose anew for each
	// connection. A client certificate is required whatever it says.
	TLS *tls.Config
	// NodeName reads a node's name from its verified certificate, or says why
	// the certificate is not a node's. Nil means join.NodeName.
	NodeName func(*x509.Certificate) (string, error)
	// ResetKey, when the same after a restart, lets edges learn at once that
	// the server has forgotten their connection (stateless reset, RFC 9000
	// section 10.3). Replicas share it, so that an edge whose packets come to
	// another one connects again. Nil sends no resets.
	ResetKey *Key
	// TokenKey lets replicas accept each other's proofs of address. Nil means
	// random.
	TokenKey *Key
	// Keepalive is after how long a silence edges ask whether this server still
	// knows them, by a packet that only QUIC sees; one that is silent for twice
	// as long is gone. Edges are told by QUIC's idle time-out (RFC 9000 section
	// 10.1), which is that. It keeps the way through NATs open, and is how long
	// an edge at rest may take to notice that its server was started again. For
	// 10,000 edges it costs the server 0.15 cores at the default, so that a cloud
	// of many more may want a minute. 0 means 15 s; the most is 10 minutes.
	Keepalive time.Duration
	// Memory is how many bytes all connections together may grow their windows
	// beyond the 16 MiB that each may use from the start. 0 means 256 MiB.
	Memory int64
	// Backlog is how many connections may wait for Accept; one more is turned
	// away. 0 means 1024.
	Backlog int
	// Handshakes is how many connections may be under way from their first
	// packet to Accept. The first packets of more wait, up to some 500 of them;
	// beyond that they are lost, which has the edge send them again (RFC 9002
	// section 6.2). One that takes longer than 3 s counts no more. 0 means 256.
	Handshakes int
	// Unproven is how many handshakes with unproven addresses may be under
	// way before each further one must prove its address first, which costs a
	// round trip (RFC 9000 section 8.1.2). 0 means half of Handshakes.
	Unproven int
}

// Listener takes QUIC connections. It owns one goroutine, besides those of
// quic-go; Close waits for it.
type Listener struct {
	cfg       ListenerConfig
	transport *quic.Transport
	listener  *quic.Listener
	waiting   *backlog.Queue[*Conn]
	entry     *backlog.Entry
	closing   chan struct{}
	reads     *reads
	once      sync.Once
	running   sync.WaitGroup
	grown     atomic.Int64 // bytes of windows beyond their beginning
	unproven  atomic.Int64
	chosen    atomic.Pointer[choice] // the last one, which is the next one's too for days
}

// Listen takes over the socket and accepts connections from now on.
func Listen(cfg ListenerConfig) (*Listener, error) {
	switch {
	case cfg.Socket == nil:
		return nil, errors.New("quicconn: ListenerConfig.Socket is required")
	case cfg.TLS == nil:
		return nil, errors.New("quicconn: ListenerConfig.TLS is required")
	case cfg.Keepalive < 0 || 2*cfg.Keepalive > idleTimeout:
		return nil, fmt.Errorf("quicconn: ListenerConfig.Keepalive must be 0 for the default, or up to %v", idleTimeout/2)
	case cfg.Backlog < 0 || cfg.Memory < 0 || cfg.Handshakes < 0 || cfg.Unproven < 0:
		return nil, errors.New("quicconn: ListenerConfig.Backlog, Memory, Handshakes and Unproven must not be negative: leave them 0 for the default")
	}
	if cfg.NodeName == nil {
		cfg.NodeName = join.NodeName
	}
	if cfg.Keepalive == 0 {
		cfg.Keepalive = keepalive
	}
	if cfg.Backlog == 0 {
		cfg.Backlog = 1024
	}
	if cfg.Memory == 0 {
		cfg.Memory = 256 << 20
	}
	if cfg.Handshakes == 0 {
		cfg.Handshakes = 256
	}
	if cfg.Unproven == 0 {
		cfg.Unproven = max(1, cfg.Handshakes/2)
	}
	l := &Listener{
		cfg: cfg, waiting: backlog.New[*Conn](cfg.Backlog), entry: backlog.NewEntry(cfg.Handshakes),
		closing: make(chan struct{}), reads: newReads(cfg.Socket.LocalAddr()),
	}
	mark := newMark()
	var answers *forgotten
	if cfg.ResetKey != nil {
		answers = &forgotten{mark: mark, key: *cfg.ResetKey}
	}
	l.transport = &quic.Transport{
		Conn:                  outlive(cfg.Socket, l.reads, answers),
		ConnectionIDGenerator: mark,
		StatelessResetKey:     (*quic.StatelessResetKey)(cfg.ResetKey),
		TokenGeneratorKey:     (*quic.TokenGeneratorKey)(cfg.TokenKey),
		VerifySourceAddress:   func(net.Addr) bool { return l.unproven.Load() >= int64(cfg.Unproven) },
		ConnContext:           l.handshake,
	}
	var err error
	if l.listener, err = l.transport.Listen(l.serverTLS(), l.settings()); err != nil {
		_ = cfg.Socket.Close()
		return nil, fmt.Errorf("quicconn: %w", err)
	}
	l.running.Go(l.take)
	return l, nil
}

func (l *Listener) serverTLS() *tls.Config {
	c := insist(l.cfg.TLS)
	if choose := c.GetConfigForClient; choose != nil {
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := choose(hello)
			if chosen == nil || err != nil {
				return nil, err
			}
			last := l.chosen.Load()
			if last == nil || last.of != chosen {
				last = &choice{chosen, insist(chosen)}
				l.chosen.Store(last)
			}
			return last.config, nil
		}
	}
	return c
}

// choice is what GetConfigForClient gave, and what insist made of it.
type choice struct{ of, config *tls.Config }

// insist gives a copy of c that speaks this protocol and wants a certificate.
func insist(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.NextProtos = []string{protocol}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	// A ticket would be sent to every node and kept for each, and a resumed
	// session skips the check of the certificate. What it would spare when a
	// fleet returns is a fifth of the CPU (hub/BENCHMARKS.md).
	c.SessionTicketsDisabled = true
	return c
}

func (l *Listener) settings() *quic.Config {
	c := settings(2 * l.cfg.Keepalive)
	// quic-go asks before a window grows and tells nothing when a connection
	// ends, so each connection's share is given back by its context.
	c.AllowConnectionWindowIncrease = func(conn *quic.Conn, delta uint64) bool {
		share, ok := conn.Context().Value(shareKey{}).(*share)
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
	pass     atomic.Pointer[backlog.Pass] // until it is accepted
}

// inside gives up the place that the connection had on its way in.
func (s *share) inside() {
	if p := s.pass.Swap(nil); p != nil {
		p.Leave()
	}
}

// shareKey is where a connection's context has its share.
type shareKey struct{}

// proven ends the time in which the connection counts as unproven.
func (l *Listener) proven(s *share) {
	if s.unproven.Swap(false) {
		l.unproven.Add(-1)
	}
}

// handshake is called for each connection that a client begins, one after the
// other. ctx ends with the connection. While it waits, quic-go keeps the first
// packets of further connections, and all others take their way.
func (l *Listener) handshake(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
	pass := l.entry.Enter(l.closing)
	if pass == nil {
		return nil, net.ErrClosed
	}
	s := &share{}
	s.pass.Store(pass)
	s.unproven.Store(true)
	l.unproven.Add(1)
	context.AfterFunc(ctx, func() {
		l.grown.Add(-s.grown.Load())
		l.proven(s)
		s.inside()
		if c := s.waits.Load(); c != nil {
			l.waiting.Drop(c)
		}
	})
	return context.WithValue(ctx, shareKey{}, s), nil
}

// take empties quic-go's queue, which is short and refuses what does not fit
// without a word. It ends when the Listener is closed or its socket fails, for
// then quic-go gives up all that use it.
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
	s, ok := conn.Context().Value(shareKey{}).(*share)
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
		if s, ok := c.conn.Context().Value(shareKey{}).(*share); ok {
			s.inside()
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
