package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/cmd/internal/kube"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/install/apiservertest"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/wsconn"
)

// replica is one cloudcore as main runs it, but for its listener.
type replica struct {
	address string
	server  *server
	stop    context.CancelFunc // what SIGTERM does
	ended   chan error
}

// startReplica starts a cloudcore with the flags' defaults and returns when it is ready.
func startReplica(t *testing.T, kubeconfig string, more ...string) *replica {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	out := &replica{stop: stop, ended: make(chan error, 1)}
	ready := make(chan struct{})
	c := &cli{}
	p := program.Program{Name: "cloudcore", CLI: c, ConfigFile: filepath.Join(t.TempDir(), "none.yaml"), Command: func(command any) program.Runner {
		r, ok := command.(*runCmd)
		if !ok {
			return nil
		}
		return func(ctx context.Context, _ program.Output) error {
			cfg, err := kube.Config(r.Kubeconfig)
			if err != nil {
				return err
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			defer l.Close()
			if out.server, err = r.assemble(ctx, cfg, l, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))); err != nil {
				return err
			}
			out.address = l.Addr().String()
			close(ready)
			return out.server.run(ctx)
		}
	}}
	args := append([]string{"--kubeconfig", kubeconfig, "--metrics-listen=", "--kubelet-off", "--rules-off", "--no-quic", "--advertise", "127.0.0.1:10000"}, more...)
	go func() {
		code := p.Run(ctx, args)
		if code != 0 {
			out.ended <- fmt.Errorf("exit %d", code)
		}
		close(out.ended)
	}()
	t.Cleanup(func() { stop(); <-out.ended })
	select {
	case <-ready:
	case err := <-out.ended:
		t.Fatal(err)
	}
	<-out.server.controller.Ready()
	return out
}

// edge is a node that reports its state again and again.
type edge struct {
	hubtest.AckedSource
	name   string
	client *hub.Client
	acked  atomic.Int64 // the newest report that the cloud has acknowledged
	next   chan struct{}
}

// Acked notes how far the cloud is.
func (e *edge) Acked(ctx context.Context, objects []hub.Object) error {
	for _, o := range objects {
		n, err := strconv.ParseInt(o.Version, 10, 64)
		if err != nil {
			return err
		}
		if n > e.acked.Load() {
			e.acked.Store(n)
		}
	}
	err := e.AckedSource.Acked(ctx, objects)
	select {
	case e.next <- struct{}{}:
	default:
	}
	return err
}

