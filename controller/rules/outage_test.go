package rules_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/bus"
	edgerules "github.com/edgekit/edgekit/bus/rules"
	v1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/controller/rules"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/memconn"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

// pipeSite is an HTTP service that is reached without a network, so that its time can be virtual.
type pipeSite struct {
	conns chan net.Conn
	done  chan struct{}

	mu     sync.Mutex
	status int
	bodies []string // of the requests that it has taken
	tries  int
}

func newPipeSite(t *testing.T) *pipeSite {
	t.Helper()
	s := &pipeSite{conns: make(chan net.Conn), done: make(chan struct{}), status: http.StatusOK}
	server := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	var work sync.WaitGroup
	work.Go(func() { _ = server.Serve(s) }) // until Close
	t.Cleanup(func() {
		server.Close()
		work.Wait()
	})
	return s
}

func (s *pipeSite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries++
	if s.status == http.StatusOK {
		s.bodies = append(s.bodies, string(body))
	}
	w.WriteHeader(s.status)
}

func (s *pipeSite) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case s.conns <- there:
		return here, nil
	case <-s.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept, Close and Addr are those of a net.Listener.
func (s *pipeSite) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

func (s *pipeSite) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
	default:
		close(s.done)
	}
	return nil
}

func (*pipeSite) Addr() net.Addr { return &net.UnixAddr{Name: "site"} }

func (s *pipeSite) set(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

func (s *pipeSite) taken() (bodies []string, tries int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.bodies), s.tries
}

// directBus passes a test's messages to the subscriptions of a node.
type directBus struct {
	mu       sync.Mutex
	handlers map[string]bus.Handler
}

func (*directBus) Publish(context.Context, bus.Message) error { return nil }

func (b *directBus) Subscribe(filter string, h bus.Handler) (func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.handlers[filter] = h
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.handlers, filter)
	}, nil
}

func (b *directBus) send(t *testing.T, topic, payload string) {
	t.Helper()
	b.mu.Lock()
	h := b.handlers[topic]
	b.mu.Unlock()
	if h == nil {
		t.Fatalf("the node does not subscribe to %s", topic)
	}
	h(t.Context(), bus.Message{Topic: topic, Payload: []byte(payload), QoS: bus.AtLeastOnce})
}

// outage is a cloudcore and a node in virtual time. Both can be ended and started again.
type outage struct {
	cluster *cluster
	site    *pipeSite
	store   meta.Store
	net     *memconn.Network
	bus     *directBus
	rules   *edgerules.Rules

	stopCloud, stopNode func()
}

func newOutage(t *testing.T, ttl time.Duration) *outage {
	t.Helper()
	o := &outage{cluster: newCluster(t), site: newPipeSite(t), store: memstore.New()}
	t.Cleanup(func() { o.store.Close() })
	o.cluster.put(t, "ruleendpoints", endpoint("mqtt", v1.EventBus, nil))
	o.cluster.put(t, "ruleendpoints", endpoint("erp", v1.Rest, nil))
	r := newRule("up", "mqtt", map[string]v1.Setting{"topic": "n", "node_name": "edge-7"}, "erp", map[string]v1.Setting{"resource": "http://erp.example/in"})
	r.Spec.TTL = &metav1.Duration{Duration: ttl}
	o.cluster.put(t, "rules", r)
	o.startCloud(t)
	o.startNode(t)
	return o
}

