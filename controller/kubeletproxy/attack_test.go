package kubeletproxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// withNodes makes the cloud read Nodes as after a restart of cloudcore.
func (c *cloud) withNodes(t *testing.T, nodes ...*corev1.Node) {
	t.Helper()
	for _, n := range nodes {
		if _, err := c.api.CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	store, err := cache.New(cache.Config[*corev1.Node]{
		ListWatch: toolscache.ToListWatcherWithWatchListSemantics(&toolscache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				return c.api.CoreV1().Nodes().List(ctx, o)
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return c.api.CoreV1().Nodes().Watch(ctx, o)
			},
		}, c.api), Type: &corev1.Node{},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.cfg.Nodes = store
	store.OnChange(c.nodeChanged)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := store.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	<-store.Synced()
}

// askPort sends an administrator's exec to a port of cloudcore.
func (c *cloud) askPort(t *testing.T, port int) (int, string) {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{*c.ca.client(t, "admin", "system:masters")}}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, fmt.Sprintf("https://127.0.0.1:%d/exec/default/pod-of-edge-2/app?command=sh&input=1", port), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return 0, err.Error() // nobody listens
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.StatusCode, string(body)
}

// TestAttackPortTheft: edge-1, a hostile node whose name sorts first, claims the port of
// edge-2, which is offline, in every way that a node can and in one that only an operator
// can. An exec for edge-2 never reaches edge-1.
func TestAttackPortTheft(t *testing.T) {
	const port = 30150
	stolen := 0
	for name, hostile := range map[string]*corev1.Node{
		"in its status": nodeWith("edge-1", port, "127.0.0.1", "192.168.1.4"),
		"in its annotations": func() *corev1.Node {
			n := nodeWith("edge-1", port, "127.0.0.1")
			n.Annotations = map[string]string{RecordLabel: recordValue(netip.MustParseAddr("127.0.0.1"), port)}
			return n
		}(),
		"in its record": recordedAt("edge-1", "127.0.0.1", port),
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t, nil)
			c.withNodes(t, hostile, recordedAt("edge-2", "127.0.0.1", port))
			c.run(t)
			code, body := c.askPort(t, port)
			if code == http.StatusOK {
				stolen++
				t.Errorf("an exec for edge-2 is answered by edge-1: %s", body)
			}
		})
	}
	fmt.Println("RESULT attack_port_theft", stolen)
}

// TestContested: two records name one port. Neither node is served there until one record
// is rewritten, which happens when one of the nodes connects.
func TestContested(t *testing.T) {
	const port = 30150
	c := newCloud(t, nil)
	c.withNodes(t, recordedAt("edge-1", "127.0.0.1", port), recordedAt("edge-2", "127.0.0.1", port))
	c.run(t)
	if code, body := c.askPort(t, port); code != http.StatusServiceUnavailable {
		t.Errorf("a port of two Nodes: %d %s", code, body)
	}
	c.Connected(hub.Info{Node: "edge-1", Connected: true, Epoch: 1})
	moved := 0
	hubtest.Until(t, "edge-1's record names another port, and its writer knows", func() bool {
		node, err := c.api.CoreV1().Nodes().Get(t.Context(), "edge-1", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, moved, _ = parseRecord(node.Labels[RecordLabel])
		return moved != 0 && moved != port && c.recordOf("edge-1") == moved
	})
	if code, body := c.askPort(t, moved); code != http.StatusOK {
		t.Errorf("edge-1 at its new port: %d %s", code, body)
	}
	code, body := 0, ""
	hubtest.Until(t, "the port is opened anew for its one owner", func() bool {
		code, body = c.askPort(t, port)
		return code != 0
	})
	if code != http.StatusServiceUnavailable || !strings.Contains(body, "not connected") {
		t.Errorf("edge-2, which is away, at the port that is its own now: %d %s", code, body)
	}
}

func (s *Server) recordOf(node string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records.port[node]
}

// TestAttackTokenReviews shows one bad token 300 times, and then as many
// different ones, all in a moment.
func TestAttackTokenReviews(t *testing.T) {
	c := newCloud(t, nil)
	moment := time.Now()
	c.auth.tokens.now = func() time.Time { return moment }
	c.run(t)
	const n = 300
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range n / 10 {
				c.ask(t, "edge-1", "GET", "/metrics", nil, "Authorization", "Bearer e30.same-junk.c2ln")
			}
		})
	}
	wg.Wait()
	equal := c.reviews()
	if equal > 5 {
		t.Errorf("%d requests with one bad token made %d TokenReviews", n, equal)
	}
	for i := range n {
		c.ask(t, "edge-1", "GET", "/metrics", nil, "Authorization", fmt.Sprintf("Bearer e30.junk-%d.c2ln", i))
		c.ask(t, "edge-1", "GET", "/metrics", nil, "Authorization", fmt.Sprintf("Bearer junk-%d", i))
	}
	if all := c.reviews() - equal; all > reviewBurst {
		t.Errorf("%d requests of one client with different bad tokens made %d TokenReviews", n, all)
	}
	fmt.Println("RESULT attack_tokenreviews", equal)
}

func (c *cloud) reviews() int {
	n := 0
	for _, a := range c.api.Actions() {
		if a.Matches("create", "tokenreviews") {
			n++
		}
	}
	return n
}

// TestAttackConnections opens connections and keeps them: of those that send nothing the
// oldest are closed, and those that were refused are closed too.
func TestAttackConnections(t *testing.T) {
	c := newCloud(t, func(cfg *Config) { cfg.MaxUnauthenticatedPerNetwork = 20 })
	c.run(t)
	port := c.assignPort("edge-1", 0)
	const n = 60
	var silent []net.Conn
	for range n {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		silent = append(silent, conn)
	}
	for _, conn := range silent[:n-20] {
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("a silent connection was answered")
		}
	}
	admin := c.ca.client(t, "admin", "system:masters")
	if code, body := c.ask(t, "edge-1", "GET", "/pods", admin); code != http.StatusOK {
		t.Errorf("beside silent connections: %d %s", code, body)
	}
	for range n { // each ends with its 401
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "GET /pods HTTP/1.1\r\nHost: x\r\n\r\n")
		if all, err := io.ReadAll(conn); err != nil || len(all) == 0 {
			t.Fatalf("a refused connection stays: %q, %v", all, err)
		}
		conn.Close()
	}
}