// report reports until ctx ends: each report follows the acknowledgement of the one before.
func (e *edge) report(ctx context.Context) error {
	for n := 1; ; n++ {
		node := &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: e.name},
			Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: strconv.Itoa(n)}}},
		}
		body, err := json.Marshal(node)
		if err != nil {
			return err
		}
		e.Put(hub.Key{Resource: "nodes", Name: e.name}, n, string(body))
		for e.acked.Load() < int64(n) {
			select {
			case <-e.next:
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// anyOf is a Dialer that takes one of several, and another if that does not answer.
type anyOf struct {
	mu      sync.Mutex
	dialers []hub.Dialer
}

func (a *anyOf) add(d hub.Dialer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dialers = append(a.dialers, d)
}

// Dial opens a connection.
func (a *anyOf) Dial(ctx context.Context) (hub.Conn, error) {
	a.mu.Lock()
	all := slices.Clone(a.dialers)
	a.mu.Unlock()
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	var last error
	for _, d := range all {
		conn, err := d.Dial(ctx)
		if err == nil {
			return conn, nil
		}
		last = err
	}
	return nil, last
}

// world is a cluster whose nodes find each cloudcore.
type world struct {
	kubeconfig string
	client     kubernetes.Interface
	edges      []*edge
	dialers    []*anyOf
	identities []*join.Identity
}

func newWorld(t *testing.T, nodes int) *world {
	t.Helper()
	api := apiservertest.Start(t)
	if err := install.Ensure(t.Context(), install.Config{REST: api.Admin}); err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(api.Admin)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{client: client, kubeconfig: api.Kubeconfig(t)}
	for i := range nodes {
		w.edges = append(w.edges, &edge{name: fmt.Sprintf("edge-%d", i), next: make(chan struct{}, 1)})
		w.dialers = append(w.dialers, &anyOf{})
	}
	return w
}

// join has all nodes join at a cloudcore.
func (w *world) join(ctx context.Context, t *testing.T, at *replica) {
	t.Helper()
	store, err := nodeidentity.New(nodeidentity.Config{Client: w.client})
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range w.edges {
		token, err := store.CreateToken(ctx, e.name, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		credentials, err := join.Join(ctx, join.Request{URL: "https://" + at.address, Token: token.String(), Node: e.name})
		if err != nil {
			t.Fatal(err)
		}
		identity, err := join.NewIdentity(join.IdentityConfig{Credentials: credentials, URL: "https://" + at.address})
		if err != nil {
			t.Fatal(err)
		}
		w.identities = append(w.identities, identity)
		e.client, err = hub.NewClient(hub.ClientConfig{
			Dialer: w.dialers[i], Node: e.name, Down: &hubtest.Sink{}, Up: e, Backoff: hub.Backoff{Min: 10 * time.Millisecond, Max: time.Second},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// add makes a cloudcore one of those that the nodes find.
func (w *world) add(t *testing.T, r *replica) {
	t.Helper()
	for i, identity := range w.identities {
		d, err := wsconn.NewDialer(wsconn.DialerConfig{URL: "https://" + r.address, TLS: identity.TLS()})
		if err != nil {
			t.Fatal(err)
		}
		w.dialers[i].add(d)
	}
}

// ahead reports whether each node is n reports further than it was.
func (w *world) ahead(was []int64, n int64) bool {
	for i, e := range w.edges {
		if e.acked.Load() < was[i]+n {
			return false
		}
	}
	return true
}

func (w *world) acked() []int64 {
	var out []int64
	for _, e := range w.edges {
		out = append(out, e.acked.Load())
	}
	return out
}

// disconnections counts the times that a Node said that its link is down, until ctx ends.
func (w *world) disconnections(ctx context.Context, count *atomic.Int64) error {
	watch, err := w.client.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer watch.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, ok := <-watch.ResultChan():
			if !ok {
				return nil
			}
			if node, ok := event.Object.(*corev1.Node); ok {
				for _, c := range node.Status.Conditions {
					if c.Type == "EdgeConnected" && c.Status == corev1.ConditionFalse {
						count.Add(1)
					}
				}
			}
		}
	}
}

// TestHandover replaces a cloudcore by another, as a rolling upgrade does, while its nodes
// report all the time. All nodes move, no Node says that its link is down, and what was
// acknowledged is in the API server.
func TestHandover(t *testing.T) {
	w := newWorld(t, 12)
	first := startReplica(t, w.kubeconfig, "--drain=2s")
	w.join(t.Context(), t, first)
	w.add(t, first)
	ctx, stop := context.WithCancel(t.Context())
	group, ctx := errgroup.WithContext(ctx)
	defer func() {
		stop()
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	}()
	for _, e := range w.edges {
		group.Go(func() error { return e.client.Run(ctx) })
		group.Go(func() error { return e.report(ctx) })
	}
	none := make([]int64, len(w.edges))
	hubtest.Until(t, "the nodes report", func() bool { return w.ahead(none, 3) })
	var down atomic.Int64
	group.Go(func() error { return w.disconnections(ctx, &down) })

	for range 3 {
		second := startReplica(t, w.kubeconfig, "--drain=2s")
		w.add(t, second)
		before := w.acked()
		first.stop()
		if err := <-first.ended; err != nil {
			t.Fatal(err)
		}
		after := w.acked()
		hubtest.Until(t, "the nodes report to the other cloudcore", func() bool { return w.ahead(after, 3) })
		if n := len(second.server.hub.Nodes()); n != len(w.edges) {
			t.Errorf("%d nodes moved, want %d", n, len(w.edges))
		}
		var meanwhile int64
		for i := range after {
			meanwhile += after[i] - before[i]
		}
		t.Logf("%d reports were acknowledged while the cloudcore stopped", meanwhile)
		first = second
	}
	acked := w.acked()
	for i, e := range w.edges {
		node, err := w.client.CoreV1().Nodes().Get(t.Context(), e.name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var have int64
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady {
				have, err = strconv.ParseInt(strings.TrimSpace(c.Message), 10, 64)
			}
		}
		if err != nil || have < acked[i] {
			t.Errorf("%s: the API server has report %d, %v; %d was acknowledged", e.name, have, err, acked[i])
		}
	}
	if n := down.Load(); n > 0 {
		t.Errorf("%d times a Node said that its link is down", n)
	}
}
