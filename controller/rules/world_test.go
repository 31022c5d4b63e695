package rules_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	edgerules "github.com/edgekit/edgekit/bus/rules"
	v1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/controller/rules"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

// cloud is one cloudcore's half of rules with its links.
type cloud struct {
	*rules.Controller
	net    *memconn.Network
	url    string // of the entry
	server *hub.Server
}

// node is one node's half of rules with its broker.
type node struct {
	*edgerules.Rules
	name   string
	bus    *bus.Bus
	broker *broker.Broker
	store  meta.Store
	link   *hub.Client
	stop   func() // ends everything but the store, and waits
}

// during runs f until the test ends, or the returned function is called, and waits for it.
func during(t *testing.T, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// eventually waits until check returns nil.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	var last error
	defer func() {
		if last != nil {
			t.Error(last)
		}
	}()
	hubtest.Until(t, "see the error of the check", func() bool {
		last = check()
		return last == nil
	})
}

func newCloud(t *testing.T, c *cluster, change func(*rules.Config)) *cloud {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := rules.Config{
		Cloud: c.kube, Dynamic: c.dyn, LocalTargets: true, StatusEvery: time.Millisecond, Retry: 20 * time.Millisecond,
		Entry: &rules.EntryConfig{Listener: listener, Plain: true}, Logger: testLog(t),
	}
	if change != nil {
		change(&cfg)
	}
	ctl, err := rules.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	out := &cloud{Controller: ctl, net: memconn.New(memconn.Config{}), url: "http://" + listener.Addr().String()}
	var mux hub.Mux
	ctl.Handle(&mux)
	out.server, err = hub.NewServer(hub.ServerConfig{Mux: &mux})
	if err != nil {
		t.Fatal(err)
	}
	during(t, func(ctx context.Context) error { return ctl.Run(ctx, out.server.OpenStream) })
	during(t, func(ctx context.Context) error {
		defer out.net.Close()
		return out.server.Serve(ctx, out.net, hub.DirectoryFunc(func(_ context.Context, h hub.Hello) (hub.Node, error) {
			return hub.Node{Down: ctl.Source(h.Node), Inbox: ctl.Inbox(h.Node, nil), Outbox: ctl.Outbox(h.Node)}, nil
		}))
	})
	for _, synced := range ctl.Synced() {
		<-synced
	}
	return out
}

