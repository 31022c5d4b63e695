package wsconn

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"

	"nhooyr.io/websocket"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/internal/load"
	"github.com/edgekit/edgekit/hub/join"
)

// Path is where a Listener is mounted, and where a Dialer looks for it unless
// its URL names another path.
const Path = "/v1/link"

// busyRetry is the Retry-After, in seconds, of the answer when the backlog is full.
const busyRetry = 5

// ListenerConfig sets up a Listener. The zero value is usable.
type ListenerConfig struct {
	// NodeName reads a node's name from its verified certificate, or says why
	// the certificate is not a node's. Nil means join.NodeName.
	NodeName func(*x509.Certificate) (string, error)
	// Addr is what Listener.Addr returns; the handler itself knows no address.
	Addr net.Addr
	// Memory is how many bytes all connections together may grow their
	// streams' windows beyond their beginning. 0 means 256 MiB.
	Memory int64
	// Backlog is how many connections may wait for Accept; one more gets status 503. 0
	// means 1024.
	Backlog int
	// Handshakes is how many connections of all sockets that Throttle was given
	// may be under way from their first byte to Accept; as many wait, and more wait in
	// the kernel. One that takes longer than 3 s no longer counts. 0 means 256.
	Handshakes int
	// Pending is how many TCP connections of all sockets that Throttle was given
	// may be open that are not links, a quarter of them without having sent a byte.
	// 0 means 4096; it must be at least 4 times Handshakes.
	Pending int
	// Proxies are the networks of load balancers that begin each connection with a PROXY
	// protocol header (version 1 or 2), which names the client's address. A connection
	// from there without a header is closed; one from anywhere else with a header fails
	// its TLS handshake. It is for the sockets that Throttle was given. nil trusts
	// nobody.
	Proxies []netip.Prefix
}

// Listener takes WebSocket connections from an HTTP server. It starts no
// goroutine of its own but those of Throttle.
type Listener struct {
	cfg     ListenerConfig
	budget  *memoryBudget
	waiting *load.Backlog[*Conn]
	entry   *load.Admission
	pending *pending
}

// NewListener makes a Listener, to be mounted in an http.ServeMux.
func NewListener(cfg ListenerConfig) (*Listener, error) {
	if cfg.Backlog < 0 || cfg.Memory < 0 || cfg.Handshakes < 0 || cfg.Pending < 0 {
		return nil, errors.New("wsconn: ListenerConfig.Backlog, Memory, Handshakes and Pending must not be negative: leave them 0 for the default")
	}
	if cfg.Backlog == 0 {
		cfg.Backlog = 1024
	}
	if cfg.Handshakes == 0 {
		cfg.Handshakes = 256
	}
	if cfg.Pending == 0 {
		cfg.Pending = max(4096, 4*cfg.Handshakes)
	}
	if cfg.Pending < 4*cfg.Handshakes {
		return nil, fmt.Errorf("wsconn: ListenerConfig.Pending is %d, less than 4 times Handshakes: want %d or more, or 0 for the default", cfg.Pending, 4*cfg.Handshakes)
	}
	cfg.Proxies = slices.Clone(cfg.Proxies)
	if cfg.Memory == 0 {
		cfg.Memory = defaultMemory
	}
	if cfg.NodeName == nil {
		cfg.NodeName = join.NodeName
	}
	if cfg.Addr == nil {
		cfg.Addr = &net.TCPAddr{}
	}
	return &Listener{
		cfg: cfg, budget: &memoryBudget{limit: cfg.Memory}, waiting: load.NewBacklog[*Conn](cfg.Backlog),
		entry: load.NewAdmission(cfg.Handshakes, nil), pending: newPending(cfg.Pending),
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
	if l.waiting.Closed() {
		http.Error(w, "the link is shutting down", http.StatusServiceUnavailable)
		return
	}
	if !l.waiting.Reserve() {
		w.Header().Set("Retry-After", strconv.Itoa(busyRetry))
		http.Error(w, "too many nodes are connecting", http.StatusServiceUnavailable)
		return
	}
	h := &hijacker{ResponseWriter: w}
	ws, err := websocket.Accept(h, r, &websocket.AcceptOptions{Subprotocols: []string{subprotocol}})
	if err != nil {
		l.waiting.Free()
		return // Accept has answered the request
	}
	c := newConn(ws, h.socket, peer, false, l.budget)
	if !l.waiting.Put(c) {
		c.Close()
		return
	}
	c.whenEnded(func() { l.waiting.Drop(c) })
}

// restBuffer is the size of each buffer that a WebSocket keeps at rest; what is
// larger passes it by.
const restBuffer = 512

// hijacker is an http.ResponseWriter that gives the WebSocket a socket instead
// of the bare connection, and small buffers instead of the server's.
type hijacker struct {
	http.ResponseWriter
	socket *socket
}

// Hijack takes the connection over.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.socket = newSocket(conn)
	// What the peer sent too early stands in the reader's buffer.
	early := rw.Reader.Buffered()
	r := bufio.NewReaderSize(io.LimitReader(rw.Reader, int64(early)), max(early, restBuffer))
	if _, err := r.Peek(early); err != nil {
		return nil, nil, err
	}
	return h.socket, bufio.NewReadWriter(r, bufio.NewWriterSize(h.socket, restBuffer)), nil
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

// Backlog implements hub.BacklogReporter, for the sockets that Throttle was given. More
// may wait in the kernel, which does not say how many.
func (l *Listener) Backlog() map[string]hub.Backlog {
	return map[string]hub.Backlog{transport: {UnderWay: l.entry.Taken(), Waiting: l.entry.Waiting()}}
}

// Accept waits for the next connection.
func (l *Listener) Accept(ctx context.Context) (hub.Conn, error) {
	c, err := l.waiting.Accept(ctx)
	switch {
	case err == nil:
		inside(c.socket.Conn)
		return c, nil
	case ctx.Err() != nil:
		return nil, err
	}
	return nil, fmt.Errorf("wsconn: accept: %w", err)
}

// Addr is ListenerConfig.Addr.
func (l *Listener) Addr() net.Addr { return l.cfg.Addr }

// Close turns later connections away and closes those not yet accepted. Twice
// is nil.
func (l *Listener) Close() error {
	for _, c := range l.waiting.Close(nil) {
		c.Close()
	}
	return nil
}
