package wsconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"

	"nhooyr.io/websocket"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/join"
)

// Path is where a Listener is mounted, and where a Dialer looks for it unless
// its URL names another path.
const Path = "/v1/link"

// busyRetry is what an edge is told to wait, in seconds, when the backlog is
// full.
const busyRetry = 5

// ListenerConfig sets up a Listener. The zero value is usable.
type ListenerConfig struct {
	// NodeName reads a node's name from its verified certificate, or says why
	// the certificate is not a node's. Nil means join.NodeName.
	NodeName func(*x509.Certificate) (string, error)
	// Addr is what Listener.Addr tells; the handler itself knows no address.
	Addr net.Addr
	// Backlog is how many connections may wait for Accept; one more is turned
	// away with status 503. 0 means 1024.
	Backlog int
}

// Listener takes WebSocket connections from an HTTP server. It starts no
// goroutine of its own.
type Listener struct {
	cfg    ListenerConfig
	slots  chan struct{} // one for each connection that is not yet accepted
	accept chan *Conn
	closed chan struct{}
	once   sync.Once
}

// NewListener makes a Listener, to be mounted in an http.ServeMux.
func NewListener(cfg ListenerConfig) (*Listener, error) {
	if cfg.Backlog < 0 {
		return nil, errors.New("wsconn: ListenerConfig.Backlog is negative: leave it 0 for the default")
	}
	if cfg.Backlog == 0 {
		cfg.Backlog = 1024
	}
	if cfg.NodeName == nil {
		cfg.NodeName = join.NodeName
	}
	if cfg.Addr == nil {
		cfg.Addr = &net.TCPAddr{}
	}
	return &Listener{
		cfg: cfg, slots: make(chan struct{}, cfg.Backlog), accept: make(chan *Conn, cfg.Backlog),
		closed: make(chan struct{}),
	}, nil
}

// ServeHTTP upgrades one request. Without a verified client certificate that
// names a node it answers 401 or 403.
func (l *Listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	peer, status, err := l.identify(r)
	if err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	select {
	case <-l.closed:
		http.Error(w, "the link is shutting down", http.StatusServiceUnavailable)
		return
	default:
	}
	select {
	case l.slots <- struct{}{}:
	default:
		w.Header().Set("Retry-After", strconv.Itoa(busyRetry))
		http.Error(w, "too many nodes are connecting", http.StatusServiceUnavailable)
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{subprotocol}})
	if err != nil {
		<-l.slots
		return // Accept has answered the request
	}
	c, err := newConn(ws, peer, false)
	if err != nil {
		<-l.slots
		_ = ws.CloseNow()
		return
	}
	l.accept <- c // has room for each slot
	select {
	case <-l.closed:
		l.drain()
	default:
	}
}

// identify says who asks.
func (l *Listener) identify(r *http.Request) (hub.Peer, int, error) {
	if r.TLS == nil || r.TLS.Version < tls.VersionTLS13 {
		return hub.Peer{}, http.StatusForbidden, errors.New("the link needs TLS 1.3")
	}
	if len(r.TLS.VerifiedChains) == 0 {
		return hub.Peer{}, http.StatusUnauthorized, errors.New("the link needs a client certificate: join this node first")
	}
	cert := r.TLS.VerifiedChains[0][0]
	name, err := l.cfg.NodeName(cert)
	if err != nil {
		return hub.Peer{}, http.StatusForbidden, err
	}
	addr, err := net.ResolveTCPAddr("tcp", r.RemoteAddr)
	if err != nil {
		addr = nil
	}
	return hub.Peer{Name: name, Certificate: cert, Addr: addr, Transport: transport}, 0, nil
}

// Accept waits for the next connection.
func (l *Listener) Accept(ctx context.Context) (hub.Conn, error) {
	select {
	case <-l.closed:
	case <-ctx.Done():
		return nil, ctx.Err()
	case c := <-l.accept:
		<-l.slots
		return c, nil
	}
	return nil, fmt.Errorf("wsconn: accept: %w", net.ErrClosed)
}

// Addr is ListenerConfig.Addr.
func (l *Listener) Addr() net.Addr { return l.cfg.Addr }

// Close turns later connections away and closes those not yet accepted. Twice
// is nil.
func (l *Listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.drain()
	})
	return nil
}

func (l *Listener) drain() {
	for {
		select {
		case c := <-l.accept:
			<-l.slots
			c.Close()
		default:
			return
		}
	}
}
