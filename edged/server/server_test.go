package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a node with one pod, default/web, whose container app runs.
type node struct {
	dir       string
	streaming *httptest.Server // the runtime's

	mu  sync.Mutex
	pod *corev1.Pod
	cmd []string
}

func newNode(t *testing.T) *node {
	n := &node{dir: t.TempDir(), pod: &corev1.Pod{}}
	n.pod.Namespace, n.pod.Name, n.pod.UID = "default", "web", "uid-1"
	n.pod.Spec.Containers = []corev1.Container{{Name: "app"}, {Name: "slow"}, {Name: "done"}}
	n.pod.Status.ContainerStatuses = []corev1.ContainerStatus{
		{Name: "app", ContainerID: "fake://app-1", RestartCount: 1, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ContainerID: "fake://app-0"}}},
		{Name: "slow", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}}},
		{Name: "done", ContainerID: "fake://done-0", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ContainerID: "fake://done-0"}}},
	}
	n.say(t, "app", 0, "before")
	n.say(t, "app", 1, "hello", "world")
	n.streaming = httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(n.streaming.Close)
	return n
}

// echo is the runtime's end of a session: it sends back what it gets.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
	w.WriteHeader(http.StatusSwitchingProtocols)
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, r.URL.Path+"\n")
	_, _ = io.Copy(conn, rw)
}

// say adds lines to a container's log.
func (n *node) say(t *testing.T, container string, attempt uint32, lines ...string) {
	t.Helper()
	file := n.LogFile(nil, container, attempt)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, l := range lines {
		if _, err := fmt.Fprintf(f, "2026-01-02T03:04:05Z stdout F %s\n", l); err != nil {
			t.Fatal(err)
		}
	}
}

func (n *node) Pods() []*corev1.Pod { return []*corev1.Pod{n.Pod("default", "web")} }

func (n *node) Pod(namespace, name string) *corev1.Pod {
	n.mu.Lock()
	defer n.mu.Unlock()
	if namespace != "default" || name != "web" {
		return nil
	}
	return n.pod.DeepCopy()
}

// end ends the container app.
func (n *node) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ContainerID: "fake://app-1"}}
}

func (n *node) LogFile(_ *corev1.Pod, container string, attempt uint32) string {
	return filepath.Join(n.dir, container, fmt.Sprintf("%d.log", attempt))
}

func (n *node) ListContainers(context.Context, string) ([]runtime.Container, error) {
	return []runtime.Container{
		{ID: "app-1", PodUID: "uid-1", Name: "app", Attempt: 1, State: runtime.ContainerRunning},
		{ID: "app-0", PodUID: "uid-1", Name: "app", State: runtime.ContainerExited},
		{ID: "done-0", PodUID: "uid-1", Name: "done", State: runtime.ContainerExited},
	}, nil
}

func (n *node) ListSandboxes(context.Context, string) ([]runtime.Sandbox, error) {
	return []runtime.Sandbox{{ID: "box-0", Created: time.Unix(1, 0)}, {ID: "box-1", Ready: true, Created: time.Unix(2, 0)}}, nil
}

func (n *node) ExecURL(_ context.Context, id string, cmd []string, _ runtime.Streaming) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cmd = cmd
	if cmd[0] == "broken" {
		return "", errors.New("the runtime is broken")
	}
	return n.streaming.URL + "/exec/" + id, nil
}

func (n *node) AttachURL(_ context.Context, id string, s runtime.Streaming) (string, error) {
	return fmt.Sprintf("%s/attach/%s/tty=%t", n.streaming.URL, id, s.TTY), nil
}

func (n *node) PortForwardURL(_ context.Context, sandbox string, ports []int32) (string, error) {
	return fmt.Sprintf("%s/ports/%s/%v", n.streaming.URL, sandbox, ports), nil
}

func serve(t *testing.T, n *node, edit func(*server.Config)) *httptest.Server {
	t.Helper()
	return serveConfig(t, server.Config{Node: "gate-7", Pods: n, Runtime: n, Look: 10 * time.Millisecond}, edit)
}

func serveConfig(t *testing.T, cfg server.Config, edit func(*server.Config)) *httptest.Server {
	t.Helper()
	if edit != nil {
		edit(&cfg)
	}
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Run(ctx) })
	web := httptest.NewServer(s)
	t.Cleanup(func() { web.Close(); cancel(); wg.Wait() })
	return web
}

