package hubbench_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"iter"
	"maps"
	"net"
	"regexp"
	"slices"
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

// CrewConfig sets up a process with some of a fleet's nodes.
type CrewConfig struct {
	Transport       string
	Host            string // of the server
	Port            int
	Own             string // the address that its UDP sockets have
	CertPEM, KeyPEM []byte // of the CA: a node signs its own certificate
	First, Nodes    int
	Objects         int // that each node holds already
	Keepalive       time.Duration
	Dials           int // how many connect at the same time at first
}

// CrewState is the state of the nodes of a process.
type CrewState struct {
	Connected int
	Sessions  int      // begun so far
	FullLists int      // times that the server asked for all versions
	Applied   int      // objects
	Failed    []string // nodes that gave up, with the reason
}

// Outcomes is how a process's handshakes ended so far.
type Outcomes struct {
	Handshakes map[hub.HandshakeResult]uint64
	Dials      map[string]int // attempts that failed, by their error
}

// crew is a process with many nodes, each a hub.Client.
type crew struct {
	processtest.Profiler
	cfg     CrewConfig
	keys    []hub.Key
	sockets []*quicconn.Socket
	timers  hub.Timers
	enough  atomic.Bool // no more nodes are to connect for the first time

	connected, sessions, lists, applied atomic.Int64

	mu        sync.Mutex
	clients   []*hub.Client
	dials     map[string]int
	latencies []time.Duration
	failed    []string
}

// nodesPerSocket is how many QUIC nodes share a UDP socket.
const nodesPerSocket = 2000

// Start connects the nodes, some at a time, and returns before they are.
func (c *crew) Start(cfg CrewConfig, _ *struct{}) error {
	c.cfg = cfg
	for i := range cfg.Objects {
		c.keys = append(c.keys, hub.Key{Resource: "pods", Namespace: "default", Name: "app-" + strconv.Itoa(i)})
	}
	if cfg.Transport == "quic" {
		for range (cfg.Nodes + nodesPerSocket - 1) / nodesPerSocket {
			socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(cfg.Own)})
			if err != nil {
				return err
			}
			c.sockets = append(c.sockets, quicconn.NewSocket(socket))
		}
	}
	ca, err := join.LoadCA(cfg.CertPEM, cfg.KeyPEM)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // one for all: making them is not measured
	if err != nil {
		return err
	}
	shared := &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS13}
	go func() { // until the process ends
		free := make(chan struct{}, cfg.Dials)
		for i := range cfg.Nodes {
			if free <- struct{}{}; c.enough.Load() {
				return
			}
			leaf, err := ca.IssueNode(key.Public(), nodeName(cfg.First+i), time.Now(), time.Hour)
			if err != nil {
				c.fail(i, err)
				return
			}
			t := shared.Clone()
			t.Certificates = []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}}
			go c.live(i, t, sync.OnceFunc(func() { <-free }))
		}
	}()
	return nil
}

// Enough stops nodes from connecting that have not begun to.
func (c *crew) Enough(_ struct{}, _ *struct{}) error {
	c.enough.Store(true)
	return nil
}

// live runs one node. It calls connected when the first session has begun.
func (c *crew) live(i int, t *tls.Config, connected func()) {
	d, err := c.dialer(i, t)
	if err != nil {
		c.fail(i, err)
		return
	}
	s := &stock{crew: c, version: strconv.Itoa(firstVersion)}
	client, err := hub.NewClient(hub.ClientConfig{
		Dialer: failing{d, c}, Node: nodeName(c.cfg.First + i), Down: s, Up: nothing{}, Keepalive: c.cfg.Keepalive, Timers: &c.timers,
		Connected: []func(hub.Info){func(i hub.Info) {
			if !i.Connected {
				c.connected.Add(-1)
				return
			}
			c.connected.Add(1)
			c.sessions.Add(1)
			s.listed.Store(0)
			connected()
		}},
	})
	if err == nil {
		c.mu.Lock()
		c.clients = append(c.clients, client)
		c.mu.Unlock()
		err = client.Run(context.Background()) // until the process ends
	}
	c.fail(i, err)
}

// ports are those in errors of the network.
var ports = regexp.MustCompile(`:\d+`)

