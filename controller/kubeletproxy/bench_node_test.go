package kubeletproxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"iter"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgekit/edgekit/edged/runtime"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/server"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/httplink"
	"github.com/edgekit/edgekit/hub/hubbench/processtest"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/wsconn"
	"github.com/edgekit/edgekit/meta/resources"
)

// benchEdge is the node's process: the kubelet API on the link and, to compare,
// on a port.
type benchEdge struct {
	processtest.Profiler
	t    *testing.T
	node *benchNode
	sink benchSink
	hush context.CancelFunc
}

// Start connects and serves; direct is the address of the API without the cloud.
func (b *benchEdge) Start(cloud BenchCloud, direct *string) error {
	b.node = newBenchNode(b.t)
	b.sink.arrived = make(chan benchArrival, 1)
	api, err := server.New(server.Config{Node: "edge-1", Pods: b.node, Runtime: b.node})
	if err != nil {
		return err
	}
	identity, err := benchIdentity(cloud)
	if err != nil {
		return err
	}
	dialer, err := wsconn.NewDialer(wsconn.DialerConfig{URL: cloud.Link, TLS: identity})
	if err != nil {
		return err
	}
	streams, err := httplink.NewServer(httplink.ServerConfig{Handler: api})
	if err != nil {
		return err
	}
	mux := &hub.Mux{}
	mux.HandleStream(resources.NodeProxy, streams)
	client, err := hub.NewClient(hub.ClientConfig{Dialer: dialer, Node: "edge-1", Down: &b.sink, Mux: mux})
	if err != nil {
		return err
	}
	go func() { _ = api.Run(context.Background()) }() // until the process ends, as below
	go func() { _ = client.Run(context.Background()) }()
	plain := httptest.NewUnstartedServer(api)
	plain.Config.ErrorLog = log.New(io.Discard, "", 0)
	plain.StartTLS()
	*direct = plain.URL
	return nil
}

// benchIdentity is the node's end of TLS.
func benchIdentity(cloud BenchCloud) (*tls.Config, error) {
	ca, err := join.LoadCA(cloud.CACert, cloud.CAKey)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leaf, err := ca.IssueNode(key.Public(), "edge-1", time.Now(), time.Hour)
	if err != nil {
		return nil, err
	}
	return &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}}}, nil
}

// Wait waits for the object of that version and returns how long it took.
func (b *benchEdge) Wait(version int, took *time.Duration) error {
	for a := range b.sink.arrived {
		if a.version == strconv.Itoa(version) {
			*took = a.took
			return nil
		}
	}
	return nil
}

// Talk makes the container log a line ten times a second, or ends that.
func (b *benchEdge) Talk(on bool, _ *struct{}) error {
	if !on {
		b.hush()
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.hush = cancel
	go func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				b.node.say(b.t, "more")
			case <-ctx.Done():
				return
			}
		}
	}()
	return nil
}

// Collect collects garbage.
func (b *benchEdge) Collect(struct{}, *struct{}) error {
	debug.FreeOSMemory()
	return nil
}

// benchSink sends when objects arrive, one at a time.
type benchSink struct{ arrived chan benchArrival }

type benchArrival struct {
	version string
	took    time.Duration
}

func (*benchSink) Versions(context.Context) (iter.Seq2[hub.Key, string], error) {
	return func(func(hub.Key, string) bool) {}, nil
}

func (s *benchSink) Apply(ctx context.Context, objects []hub.Object) error {
	for _, o := range objects {
		began, err := strconv.ParseInt(string(o.Body), 10, 64)
		if err != nil {
			return err
		}
		select {
		case s.arrived <- benchArrival{o.Version, time.Since(time.Unix(0, began))}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// benchNode is a node with one pod, whose runtime serves four commands: hello sends a
// byte, take counts the bytes it gets, give sends as many, and pour sends for as long as
// somebody reads.
type benchNode struct {
	dir     string
	runtime *httptest.Server
	poured  atomic.Int64
}

func newBenchNode(t *testing.T) *benchNode {
	n := &benchNode{dir: t.TempDir()}
	n.runtime = httptest.NewServer(http.HandlerFunc(n.serve))
	t.Cleanup(n.runtime.Close)
	n.say(t, "first")
	return n
}

func (n *benchNode) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
	w.WriteHeader(http.StatusSwitchingProtocols)
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	switch r.URL.Path {
	case "/hello":
		_, _ = io.WriteString(conn, "x") // whoever asks notices what is missing, here and below
		_, _ = io.Copy(io.Discard, rw)
	case "/take":
		got, _ := io.Copy(io.Discard, rw)
		_, _ = fmt.Fprint(conn, got)
	case "/pour":
		for buf := make([]byte, 64<<10); err == nil; {
			var some int
			some, err = conn.Write(buf)
			n.poured.Add(int64(some))
		}
	case "/give":
		buf := make([]byte, 64<<10)
		for range carried / len(buf) {
			_, _ = conn.Write(buf)
		}
	}
}

func (n *benchNode) say(t *testing.T, line string) {
	t.Helper()
	f, err := os.OpenFile(n.LogFile(nil, "app", 0), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "2026-01-02T03:04:05Z stdout F %s\n", line); err != nil {
		t.Fatal(err)
	}
}

func (n *benchNode) Pods() []*corev1.Pod { return []*corev1.Pod{n.Pod("default", "web")} }

func (n *benchNode) Pod(string, string) *corev1.Pod {
	p := &corev1.Pod{}
	p.Namespace, p.Name, p.UID = "default", "web", "u"
	p.Spec.Containers = []corev1.Container{{Name: "app"}}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", ContainerID: "x://c", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	return p
}

func (n *benchNode) LogFile(*corev1.Pod, string, uint32) string { return filepath.Join(n.dir, "0.log") }

func (n *benchNode) ListContainers(context.Context, string) ([]runtime.Container, error) {
	return []runtime.Container{{ID: "c", PodUID: "u", Name: "app", State: runtime.ContainerRunning}}, nil
}

func (n *benchNode) ListSandboxes(context.Context, string) ([]runtime.Sandbox, error) {
	return nil, nil
}

func (n *benchNode) ExecURL(_ context.Context, _ string, cmd []string, _ runtime.Streaming) (string, error) {
	return n.runtime.URL + "/" + cmd[0], nil
}

func (n *benchNode) AttachURL(context.Context, string, runtime.Streaming) (string, error) {
	return "", nil
}

func (n *benchNode) PortForwardURL(context.Context, string, []int32) (string, error) { return "", nil }