// TestAnswers checks status and text of the answers without a session. kubectl shows the
// texts, so they are the kubelet's where it has one.
func TestAnswers(t *testing.T) {
	web := serve(t, newNode(t), func(c *server.Config) {
		c.Summary = func(context.Context) (any, error) { return map[string]string{"node": "n"}, nil }
		c.Resource = func(_ context.Context, w io.Writer) error { _, err := io.WriteString(w, "x 1\n"); return err }
		c.Probes = func(context.Context, io.Writer) error { return errors.New("no figures today") }
	})
	const logs, exec, forward = "/containerLogs/default/web/", "/exec/default/web/", "/portForward/default/"
	for _, c := range []struct {
		method, path string
		upgrade      string
		status       int
		want         string // is part of the body
	}{
		{"GET", logs + "app", "", 200, "hello\nworld\n"},
		{"GET", logs + "app?tailLines=1&timestamps=true", "", 200, "2026-01-02T03:04:05.000000000Z world\n"},
		{"GET", logs + "app?previous=true", "", 200, "before\n"},
		{"GET", logs + "app?limitBytes=3", "", 200, "hel"},
		{"GET", logs + "app?stream=Stderr", "", 200, ""},
		{"GET", logs + "app?tailLines=x", "", 400, "tailLines"},
		{"GET", logs + "app?tailLines=-1", "", 422, "tailLines"},
		{"GET", logs + "app?limitBytes=0", "", 422, "limitBytes"},
		{"GET", logs + "app?sinceTime=now", "", 400, "RFC 3339"},
		{"GET", logs + "app?sinceSeconds=1&sinceTime=2026-01-02T03:04:05Z", "", 422, "at most one"},
		{"GET", logs + "app?stream=both", "", 422, "stream"},
		{"GET", logs + "other", "", 404, `container "other" not found in pod "web"`},
		{"GET", "/containerLogs/default/gone/app", "", 404, `pod "gone" does not exist`},
		{"GET", logs + "slow", "", 400, `container "slow" in pod "web" is waiting to start: image can't be pulled`},
		{"GET", logs + "slow?previous=true", "", 400, `previous terminated container "slow" in pod "web" not found`},
		{"GET", logs + "done?follow=true", "", 400, "unable to retrieve container logs for fake://done-0"},
		{"POST", exec + "app?command=ls&output=1", "", 400, "Upgrade request required"},
		{"POST", exec + "app?command=ls", "SPDY/3.1", 400, "at least 1 of stdin, stdout, stderr"},
		{"POST", exec + "app?output=1", "SPDY/3.1", 400, "command"},
		{"POST", exec + "app?output=1&command=" + strings.Repeat("x", 200<<10), "SPDY/3.1", 413, "at most"},
		{"POST", exec + "done?command=ls&output=1", "SPDY/3.1", 500, `container not found ("done")`},
		{"POST", exec + "app?command=broken&output=1", "SPDY/3.1", 500, "the runtime is broken"},
		{"POST", exec + "other-uid/app?command=ls&output=1", "SPDY/3.1", 404, "pod not found"},
		{"POST", "/exec/default/gone/app?command=ls&output=1", "SPDY/3.1", 404, "pod does not exist"},
		{"POST", "/attach/default/web/app?output=1", "", 400, "Upgrade request required"},
		{"GET", forward + "web?port=70000", "websocket", 400, "1 to 65535"},
		{"GET", forward + "web", "websocket", 400, `"port" is required`},
		{"POST", forward + "gone", "SPDY/3.1", 404, "pod does not exist"},
		{"GET", "/pods", "", 200, `"name":"web"`},
		{"GET", "/runningpods/", "", 200, `"uid":"uid-1"`},
		{"GET", "/healthz", "", 200, "ok"},
		{"GET", "/healthz/ping", "", 200, "ok"},
		{"GET", "/configz", "", 200, "edgecore"},
		{"GET", "/stats/summary", "", 200, `{"node":"n"}`},
		{"GET", "/metrics", "", 200, `edgekit_edged_sessions{kind="exec"} 0`},
		{"GET", "/metrics/resource", "", 200, "x 1\n"},
		{"GET", "/metrics/probes", "", 500, "no figures today"},
		{"GET", "/nothing", "", 404, ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, web.URL+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.upgrade != "" {
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", c.upgrade)
		}
		resp, err := web.Client().Do(req)
		if err != nil {
			t.Errorf("%.60s: %v", c.path, err)
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.status || !strings.Contains(string(body), c.want) {
			t.Errorf("%s %.60s: %d %q, want %d %q", c.method, c.path, resp.StatusCode, body, c.status, c.want)
		}
	}
}

// TestFollow follows a log until its container ends.
func TestFollow(t *testing.T) {
	n := newNode(t)
	web := serve(t, n, nil)
	resp, err := web.Client().Get(web.URL + "/containerLogs/default/web/app?follow=true&tailLines=1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewScanner(resp.Body)
	for _, want := range []string{"world", "more", "and more"} {
		if want != "world" {
			n.say(t, "app", 1, want)
		}
		if !in.Scan() || in.Text() != want {
			t.Fatalf("%q, %v, want %q", in.Text(), in.Err(), want)
		}
	}
	n.end()
	if in.Scan() || in.Err() != nil {
		t.Errorf("after the end: %q %v", in.Text(), in.Err())
	}
}

// TestSessions joins clients to the runtime's sessions.
func TestSessions(t *testing.T) {
	n := newNode(t)
	web := serve(t, n, nil)
	for _, c := range []struct{ path, want string }{
		{"/exec/default/web/app?command=sh&command=-c&command=id&input=1&output=1", "/exec/app-1"},
		{"/exec/default/web/uid-1/app?command=sh&input=1&output=1", "/exec/app-1"},
		{"/attach/default/web/app?input=1&output=1&tty=1", "/attach/app-1/tty=false"},
		{"/portForward/default/web", "/ports/box-1/[]"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, web.URL+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "SPDY/3.1")
		resp, err := web.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		rw, ok := resp.Body.(io.ReadWriteCloser)
		if !ok || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%s: status %d", c.path, resp.StatusCode)
		}
		_, _ = io.WriteString(rw, "ping")
		if err := rw.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Error(err)
		}
		if text, err := io.ReadAll(rw); string(text) != c.want+"\nping" || err != nil {
			t.Errorf("%s: %q %v", c.path, text, err)
		}
		rw.Close()
	}
	if len(n.cmd) != 1 || n.cmd[0] != "sh" {
		t.Errorf("command %q", n.cmd)
	}
}

func TestTooManySessions(t *testing.T) {
	n := newNode(t)
	web := serve(t, n, func(c *server.Config) { c.MaxSessions = 1 })
	first, err := web.Client().Get(web.URL + "/containerLogs/default/web/app?follow=true")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Body.Close()
	second, err := web.Client().Get(web.URL + "/containerLogs/default/web/app")
	if err != nil {
		t.Fatal(err)
	}
	second.Body.Close()
	if second.StatusCode != http.StatusTooManyRequests {
		t.Errorf("status %d", second.StatusCode)
	}
}

func TestConfig(t *testing.T) {
	n := newNode(t)
	for _, cfg := range []server.Config{
		{Pods: n, Runtime: n}, {Node: "n", Runtime: n}, {Node: "n", Pods: n}, {Node: "n", Pods: n, Runtime: n, MaxSessions: -1},
	} {
		if _, err := server.New(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}

func FuzzQuery(f *testing.F) {
	f.Add("tailLines=3&sinceSeconds=9223372036854775807&stream=All&follow=1")
	f.Add("limitBytes=00&sinceTime=%zz;&port=1,2,x")
	dir := f.TempDir()
	nobody := httptest.NewServer(nil)
	nobody.Close() // a runtime that does not answer
	n := &node{dir: dir, pod: &corev1.Pod{}, streaming: nobody}
	s, err := server.New(server.Config{Node: "n", Pods: n, Runtime: n})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, query string) {
		for _, path := range []string{"/containerLogs/default/web/app", "/portForward/default/web", "/exec/default/web/app"} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.URL.RawQuery = query
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", "websocket")
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code < 400 {
				t.Errorf("%s?%s: status %d for a pod without containers", path, query, w.Code)
			}
		}
	})
}

// Example answers a request for a pod that is not there.
func Example() {
	n := &node{pod: &corev1.Pod{}}
	s, err := server.New(server.Config{Node: "gate-7", Pods: n, Runtime: n})
	if err != nil {
		fmt.Println(err)
		return
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/containerLogs/default/gone/app", nil))
	fmt.Println(w.Code, w.Body)
	// Output: 404 pod "gone" does not exist
}
