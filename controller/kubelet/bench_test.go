package kubelet

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/server"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/httplink"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/join/jointest"
	"github.com/edgekit/edgekit/hub/wsconn"
)

// How much TestStreams measures.
const (
	firstBytes = 300
	carried    = 256 << 20
	followers  = 1000
	objects    = 400
)

// TestStreams measures what the way through the cloud costs, against the same
// kubelet API served directly over TLS in the same run. The container runtime's
// end of sessions is a server in this process.
func TestStreams(t *testing.T) {
	if os.Getenv("BENCH") == "" {
		t.Skip("measures; run it with make bench-streams")
	}
	n := newBenchNode(t)
	api, err := server.New(server.Config{Node: "edge-1", Pods: n, Runtime: n})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = api.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	link := connectBench(t, api)
	c := newCloud(t, func(cfg *Config) { cfg.Open = link.server.OpenStream })
	c.run(t)
	plain := httptest.NewUnstartedServer(api)
	plain.Config.ErrorLog = log.New(io.Discard, "", 0)
	plain.StartTLS()
	defer plain.Close()
	tr := &http.Transport{MaxIdleConnsPerHost: 10, TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, Certificates: []tls.Certificate{*c.ca.client(t, "admin", "system:masters")}}}
	defer tr.CloseIdleConnections()
	cloud, direct := fmt.Sprintf("https://127.0.0.1:%d", c.assign("edge-1", 0)), plain.URL

	for name, path := range map[string]string{
		"logs_first_byte_added": "/containerLogs/default/web/app?tailLines=1",
		"exec_first_byte_added": "/exec/default/web/app?command=hello&input=1&output=1",
	} {
		added := median(t, tr, cloud+path) - median(t, tr, direct+path)
		fmt.Printf("RESULT %s %.3f ms\n", name, float64(added.Microseconds())/1000)
	}
	a, b := carry(t, tr, direct), carry(t, tr, cloud)
	fmt.Printf("RESULT cp_rate %.0f MB/s\n", 2*carried/b.Seconds()/1e6)
	fmt.Printf("RESULT cp_rate_ratio %.2f\n", a.Seconds()/b.Seconds())

	alone := link.deliver(t)
	before := resident(t)
	stop := n.follow(t, tr, cloud)
	fmt.Printf("RESULT followers_1000_rss %.1f MiB\n", float64(resident(t)-before)/(1<<20))
	fmt.Printf("RESULT state_delay_p99 %.2f ms\n", float64((link.deliver(t)-alone).Microseconds())/1000)
	stop()
}

