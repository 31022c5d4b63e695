package e2e

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	devicemetrics "github.com/edgekit/edgekit/device/metrics"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/join/joinmetrics"
	"github.com/edgekit/edgekit/hub/join/jointest"
	"github.com/edgekit/edgekit/hub/memconn"
	hubmetrics "github.com/edgekit/edgekit/hub/metrics"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
	storemetrics "github.com/edgekit/edgekit/meta/metrics"
)

// stage serves the real collectors of this repository over parts that the test has in its hand, where the
// cause of an alert is hard to make with the programs.
type stage struct {
	cloud, node, mapper string // addresses

	slow      *hubtest.Directory // of a server with a node that does not acknowledge
	release   func()             // lets that node acknowledge
	manager   *manager.Manager   // of a node, without a link
	connect   func()             // gives the manager a link
	authority *jointest.Cloud
	renew     func() error // renews the node's certificate

	clone, removeClone func() // a second machine with a node's identity

	fleet   fleet
	links   *hub.Server  // with the slow node
	serving *switchboard // of the cloud
}

// switchboard serves nothing while it is off.
type switchboard struct {
	http.Handler
	off atomic.Bool
}

func (s *switchboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.off.Load() {
		http.Error(w, "off", http.StatusServiceUnavailable)
		return
	}
	s.Handler.ServeHTTP(w, r)
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{}
	cloud, edge, mapper := prometheus.NewRegistry(), prometheus.NewRegistry(), prometheus.NewRegistry()
	cloud.MustRegister(s.slowLink(t), s.certificates(t))
	cloud.MustRegister(s.fleet.collector(t, s.links))
	edge.MustRegister(s.outbox(t), s.nodeCertificate(t), s.clonedNode(t))
	mapper.MustRegister(s.devices(t))
	s.serving = &switchboard{Handler: promhttp.HandlerFor(cloud, promhttp.HandlerOpts{})}
	s.cloud, s.node, s.mapper = serve(t, s.serving), serve(t, promhttp.HandlerFor(edge, promhttp.HandlerOpts{})), serve(t, promhttp.HandlerFor(mapper, promhttp.HandlerOpts{}))
	return s
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	return serveTLS(t, nil, h)
}

func serveTLS(t *testing.T, config *tls.Config, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h, TLSConfig: config, ReadHeaderTimeout: 5 * time.Second}
	var ends sync.WaitGroup
	ends.Go(func() { // until Close
		if config != nil {
			_ = server.ServeTLS(l, "", "")
			return
		}
		_ = server.Serve(l)
	})
	t.Cleanup(func() { server.Close(); ends.Wait() })
	return l.Addr().String()
}