// startCloud starts a cloudcore, which remembers nothing of an earlier one.
func (o *outage) startCloud(t *testing.T) {
	t.Helper()
	ctl, err := rules.New(rules.Config{Cloud: o.cluster.kube, Dynamic: o.cluster.dyn, StatusEvery: time.Second, Logger: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctl.DialTargets(o.site.dial)
	network := memconn.New(memconn.Config{})
	o.net = network
	server, err := hub.NewServer(hub.ServerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	directory := hub.DirectoryFunc(func(_ context.Context, h hub.Hello) (hub.Node, error) {
		return hub.Node{Down: ctl.Source(h.Node), Inbox: ctl.Inbox(h.Node, nil), Outbox: ctl.Outbox(h.Node)}, nil
	})
	stopRules := during(t, func(ctx context.Context) error { return ctl.Run(ctx, server.OpenStream) })
	stopServer := during(t, func(ctx context.Context) error {
		defer network.Close()
		return server.Serve(ctx, network, directory)
	})
	o.stopCloud = func() { stopServer(); stopRules() }
	for _, synced := range ctl.Synced() {
		<-synced
	}
}

// startNode starts the node on its store.
func (o *outage) startNode(t *testing.T) {
	t.Helper()
	link, err := hub.NewClient(hub.ClientConfig{Dialer: o.net.Dialer("edge-7"), Node: "edge-7"})
	if err != nil {
		t.Fatal(err)
	}
	mgr, err := manager.New(manager.Config{Store: o.store, Node: "edge-7", Caller: link})
	if err != nil {
		t.Fatal(err)
	}
	o.bus = &directBus{handlers: make(map[string]bus.Handler)}
	o.rules, err = edgerules.New(edgerules.Config{Store: o.store, Bus: o.bus, Node: "edge-7", Open: link.OpenStream, MaxEvents: 200, Logger: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	ends := hub.Endpoints{Down: mgr.Down(), Up: mgr.StateOutbox(), Outbox: manager.Outboxes(mgr.EventOutbox(), o.rules.Outbox()), Inbox: o.rules.Inbox()}
	stopManager, stopRules := during(t, mgr.Run), during(t, o.rules.Run)
	stopLink := during(t, func(ctx context.Context) error { return link.Serve(ctx, ends) })
	o.stopNode = func() { stopLink(); stopRules(); stopManager() }
	pass(10 * time.Second)
}

// pass lets time pass.
func pass(d time.Duration) {
	time.Sleep(d) // in a bubble
	synctest.Wait()
}

// TestLinkOutage: the link is cut for an hour, and the node is started again in it. Each message within
// the bound of the node's queue arrives once, in order; beyond it the oldest are dropped and counted.
func TestLinkOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t, time.Hour)
		o.bus.send(t, "plant/n", "before")
		pass(time.Minute)
		o.net.Refuse(true)
		o.net.Cut("edge-7")
		want := []string{"before"}
		const count, over = 240, 40
		for i := range count {
			if i == count/2 {
				o.stopNode()
				o.startNode(t)
			}
			o.bus.send(t, "plant/n", fmt.Sprint(i))
			pass(time.Hour / count)
			if i >= over {
				want = append(want, fmt.Sprint(i))
			}
		}
		if s := o.rules.Stats(); s.Waiting != count-over || s.Dropped != over {
			t.Errorf("after the hour %d messages wait and %d were dropped", s.Waiting, s.Dropped)
		}
		if got, _ := o.site.taken(); len(got) != 1 {
			t.Errorf("in the outage arrived %v", got)
		}
		o.net.Refuse(false)
		pass(10 * time.Minute)
		got, tries := o.site.taken()
		if !slices.Equal(got, want) || tries != len(want) {
			t.Errorf("%d messages arrived in %d tries, want %d: %v", len(got), tries, len(want), got)
		}
		if s := o.rules.Stats(); s.Waiting != 0 {
			t.Errorf("%d messages still wait", s.Waiting)
		}
		if st := o.cluster.rule(t, "up").Status; st.SuccessMessages != int64(len(want)) || st.DeadLetterMessages != 0 {
			t.Errorf("status %+v", st)
		}
		o.stopNode()
		o.stopCloud()
	})
}

// TestTargetOutage: the URL of a rule takes nothing for an hour, and cloudcore and the node are started
// again in it. A message that is not taken within the rule's ttl is a dead letter that says why; each other
// one arrives once, in order.
func TestTargetOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t, 15*time.Minute)
		o.site.set(http.StatusServiceUnavailable)
		const count = 60
		var all []string
		for i := range count {
			if i == count/2 {
				o.stopNode()
				o.stopCloud()
				o.startCloud(t)
				o.startNode(t)
			}
			all = append(all, fmt.Sprint(i))
			o.bus.send(t, "plant/n", all[i])
			pass(time.Hour / count)
		}
		_, tries := o.site.taken()
		o.site.set(http.StatusOK)
		pass(5 * time.Minute)
		got, _ := o.site.taken()
		st := o.cluster.rule(t, "up").Status
		dead := int(st.DeadLetterMessages)
		// Each has its own ttl from its first try: three or four in an hour, one less for the restart.
		if dead < 2 || dead > 4 || len(st.DeadLetters) != dead || !slices.Equal(got, all[dead:]) {
			t.Errorf("%d messages are dead letters, and these arrived: %v", dead, got)
		}
		for _, d := range st.DeadLetters {
			if d.Node != "edge-7" || d.Topic != "plant/n" || !strings.Contains(d.Reason, "503") {
				t.Errorf("dead letter %+v", d)
			}
		}
		if st.SuccessMessages != int64(count-dead) || tries > 200 || o.rules.Stats().Waiting != 0 {
			t.Errorf("status %+v after %d tries in the outage, %d messages wait", st, tries, o.rules.Stats().Waiting)
		}
		o.stopNode()
		o.stopCloud()
	})
}
