package controller_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/controller"
	"github.com/edgekit/edgekit/controller/console"
	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/devices"
	"github.com/edgekit/edgekit/controller/edge"
	"github.com/edgekit/edgekit/controller/groups"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/delivery"
	"github.com/edgekit/edgekit/controller/internal/members"
	"github.com/edgekit/edgekit/controller/jobs"
	"github.com/edgekit/edgekit/controller/kubeletproxy"
	"github.com/edgekit/edgekit/controller/nodeapi"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/controller/pipelines"
	"github.com/edgekit/edgekit/controller/rules"
	"github.com/edgekit/edgekit/controller/sites"
	"github.com/edgekit/edgekit/controller/twins"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// runners makes one of each type that has Run. Those that need a running store
// of nodes get it beside them.
func runners(t *testing.T) map[string]func(context.Context) error {
	kube := controllertest.NewClientset()
	all := make(map[string]func(context.Context) error)
	add := func(name string, run func(context.Context) error, err error) {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[name] = run
	}
	store := func() *cache.Store[*corev1.Node] {
		nodes, err := edge.NewNodeStore(kube, nil)
		if err != nil {
			t.Fatal(err)
		}
		return nodes
	}
	open := func(context.Context, string, hub.Message) (hub.Stream, error) { return nil, hub.ErrOffline }

	nodes := store()
	add("cache.Store", nodes.Run, nil)
	e, err := edge.New(edge.Config{Cloud: kube, NodeClient: kube, Nodes: store()})
	add("edge.Controller", e.Run, err)
	d, err := devices.New(devices.Config{Cloud: kube, Dynamic: noDevices()})
	add("devices.Controller", d.Run, err)
	l, err := nodelifecycle.New(nodelifecycle.Config{Cloud: kube, NodeClient: kube, Nodes: store(), ID: "x"})
	add("nodelifecycle.Controller", func(ctx context.Context) error { return l.Run(ctx, nil) }, err)
	m, err := members.New(members.Config{Leases: kube.CoordinationV1().Leases("x"), ID: "x"})
	add("members.Members", m.Run, err)
	a, err := nodeapi.New(nodeapi.Config{Cloud: kube, NodeClient: kube, Accounts: e, Namespace: "x"})
	add("nodeapi.Controller", a.Run, err)
	p, err := kubeletproxy.New(kubeletproxy.Config{Cloud: kube, NodeClient: kube, Address: netip.MustParseAddr("127.0.0.1")})
	add("kubeletproxy.Server", func(ctx context.Context) error { return p.Run(ctx, open) }, err)
	clients, err := kubeletproxy.NewClients(kubeletproxy.ClientsConfig{Cloud: kube})
	add("kubeletproxy.Clients", clients.Run, err)
	r, err := rules.New(rules.Config{Cloud: kube, Dynamic: noDevices()})
	add("rules.Controller", func(ctx context.Context) error { return r.Run(ctx, open) }, err)
	fleet, err := jobs.New(jobs.Config{Cloud: kube, Dynamic: noDevices(), Nodes: store(), ID: "x", Namespace: "x"})
	add("jobs.Controller", fleet.Run, err)
	g, err := groups.New(groups.Config{Cloud: kube, Dynamic: noDevices(), Nodes: store(), ID: "x", Namespace: "x"})
	add("groups.Controller", g.Run, err)
	syncs, err := sites.New(sites.Config{Cloud: kube, Dynamic: noDevices(), Nodes: store()})
	add("sites.Controller", syncs.Run, err)
	flows, err := pipelines.New(pipelines.Config{Cloud: kube, Dynamic: noDevices(), Nodes: store(), ID: "x"})
	add("pipelines.Controller", flows.Run, err)
	queues, err := delivery.New(delivery.Config{Resources: []string{"x"}, Try: func(context.Context, string, hub.Event, time.Time) error { return nil }})
	add("delivery.Queues", queues.Run, err)
	ids, err := nodeidentity.New(nodeidentity.Config{Client: kube})
	if err != nil {
		t.Fatal(err)
	}
	w, err := ids.Watch(nodeidentity.WatchConfig{})
	add("nodeidentity.Watcher", func(ctx context.Context) error { return w.Run(ctx, nodeidentity.Changes{}) }, err)
	live, err := twins.NewStore(twins.StoreConfig{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := twins.New(twins.Config{Store: live, Cloud: kube, Certificate: func() (*tls.Certificate, error) { return nil, errors.New("none") }})
	add("twins.Server", func(ctx context.Context) error { return s.Run(ctx, &silentListener{closed: make(chan struct{})}) }, err)
	registration, err := twins.NewRegistration(twins.RegistrationConfig{
		Dynamic: noDevices(), Namespace: "x", Address: netip.MustParseAddrPort("10.0.0.1:443"), Authority: func() []byte { return []byte("pem") },
	})
	add("twins.Registration", registration.Run, err)
	page, err := console.New(console.Config{
		REST: &rest.Config{Host: "https://10.96.0.1"}, Cloud: kube, Nodes: store(), Pods: e, Devices: d,
		Listener: &silentListener{closed: make(chan struct{})}, Certificate: func() (*tls.Certificate, error) { return nil, errors.New("none") },
	})
	add("console.Server", func(ctx context.Context) error { return page.Run(ctx, nil) }, err)
	c, err := controller.New(controller.Config{Cloud: kube, NodeClient: kube, Dynamic: noDevices(), ID: "x", Jobs: &jobs.Config{}, Groups: &groups.Config{}, Sites: &sites.Config{}})
	add("controller.Controller", func(ctx context.Context) error { return c.Run(ctx, nil) }, err)
	return all
}

// silentListener accepts nothing until it is closed.
type silentListener struct {
	once   sync.Once
	closed chan struct{}
}

func (l *silentListener) Accept() (net.Conn, error) {
	<-l.closed
	return nil, net.ErrClosed
}

func (l *silentListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *silentListener) Addr() net.Addr { return &net.TCPAddr{} }

// TestRunOnce checks each type with Run: cancel returns nil, a second Run returns
// ErrStarted, while the first runs and after it, and all goroutines have ended, which the
// bubble checks.
func TestRunOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, run := range runners(t) {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- run(ctx) }()
			synctest.Wait()
			if err := run(ctx); !errors.Is(err, controller.ErrStarted) {
				t.Errorf("%s: a second Run while the first runs: %v", name, err)
			}
			cancel()
			if err := <-done; err != nil {
				t.Errorf("%s: cancel: %v", name, err)
			}
			if err := run(t.Context()); !errors.Is(err, controller.ErrStarted) {
				t.Errorf("%s: a second Run after the first: %v", name, err)
			}
			hubtest.RunEnds(t, 20*time.Millisecond, func() (func(context.Context) error, error) { return runners(t)[name], nil })
		}
	})
}

// TestNewLeavesConfigAlone checks that New does not change the caller's configuration of
// the kubelet endpoints.
func TestNewLeavesConfigAlone(t *testing.T) {
	kube := controllertest.NewClientset()
	proxy := kubeletproxy.Config{Address: netip.MustParseAddr("127.0.0.1")}
	_, err := controller.New(controller.Config{Cloud: kube, NodeClient: kube, Dynamic: noDevices(), ID: "x", Kubelet: &proxy})
	if err != nil || proxy.Cloud != nil || proxy.NodeClient != nil || proxy.Nodes != nil || proxy.Ports != 0 {
		t.Errorf("%v; the caller's configuration is now %+v", err, proxy)
	}
}