// median is the time to the first byte of an answer.
func median(t *testing.T, tr *http.Transport, url string) time.Duration {
	t.Helper()
	var all []time.Duration
	for range firstBytes {
		began := time.Now()
		body := request(t, tr, url)
		if _, err := io.ReadFull(body, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		all = append(all, time.Since(began))
		body.Close()
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// request asks for a URL, with an upgrade where that is an exec.
func request(t *testing.T, tr *http.Transport, url string) io.ReadCloser {
	t.Helper()
	method := http.MethodGet
	if strings.Contains(url, "/exec/") {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "SPDY/3.1")
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode >= 400 {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s: %s %s", url, resp.Status, text)
	}
	return resp.Body
}

// carry sends bytes into a session and takes as many out of another.
func carry(t *testing.T, tr *http.Transport, base string) time.Duration {
	t.Helper()
	began := time.Now()
	in := request(t, tr, base+"/exec/default/web/app?command=take&input=1&output=1").(io.ReadWriteCloser)
	buf := make([]byte, 64<<10)
	for range carried / len(buf) {
		if _, err := in.Write(buf); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(in); string(text) != strconv.Itoa(carried) || err != nil {
		t.Fatalf("%q %v", text, err)
	}
	in.Close()
	out := request(t, tr, base+"/exec/default/web/app?command=give&input=1&output=1")
	if got, err := io.Copy(io.Discard, out); got != carried || err != nil {
		t.Fatalf("%d %v", got, err)
	}
	out.Close()
	return time.Since(began)
}

// resident is this process's memory.
func resident(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// benchLink is a link over WebSocket and TLS.
type benchLink struct {
	server *hub.Server
	dir    *hubtest.Directory
	sink   *hubtest.Sink
	n      int
}

func connectBench(t *testing.T, api http.Handler) *benchLink {
	t.Helper()
	certs := jointest.NewCloud(t)
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	links, err := wsconn.NewListener(wsconn.ListenerConfig{Addr: socket.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	front := &http.Server{Handler: links, TLSConfig: certs.ServerTLS(), ErrorLog: log.New(io.Discard, "", 0)}
	dialer, err := wsconn.NewDialer(wsconn.DialerConfig{URL: "https://" + socket.Addr().String(), TLS: certs.ClientTLS("edge-1")})
	if err != nil {
		t.Fatal(err)
	}
	streams, err := httplink.NewServer(httplink.ServerConfig{Handler: api})
	if err != nil {
		t.Fatal(err)
	}
	mux := &hub.Mux{}
	mux.HandleStream(StreamResource, streams)
	l := &benchLink{dir: &hubtest.Directory{}, sink: &hubtest.Sink{}}
	if l.server, err = hub.NewServer(hub.ServerConfig{Listener: links, Directory: l.dir}); err != nil {
		t.Fatal(err)
	}
	client, err := hub.NewClient(hub.ClientConfig{Dialer: dialer, Node: "edge-1", Down: l.sink, Mux: mux})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = front.ServeTLS(socket, "", "") })
	wg.Go(func() { _ = l.server.Run(ctx) })
	wg.Go(func() { _ = client.Run(ctx) })
	t.Cleanup(func() { cancel(); links.Close(); front.Close(); wg.Wait() })
	l.deliver(t)
	return l
}

// deliver sends objects one after the other and gives the 99th percentile of
// the time until the node has one.
func (l *benchLink) deliver(t *testing.T) time.Duration {
	t.Helper()
	var all []time.Duration
	key := hub.Key{Resource: "things", Name: "one"}
	for range objects {
		l.n++
		began := time.Now()
		l.dir.Down("edge-1").Put(key, l.n, "a small object")
		if err := l.sink.Wait(t.Context(), func() bool { return l.sink.Held(key) == strconv.Itoa(l.n) }); err != nil {
			t.Fatal(err)
		}
		all = append(all, time.Since(began))
	}
	slices.Sort(all)
	return all[len(all)*99/100]
}

// benchNode is a node with one pod, whose runtime serves three commands:
// hello says a byte, take counts what it gets, give gives as much.
type benchNode struct {
	dir     string
	runtime *httptest.Server
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

// follow has many clients follow the log, all of which have seen a first line,
// and lets it grow until stop.
func (n *benchNode) follow(t *testing.T, tr *http.Transport, base string) (stop func()) {
	t.Helper()
	var bodies []io.ReadCloser
	for range followers {
		body := request(t, tr, base+"/containerLogs/default/web/app?follow=true&tailLines=1")
		if _, err := bufio.NewReaderSize(body, 16).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, b := range bodies {
		wg.Go(func() { _, _ = io.Copy(io.Discard, b) }) // ends with the body
	}
	wg.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				n.say(t, "more")
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		for _, b := range bodies {
			b.Close()
		}
		wg.Wait()
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

func (n *benchNode) ListContainers(context.Context, string) ([]edged.Container, error) {
	return []edged.Container{{ID: "c", PodUID: "u", Name: "app", State: edged.ContainerRunning}}, nil
}

func (n *benchNode) ListSandboxes(context.Context, string) ([]edged.Sandbox, error) { return nil, nil }

func (n *benchNode) ExecURL(_ context.Context, _ string, cmd []string, _ edged.Streaming) (string, error) {
	return n.runtime.URL + "/" + cmd[0], nil
}

func (n *benchNode) AttachURL(context.Context, string, edged.Streaming) (string, error) {
	return "", nil
}

func (n *benchNode) PortForwardURL(context.Context, string, []int32) (string, error) { return "", nil }
