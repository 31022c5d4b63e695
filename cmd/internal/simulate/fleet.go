package simulate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/quicconn"
	"github.com/edgekit/edgekit/hub/wsconn"
)

const (
	// nodesPerSocket is how many QUIC nodes share a UDP socket.
	nodesPerSocket = 2000
	// connecting is how many nodes get an identity and connect for the first time at the same time.
	connecting = 64
	// provisioning is how many nodes get their pods and devices at the same time.
	provisioning = 16
)

// Fleet is a simulation.
type Fleet struct {
	cfg     Config
	cluster *cluster
	agenda  *agenda
	began   time.Time
	started atomic.Bool
	stats   counters
	timers  hub.Timers
	mux     *hub.Mux
	words   sync.Map // strings that many nodes share
	empty   chan *node
	sockets []*quicconn.Socket

	nodesMu sync.Mutex
	nodes   []*node // those that have begun
}

// ErrStarted is returned by a second Run.
var ErrStarted = errors.New("simulate: Run was called before")

// New checks the configuration. Nothing happens until Run.
func New(cfg Config) (*Fleet, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	f := &Fleet{cfg: cfg, agenda: newAgenda(), empty: make(chan *node, cfg.Nodes)}
	if f.cluster, err = newCluster(&f.cfg); err != nil {
		return nil, err
	}
	if f.mux, err = newMux(); err != nil {
		return nil, err
	}
	return f, nil
}

// Run connects the nodes and keeps them until ctx ends; it then closes their links and returns
// nil. What it made at the API server stays: see Cleanup. It fails when the API server refuses
// what all nodes share.
func (f *Fleet) Run(ctx context.Context) error {
	if f.started.Swap(true) {
		return ErrStarted
	}
	f.began = time.Now()
	if err := f.cluster.prepare(ctx); err != nil {
		return err
	}
	identities, err := newIdentities(ctx, &f.cfg, f.cluster.store)
	if err != nil {
		return err
	}
	if err := f.openSockets(); err != nil {
		return err
	}
	defer f.closeSockets()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.agenda.run(ctx) })
	g.Go(func() error { return f.cluster.followTwins(ctx, &f.stats.twin) })
	for range provisioning {
		g.Go(func() error { return f.provision(ctx) })
	}
	g.Go(func() error { return f.connectAll(ctx, g, identities) })
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// openSockets opens the UDP sockets that the nodes share.
func (f *Fleet) openSockets() error {
	if f.cfg.Transport != "quic" {
		return nil
	}
	for range (f.cfg.Nodes + nodesPerSocket - 1) / nodesPerSocket {
		socket, err := net.ListenUDP("udp", nil)
		if err != nil {
			f.closeSockets()
			return fmt.Errorf("simulate: open a UDP socket: %w", err)
		}
		f.sockets = append(f.sockets, quicconn.NewSocket(socket))
	}
	return nil
}

func (f *Fleet) closeSockets() {
	for _, s := range f.sockets {
		_ = s.Close() // its connections have ended
	}
}

// connectAll begins all nodes, spread over the ramp, and returns when they have begun.
func (f *Fleet) connectAll(ctx context.Context, g *errgroup.Group, from *identities) error {
	free := make(chan struct{}, connecting)
	for i := range f.cfg.Nodes {
		at := f.began.Add(f.cfg.Ramp * time.Duration(i) / time.Duration(f.cfg.Nodes))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(at)):
		}
		select {
		case <-ctx.Done():
			return nil
		case free <- struct{}{}:
		}
		n := &node{
			fleet: f, name: f.cfg.nodeName(i), held: make(map[hub.Key]string), pods: make(map[string]*pod), pending: make(map[hub.Key]*report),
			last: uint64(f.began.UnixMicro()),
		}
		f.nodesMu.Lock()
		f.nodes = append(f.nodes, n)
		f.nodesMu.Unlock()
		g.Go(func() error {
			done := sync.OnceFunc(func() { <-free })
			defer done()
			f.keep(ctx, n, i, from, done)
			return nil
		})
	}
	return nil
}

// keep runs one node until ctx ends. It calls connected when its first session has begun.
func (f *Fleet) keep(ctx context.Context, n *node, i int, from *identities, connected func()) {
	f.stats.begun.Add(1)
	client, err := f.client(ctx, n, i, from, connected)
	if err == nil {
		n.reportNode()
		err = client.Run(ctx)
	}
	if err != nil && ctx.Err() == nil {
		f.stats.fail(fmt.Errorf("%s: %w", n.name, err))
		f.cfg.Logger.Warn("a node has given up", "node", n.name, "err", err)
	}
}

// client makes a node's identity and link.
func (f *Fleet) client(ctx context.Context, n *node, i int, from *identities, connected func()) (*hub.Client, error) {
	var identity *tls.Config
	var err error
	for tries := 0; ; tries++ { // the API server may be short of breath
		if identity, err = from.issue(ctx, n.name); err == nil || tries == 3 || ctx.Err() != nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second << tries):
		}
	}
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	dialer, err := f.dialer(n, i, identity)
	if err != nil {
		return nil, err
	}
	return hub.NewClient(hub.ClientConfig{
		Dialer: dialer, Node: n.name, Version: "simulated", Down: n, Up: sender{n}, Mux: f.mux, Timers: &f.timers,
		Connected: []func(hub.Info){n.connected, func(info hub.Info) {
			if info.Connected {
				connected()
			}
		}},
	})
}

// anyServer dials one of the servers, and another one the next time.
type anyServer struct {
	node *node
	all  []hub.Dialer
	next atomic.Uint32
}

// Dial opens a connection.
func (a *anyServer) Dial(ctx context.Context) (hub.Conn, error) {
	a.node.dialing()
	conn, err := a.all[a.next.Add(1)%uint32(len(a.all))].Dial(ctx)
	if err != nil {
		a.node.fleet.stats.dialFailed(err)
	}
	return conn, err
}

func (f *Fleet) dialer(n *node, i int, identity *tls.Config) (hub.Dialer, error) {
	out := &anyServer{node: n}
	out.next.Store(rand.Uint32N(1 << 20))
	for _, addr := range f.cfg.Servers {
		own := identity.Clone()
		own.ServerName = host(addr)
		var d hub.Dialer
		var err error
		if f.cfg.Transport == "quic" {
			d, err = quicconn.NewDialer(quicconn.DialerConfig{Addr: addr, TLS: own, Socket: f.sockets[i/nodesPerSocket]})
		} else {
			d, err = wsconn.NewDialer(wsconn.DialerConfig{URL: "https://" + addr, TLS: own})
		}
		if err != nil {
			return nil, err
		}
		out.all = append(out.all, d)
	}
	return out, nil
}

// registered has a node's pods and device created, once the API server has its Node.
func (f *Fleet) registered(n *node) {
	n.mu.Lock()
	first := !n.provisioned
	n.provisioned = true
	n.mu.Unlock()
	if first {
		f.stats.registered.Add(1)
		f.empty <- n // has room for every node
	}
}

// provision creates the pods and devices of nodes until ctx ends.
func (f *Fleet) provision(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case n := <-f.empty:
			if err := f.cluster.provision(ctx, n); err != nil && ctx.Err() == nil {
				f.stats.fail(fmt.Errorf("%s: %w", n.name, err))
			}
			f.stats.provisioned.Add(1)
		}
	}
}

// word returns a string that equal ones share.
func (f *Fleet) word(s string) string {
	if len(s) > 64 {
		return s
	}
	w, _ := f.words.LoadOrStore(s, s)
	return w.(string)
}
