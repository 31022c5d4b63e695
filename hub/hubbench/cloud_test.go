package hubbench_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"iter"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubbench/processtest"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/quicconn"
	"github.com/edgekit/edgekit/hub/wsconn"
)

// CloudConfig sets up the server process of a fleet.
type CloudConfig struct {
	Transport      string
	Hosts          []string // the addresses that it listens at; over QUIC the first one only
	Port           int      // 0 means any
	CertPEM        []byte
	KeyPEM         []byte
	ResetKey       quicconn.Key // the same after a restart, as in a cluster's secret
	Nodes, Objects int
	Keepalive      time.Duration
	Ask            time.Duration // how often edges over QUIC ask for the server; 0 for quicconn's default
	Versions       []int         // of each node's first object, nil for the first ones
}

// keyring gives the server its certificates.
func (cfg CloudConfig) keyring() (*join.Keyring, error) {
	ca, err := join.LoadCA(cfg.CertPEM, cfg.KeyPEM)
	if err != nil {
		return nil, err
	}
	return join.NewKeyring(join.KeyringConfig{Authorities: join.Authorities{Issuer: ca}, Hosts: cfg.Hosts})
}

// CloudState is the state of the server process.
type CloudState struct {
	Connected int // sessions now
	InStep    int // of these, how many compared digests
	Peak      int // most sessions begun in any one second
	Sent      int // objects changed by Deliver

	Handshakes map[hub.HandshakeResult]uint64

	Heap, Stacks uint64 // bytes, from runtime.MemStats
	Goroutines   int
	Memory       string // the rest of runtime.MemStats, for humans
}

// cloud is the server process of a fleet: a hub.Server with TLS, whose
// Directory holds every node's state in memory.
type cloud struct {
	processtest.Profiler
	ctx     context.Context
	server  *hub.Server
	posts   []post
	keys    []hub.Key
	arrived arrivals
	sent    atomic.Int64
}

// Start listens and serves until the process ends; it returns the port.
func (c *cloud) Start(cfg CloudConfig, port *int) error {
	c.ctx = context.Background() // the process is the scope
	ring, err := cfg.keyring()
	if err != nil {
		return err
	}
	c.posts = make([]post, cfg.Nodes)
	for i := range cfg.Objects {
		c.keys = append(c.keys, hub.Key{Resource: "pods", Namespace: "default", Name: "app-" + strconv.Itoa(i)})
	}
	for i := range c.posts {
		c.posts[i] = post{cloud: c, version: firstVersion}
		if cfg.Versions != nil {
			c.posts[i].version = cfg.Versions[i]
		}
	}
	listen := listenerOf[cfg.Transport]
	if listen == nil {
		return fmt.Errorf("transport %q: want quic or ws", cfg.Transport)
	}
	l, err := listen(cfg, ring.ServerTLS())
	if err != nil {
		return err
	}
	switch a := l.Addr().(type) {
	case *net.TCPAddr:
		*port = a.Port
	case *net.UDPAddr:
		*port = a.Port
	}
	c.server, err = hub.NewServer(hub.ServerConfig{Listener: l, Directory: c, Keepalive: cfg.Keepalive})
	if err != nil {
		return err
	}
	go func() {
		if err := c.server.Run(c.ctx); err != nil {
			fmt.Fprintln(os.Stderr, "hubbench: cloud", err)
		}
	}()
	<-c.server.Ready()
	return nil
}

type listenFunc func(cfg CloudConfig, tlsConfig *tls.Config) (hub.Listener, error)

var listenerOf = map[string]listenFunc{
	"quic": func(cfg CloudConfig, tlsConfig *tls.Config) (hub.Listener, error) {
		socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(cfg.Hosts[0]), Port: cfg.Port})
		if err != nil {
			return nil, err
		}
		return quicconn.Listen(quicconn.ListenerConfig{Socket: socket, TLS: tlsConfig, ResetKey: &cfg.ResetKey, TokenKey: &cfg.ResetKey, Keepalive: cfg.Ask})
	},
	"ws": func(cfg CloudConfig, tlsConfig *tls.Config) (hub.Listener, error) {
		var sockets []net.Listener
		for _, h := range cfg.Hosts {
			s, err := net.Listen("tcp", net.JoinHostPort(h, strconv.Itoa(cfg.Port)))
			if err != nil {
				return nil, err
			}
			cfg.Port = s.Addr().(*net.TCPAddr).Port // the same for all
			sockets = append(sockets, s)
		}
		l, err := wsconn.NewListener(wsconn.ListenerConfig{Addr: sockets[0].Addr()})
		if err != nil {
			return nil, err
		}
		srv := &http.Server{ // as cloudcore has it
			Handler: l, TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
			ReadHeaderTimeout: 15 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
		}
		for _, s := range sockets {
			go func() { _ = srv.Serve(tls.NewListener(l.Throttle(s), tlsConfig)) }()
		}
		return l, nil
	},
}

// Attach returns the node's post.
func (c *cloud) Attach(_ context.Context, h hub.Hello) (hub.Node, error) {
	i, err := nodeIndex(h.Node)
	if err != nil || i >= len(c.posts) {
		return hub.Node{}, &hub.Error{Code: hub.CodeForbidden, Text: "no node of this fleet"}
	}
	c.arrived.note(time.Now())
	p := &c.posts[i]
	return hub.Node{Down: p, Up: forgetful{}, Connected: p.connected}, nil
}

const nodePrefix = "edge-"