func testLog(t *testing.T) *slog.Logger {
	if os.Getenv("LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(t.Output(), nil)).With("test", t.Name())
}

// newNode starts a node on a store; nil makes one.
func newNode(t *testing.T, c *cloud, name string, store meta.Store, change func(*edgerules.Config)) *node {
	t.Helper()
	if store == nil {
		store = memstore.New()
		t.Cleanup(func() { store.Close() })
	}
	n := &node{name: name, store: store}
	var err error
	if n.broker, err = broker.New(broker.Config{Address: "tcp://127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
	if n.bus, err = bus.New(bus.Config{Internal: n.broker}); err != nil {
		t.Fatal(err)
	}
	n.link, err = hub.NewClient(hub.ClientConfig{Dialer: c.net.Dialer(name), Node: name, Backoff: hub.Backoff{Min: 5 * time.Millisecond, Max: 50 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	mgr, err := manager.New(manager.Config{Store: store, Node: name, Caller: n.link})
	if err != nil {
		t.Fatal(err)
	}
	cfg := edgerules.Config{Store: store, Bus: n.bus, Node: name, Open: n.link.OpenStream, Listen: "127.0.0.1:0", Logger: testLog(t)}
	if change != nil {
		change(&cfg)
	}
	if n.Rules, err = edgerules.New(cfg); err != nil {
		t.Fatal(err)
	}
	var mux hub.Mux
	n.Handle(&mux)
	ends := hub.Endpoints{Down: mgr.Down(), Up: mgr.StateOutbox(), Outbox: manager.Outboxes(mgr.EventOutbox(), n.Outbox()), Inbox: n.Inbox(), Mux: &mux}
	var stops []func()
	for _, run := range []func(context.Context) error{
		mgr.Run, n.bus.Run, n.Run, func(ctx context.Context) error { return n.link.Serve(ctx, ends) },
	} {
		stops = append(stops, during(t, run))
	}
	n.stop = func() {
		for i := len(stops) - 1; i >= 0; i-- {
			stops[i]()
		}
	}
	<-n.bus.Ready()
	return n
}

// connected waits until the node has a session.
func (n *node) connected(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		if !n.link.Info().Connected {
			return errors.New("the node does not connect")
		}
		return nil
	})
}

// holds waits until the node has put as many rules into force.
func (n *node) holds(t *testing.T, rules int) {
	t.Helper()
	eventually(t, func() error {
		if got := n.Stats().Rules; got != rules {
			return fmt.Errorf("the node has %d rules, want %d", got, rules)
		}
		return nil
	})
}

// answer is the answer to a request.
type answer struct {
	status int
	header http.Header
	body   string
}

// call sends a request, with curl where that is installed: what KubeEdge documents is curl.
func call(t *testing.T, method, url, body string, header ...string) answer {
	t.Helper()
	if path, err := exec.LookPath("curl"); err == nil {
		return curl(t, path, method, url, body, header...)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

func curl(t *testing.T, path, method, url, body string, header ...string) answer {
	t.Helper()
	dir := t.TempDir()
	in, out, head := filepath.Join(dir, "in"), filepath.Join(dir, "out"), filepath.Join(dir, "head")
	if err := os.WriteFile(in, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-sS", "-X", method, "-o", out, "-D", head, "-w", "%{http_code}", "-H", "Expect:"}
	if body != "" {
		args = append(args, "--data-binary", "@"+in)
	}
	for _, h := range header {
		args = append(args, "-H", h)
	}
	code, err := exec.CommandContext(t.Context(), path, append(args, url)...).CombinedOutput()
	if err != nil {
		t.Fatalf("curl: %v: %s", err, code)
	}
	status, err := strconv.Atoi(string(code))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(out)
	lines, _ := os.ReadFile(head)
	got := answer{status: status, header: make(http.Header), body: string(text)}
	for line := range strings.SplitSeq(string(lines), "\r\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			got.header.Add(name, value)
		}
	}
	return got
}

func bearer(token string) string { return "Authorization: Bearer " + token }

// site is an HTTP service that records its requests.
type site struct {
	*httptest.Server

	mu     sync.Mutex
	got    []seen
	status int
	handle http.HandlerFunc
}

// seen is one request.
type seen struct {
	method, uri, body string
	header            http.Header
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{status: http.StatusOK}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.got = append(s.got, seen{r.Method, r.RequestURI, string(body), r.Header.Clone()})
		status, handle := s.status, s.handle
		s.mu.Unlock()
		if handle != nil {
			handle(w, r)
			return
		}
		w.Header().Set("X-From", "site")
		w.WriteHeader(status)
		_, _ = io.Copy(w, bytes.NewReader(fmt.Appendf(nil, "answer %d", status)))
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *site) set(status int, handle http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.handle = status, handle
}

func (s *site) requests() []seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]seen(nil), s.got...)
}

func (s *site) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = nil
}

func (s *site) port() v1.Setting {
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	return v1.Setting(port)
}

// bodies returns the bodies of the requests in order.
func (s *site) bodies() (out []string) {
	for _, r := range s.requests() {
		out = append(out, r.body)
	}
	return out
}

// closedPort is a port of this machine that nothing listens on.
func closedPort(t *testing.T) v1.Setting {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return v1.Setting(port)
}

// mqttPublish publishes, with mosquitto_pub where that is installed.
func (n *node) mqttPublish(t *testing.T, topic, payload string) {
	t.Helper()
	if path, err := exec.LookPath("mosquitto_pub"); err == nil {
		_, port, _ := net.SplitHostPort(n.broker.Addr().String())
		cmd := exec.CommandContext(t.Context(), path, "-h", "127.0.0.1", "-p", port, "-q", "1", "-t", topic, "-s")
		cmd.Stdin = strings.NewReader(payload)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_pub: %v: %s", err, out)
		}
		return
	}
	if err := n.bus.Publish(t.Context(), bus.Message{Topic: topic, Payload: []byte(payload), QoS: bus.AtLeastOnce}); err != nil {
		t.Fatal(err)
	}
}