// failing counts a Dialer's failures, to show why nodes do not connect.
type failing struct {
	hub.Dialer
	crew *crew
}

func (d failing) Dial(ctx context.Context) (hub.Conn, error) {
	conn, err := d.Dialer.Dial(ctx)
	if err != nil {
		d.crew.mu.Lock()
		if d.crew.dials == nil {
			d.crew.dials = make(map[string]int)
		}
		d.crew.dials[ports.ReplaceAllString(err.Error(), ":port")]++
		d.crew.mu.Unlock()
	}
	return conn, err
}

func (c *crew) dialer(i int, t *tls.Config) (hub.Dialer, error) {
	addr := net.JoinHostPort(c.cfg.Host, strconv.Itoa(c.cfg.Port))
	if c.cfg.Transport == "quic" {
		return quicconn.NewDialer(quicconn.DialerConfig{Addr: addr, TLS: t, Socket: c.sockets[i/nodesPerSocket]})
	}
	return wsconn.NewDialer(wsconn.DialerConfig{URL: "https://" + addr, TLS: t})
}

func (c *crew) fail(i int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = append(c.failed, fmt.Sprintf("%s: %v", nodeName(c.cfg.First+i), err))
}

// State returns the state of the nodes.
func (c *crew) State(_ struct{}, out *CrewState) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	*out = CrewState{
		Connected: int(c.connected.Load()), Sessions: int(c.sessions.Load()), FullLists: int(c.lists.Load()),
		Applied: int(c.applied.Load()), Failed: slices.Clone(c.failed),
	}
	return nil
}

// Outcomes returns how the handshakes of all nodes ended.
func (c *crew) Outcomes(_ struct{}, out *Outcomes) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	*out = Outcomes{Handshakes: make(map[hub.HandshakeResult]uint64), Dials: maps.Clone(c.dials)}
	for _, client := range c.clients {
		for result, n := range client.Stats().Handshakes {
			out.Handshakes[result] += n
		}
	}
	return nil
}

// Latencies returns how long each object took from its change in the cloud to
// the Sink here.
func (c *crew) Latencies(_ struct{}, out *[]time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	*out = c.latencies
	c.latencies = nil
	return nil
}

// stock is the Sink of a node, which remembers versions only.
type stock struct {
	crew    *crew
	listed  atomic.Int32 // calls of Versions in this session
	mu      sync.Mutex
	version string // of the first object; the others never change
}

// Versions lists what the node holds. The first call of a session is for the
// digest, a second one for a full list.
func (s *stock) Versions(context.Context) (iter.Seq2[hub.Key, string], error) {
	if s.listed.Add(1) == 2 {
		s.crew.lists.Add(1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	version := s.version
	return func(yield func(hub.Key, string) bool) {
		for i, k := range s.crew.keys {
			v := version
			if i > 0 {
				v = strconv.Itoa(firstVersion)
			}
			if !yield(k, v) {
				return
			}
		}
	}, nil
}

// Apply records how long the objects took.
func (s *stock) Apply(_ context.Context, objects []hub.Object) error {
	now := time.Now()
	for _, o := range objects {
		if o.Key != s.crew.keys[0] {
			return &hub.Error{Code: hub.CodeInvalid, Text: "an object that does not change was sent: " + o.Key.String()}
		}
		at, _, _ := bytes.Cut(o.Body, []byte("{"))
		nanos, err := strconv.ParseInt(string(at), 10, 64)
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.version = strings.Clone(o.Version)
		s.mu.Unlock()
		s.crew.mu.Lock()
		s.crew.latencies = append(s.crew.latencies, now.Sub(time.Unix(0, nanos)))
		s.crew.mu.Unlock()
		s.crew.applied.Add(1)
	}
	return nil
}

// nothing is the Source of a node that has nothing to report.
type nothing struct{}

func (nothing) Versions(context.Context) (iter.Seq2[hub.Key, string], error) {
	return func(func(hub.Key, string) bool) {}, nil
}

func (nothing) Load(_ context.Context, k hub.Key, _ string) (hub.Object, error) {
	return hub.Object{Key: k, Deleted: true}, nil
}
func (nothing) Compare(a, b string) int               { return strings.Compare(a, b) }
func (nothing) Subscribe(func(hub.Key)) (stop func()) { return func() {} }
