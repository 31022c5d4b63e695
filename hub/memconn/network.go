package memconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/edgekit/edgekit/hub"
)

// Config sets up a Network. The zero value is a perfect link.
type Config struct {
	// Delay is how long bytes take one way.
	Delay time.Duration
	// Window is how many bytes of a stream may be on their way or unread. 0
	// means 256 KiB.
	Window int
	// Backlog is how many streams a connection opens before the peer accepts
	// one. 0 means 64.
	Backlog int
}

// Network connects the edges of one program with its cloud. It is the cloud's
// hub.Listener.
type Network struct {
	cfg    Config
	accept chan *Conn
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex
	delay   time.Duration
	refused error
	links   map[*link]struct{}
	stalled map[string]bool
}

// errRefused is what Dial returns while the network refuses.
var errRefused = errors.New("memconn: connection refused")

// New makes a Network.
func New(cfg Config) *Network {
	if cfg.Window <= 0 {
		cfg.Window = 256 << 10
	}
	if cfg.Backlog <= 0 {
		cfg.Backlog = 64
	}
	return &Network{
		cfg: cfg, delay: cfg.Delay, accept: make(chan *Conn), closed: make(chan struct{}),
		links: make(map[*link]struct{}), stalled: make(map[string]bool),
	}
}

// Accept waits for a node to dial.
func (n *Network) Accept(ctx context.Context) (hub.Conn, error) {
	select {
	case c := <-n.accept:
		return c, nil
	case <-n.closed:
		return nil, fmt.Errorf("memconn: accept: %w", net.ErrClosed)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Addr names the network.
func (n *Network) Addr() net.Addr { return memAddr("memconn") }

// Close stops accepting. Connections live on. Twice is nil.
func (n *Network) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}

// Dialer dials as the node with that name: it is what the cloud sees as
// hub.Peer.Name. An empty name proves nothing.
func (n *Network) Dialer(node string) hub.Dialer { return dialer{n, node} }

// SetDelay changes how long bytes take one way, from now on.
func (n *Network) SetDelay(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay = d
}

// Refuse makes every Dial fail, until called with false.
func (n *Network) Refuse(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refused = nil; on {
		n.refused = errRefused
	}
}

// Cut breaks the connections of a node at once, on both sides. What was on its
// way is lost.
func (n *Network) Cut(node string) {
	for _, l := range n.of(node) {
		l.end(errCut)
	}
}

// Stall makes a node's connections half-open, also those that it dials meanwhile: no byte
// arrives any more and no side gets an error. With false, what was held back arrives.
func (n *Network) Stall(node string, on bool) {
	n.mu.Lock()
	n.stalled[node] = on
	n.mu.Unlock()
	for _, l := range n.of(node) {
		l.stall(on)
	}
}

func (n *Network) of(node string) []*link {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []*link
	for l := range n.links {
		if l.node == node {
			out = append(out, l)
		}
	}
	return out
}

// currentDelay is read for every write.
func (n *Network) currentDelay() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.delay
}

func (n *Network) forget(l *link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.links, l)
}

type dialer struct {
	n    *Network
	node string
}

// Dial connects once the cloud accepts.
func (d dialer) Dial(ctx context.Context) (hub.Conn, error) {
	n := d.n
	n.mu.Lock()
	err, delay := n.refused, n.delay
	n.mu.Unlock()
	if err != nil {
		return nil, err
	}
	l := newLink(n, d.node)
	select {
	case n.accept <- l.cloud:
	case <-n.closed:
		return nil, errRefused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	n.mu.Lock()
	n.links[l] = struct{}{}
	stalled := n.stalled[d.node]
	n.mu.Unlock()
	if stalled {
		l.stall(true)
	}
	if delay > 0 { // the handshake of a real transport takes a round trip
		select {
		case <-time.After(2 * delay):
		case <-ctx.Done():
			l.end(errCut)
			return nil, ctx.Err()
		}
	}
	return l.edge, nil
}

// memAddr is the address of an end.
type memAddr string

func (memAddr) Network() string  { return "mem" }
func (a memAddr) String() string { return string(a) }