func nodeName(i int) string { return fmt.Sprintf(nodePrefix+"%06d", i) }

func nodeIndex(name string) (int, error) { return strconv.Atoi(strings.TrimPrefix(name, nodePrefix)) }

// Standing returns how many nodes are connected, and how their handshakes ended.
func (c *cloud) Standing(_ struct{}, out *CloudState) error {
	for i := range c.posts {
		p := &c.posts[i]
		p.mu.Lock()
		if p.up {
			out.Connected++
		}
		if p.up && p.listed {
			out.InStep++
		}
		p.mu.Unlock()
	}
	out.Handshakes = c.server.Stats().Handshakes
	return nil
}

// State returns the whole state of the server, which takes long.
func (c *cloud) State(_ struct{}, out *CloudState) error {
	if err := c.Standing(struct{}{}, out); err != nil {
		return err
	}
	out.Peak, out.Sent = c.arrived.peak(), int(c.sent.Load())
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	out.Heap, out.Stacks = m.HeapAlloc, m.StackInuse
	mib := func(bytes uint64) float64 { return float64(bytes) / (1 << 20) }
	out.Memory = fmt.Sprintf("heap %.1f MiB in use, %.1f of it free; %.1f idle and not given back; %.1f for the runtime itself; next collection at %.1f",
		mib(m.HeapInuse), mib(m.HeapInuse-m.HeapAlloc), mib(m.HeapIdle-m.HeapReleased), mib(m.Sys-m.HeapSys-m.StackSys), mib(m.NextGC))
	out.Goroutines = runtime.NumGoroutine()
	return nil
}

// Versions lists the version of each node's first object.
func (c *cloud) Versions(_ struct{}, out *[]int) error {
	for i := range c.posts {
		p := &c.posts[i]
		p.mu.Lock()
		*out = append(*out, p.version)
		p.mu.Unlock()
	}
	return nil
}

// Collect collects garbage and gives memory back, as cloudcore does when a burst
// has settled.
func (c *cloud) Collect(_ struct{}, _ *struct{}) error {
	debug.FreeOSMemory()
	return nil
}

// Delivery is how many objects to change, and how fast.
type Delivery struct {
	Objects int
	Rate    int // in a second
}

// Deliver changes objects of random nodes and returns when the last one is
// changed.
func (c *cloud) Deliver(d Delivery, _ *struct{}) error {
	begun := time.Now()
	for i := range d.Objects {
		<-time.After(time.Until(begun.Add(time.Duration(i) * time.Second / time.Duration(d.Rate))))
		c.posts[rand.IntN(len(c.posts))].change()
		c.sent.Add(1)
	}
	return nil
}

// arrivals counts what happens in tenths of a second.
type arrivals struct {
	mu sync.Mutex
	in map[int64]int
}

func (a *arrivals) note(at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.in == nil {
		a.in = make(map[int64]int)
	}
	a.in[at.UnixMilli()/100]++
}

// peak is the most within one second.
func (a *arrivals) peak() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	most := 0
	for tenth := range a.in {
		sum := 0
		for i := range int64(10) {
			sum += a.in[tenth+i]
		}
		most = max(most, sum)
	}
	return most
}

// firstVersion is about as long as a resource version is in a cluster.
const firstVersion = 100_000_000

// post is one node in the cloud: its Source.
type post struct {
	cloud *cloud

	mu      sync.Mutex
	changed func(hub.Key)
	version int   // of the first object; the others never change
	at      int64 // when it was last changed, Unix nanoseconds
	up      bool  // a session stands
	listed  bool  // its digest was compared
}

func (p *post) connected(i hub.Info) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.up = i.Connected; !p.up {
		p.listed = false
	}
}

// change gives the node's first object a new version.
func (p *post) change() {
	p.mu.Lock()
	p.version++
	p.at = time.Now().UnixNano()
	changed := p.changed
	p.mu.Unlock()
	if changed != nil {
		changed(p.cloud.keys[0])
	}
}

// Versions lists what the node must hold. The session calls it when the node's digest has
// come.
func (p *post) Versions(context.Context) (iter.Seq2[hub.Key, string], error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listed = true
	version := p.version
	return func(yield func(hub.Key, string) bool) {
		for i, k := range p.cloud.keys {
			v := firstVersion
			if i == 0 {
				v = version
			}
			if !yield(k, strconv.Itoa(v)) {
				return
			}
		}
	}, nil
}

// Load returns an object: the time of its change and a body of 2 KiB.
func (p *post) Load(_ context.Context, k hub.Key, _ string) (hub.Object, error) {
	p.mu.Lock()
	version, at := p.version, p.at
	p.mu.Unlock()
	if k != p.cloud.keys[0] {
		version, at = firstVersion, 0
	}
	return hub.Object{Key: k, Version: strconv.Itoa(version), Body: append(strconv.AppendInt(nil, at, 10), manifest(version)...)}, nil
}

// Compare orders versions, all of one length.
func (p *post) Compare(a, b string) int { return strings.Compare(a, b) }

// Subscribe takes the one subscriber, the session.
func (p *post) Subscribe(changed func(hub.Key)) func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed = changed
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.changed = nil
	}
}

// forgetful is a Sink that takes everything and holds nothing.
type forgetful struct{}

func (forgetful) Versions(context.Context) (iter.Seq2[hub.Key, string], error) {
	return func(func(hub.Key, string) bool) {}, nil
}
func (forgetful) Apply(context.Context, []hub.Object) error { return nil }