// running runs a part until the test ends or the returned function is called.
func running(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // until the cleanup
	var ends sync.WaitGroup
	ends.Go(func() {
		if err := run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = func() { cancel(); ends.Wait() }
	t.Cleanup(stop)
	return stop
}

// slowLink is a server with a node that takes objects and does not acknowledge them until release.
func (s *stage) slowLink(t *testing.T) prometheus.Collector {
	t.Helper()
	network, sink := memconn.New(memconn.Config{}), &hubtest.Sink{}
	released := make(chan struct{})
	s.release = sync.OnceFunc(func() { close(released) })
	t.Cleanup(s.release)
	sink.FailApply(func([]hub.Object) error { <-released; return nil })
	s.slow = &hubtest.Directory{}
	server, err := hub.NewServer(hub.ServerConfig{Listener: network, Directory: s.slow})
	if err != nil {
		t.Fatal(err)
	}
	client, err := hub.NewClient(hub.ClientConfig{Dialer: network.Dialer("slow"), Node: "slow", Down: sink})
	if err != nil {
		t.Fatal(err)
	}
	s.links = server
	running(t, server.Run)
	running(t, client.Run)
	t.Cleanup(s.release) // before the two are stopped
	collector, err := hubmetrics.New(hubmetrics.Config{Stats: server.Stats})
	if err != nil {
		t.Fatal(err)
	}
	return collector
}

// clonedNode is a node with one identity of which a second machine can be had.
func (s *stage) clonedNode(t *testing.T) prometheus.Collector {
	t.Helper()
	network := memconn.New(memconn.Config{})
	server, err := hub.NewServer(hub.ServerConfig{Listener: network, Directory: &hubtest.Directory{}})
	if err != nil {
		t.Fatal(err)
	}
	running(t, server.Run)
	machine := func() (*hub.Client, func()) {
		client, err := hub.NewClient(hub.ClientConfig{Dialer: network.Dialer("cloned"), Node: "cloned"})
		if err != nil {
			t.Fatal(err)
		}
		stop := running(t, client.Run)
		<-client.Ready()
		return client, stop
	}
	var current atomic.Pointer[hub.Client]
	client, stop := machine()
	current.Store(client)
	var stopClone func()
	s.clone = func() { _, stopClone = machine() }
	s.removeClone = func() { // and restarts the first
		stopClone()
		stop()
		client, _ := machine()
		current.Store(client)
	}
	collector, err := hubmetrics.New(hubmetrics.Config{Stats: func() hub.Stats { return current.Load().Stats() }})
	if err != nil {
		t.Fatal(err)
	}
	return collector
}

// fill gives the slow node more objects than the alert allows.
func (s *stage) fill() {
	down := s.slow.Down("slow")
	for i := range 10_100 {
		down.Put(hub.Key{Resource: "configmaps", Namespace: "default", Name: strconv.Itoa(i)}, 1, "x")
	}
}

// certificates are those of a cloud.
func (s *stage) certificates(t *testing.T) prometheus.Collector {
	t.Helper()
	s.authority = jointest.NewCloud(t)
	guard, err := join.NewGuard(join.GuardConfig{Directory: &hubtest.Directory{}, Disconnect: func(string, *hub.Error) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	collector, err := joinmetrics.NewCloud(joinmetrics.Cloud{Handler: s.authority.Handler(), Keyring: s.authority.Keyring, Guard: guard})
	if err != nil {
		t.Fatal(err)
	}
	return collector
}

// useAuthority replaces the cloud's authority by one that was made so long ago.
func (s *stage) useAuthority(t *testing.T, ago time.Duration) {
	t.Helper()
	ca, err := join.NewCA("stage", time.Now().Add(-ago))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.authority.Keyring.Update(join.Authorities{Issuer: ca}); err != nil {
		t.Fatal(err)
	}
}

// outbox is that of a node which has no link until connect.
func (s *stage) outbox(t *testing.T) prometheus.Collector {
	t.Helper()
	store := memstore.New()
	t.Cleanup(func() { store.Close() })
	var err error
	if s.manager, err = manager.New(manager.Config{Store: store, Node: "stage"}); err != nil {
		t.Fatal(err)
	}
	running(t, s.manager.Run)
	network := memconn.New(memconn.Config{})
	server, err := hub.NewServer(hub.ServerConfig{Listener: network, Directory: &hubtest.Directory{}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := hub.NewClient(hub.ClientConfig{Dialer: network.Dialer("stage"), Node: "stage", Outbox: s.manager.EventOutbox()})
	if err != nil {
		t.Fatal(err)
	}
	s.connect = func() {
		running(t, server.Run)
		running(t, client.Run)
	}
	return storemetrics.NewManager(s.manager)
}

// nodeCertificate is that of a node; it ends in an hour, and one that renew asks for in 90 days.
func (s *stage) nodeCertificate(t *testing.T) prometheus.Collector {
	t.Helper()
	cloud := jointest.NewCloud(t)
	short, long := cloud.Handler(func(c *join.HandlerConfig) { c.Life = time.Hour }), cloud.Handler()
	var mended atomic.Bool
	address := serveTLS(t, cloud.ServerTLS(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if mended.Load() {
			long.ServeHTTP(w, r)
			return
		}
		short.ServeHTTP(w, r)
	}))
	credentials, err := join.Join(t.Context(), join.Request{URL: "https://" + address, Token: cloud.Token("stage").String(), Node: "stage"})
	if err != nil {
		t.Fatal(err)
	}
	identity, err := join.NewIdentity(join.IdentityConfig{Credentials: credentials, URL: "https://" + address})
	if err != nil {
		t.Fatal(err)
	}
	s.renew = func() error {
		mended.Store(true)
		return identity.Renew(t.Context())
	}
	collector, err := joinmetrics.NewNode(identity)
	if err != nil {
		t.Fatal(err)
	}
	return collector
}

// devices are those of a mapper with a driver in memory.
func (s *stage) devices(t *testing.T) prometheus.Collector {
	t.Helper()
	dev := new(devicetest.Device)
	dev.Set("level", "7")
	link := devicetest.NewLink(device.Instance{
		ID: "a/tank", Spec: schema.DeviceSpec{Protocol: schema.Protocol{Name: "memory"}, Properties: []schema.Property{{Name: "level"}, {Name: "missing"}}},
	})
	m, err := device.New(device.Config{Protocol: "memory", New: func() device.Driver { return dev }, Link: link})
	if err != nil {
		t.Fatal(err)
	}
	running(t, m.Run)
	collector, err := devicemetrics.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return collector
}
