package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

// fakeConsole answers like cloudcore's console: who has which token.
func fakeConsole(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer alices-token":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/console/api/v1/me":
			_, _ = io.WriteString(w, `{"user":"alice"}`)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// write puts a file into a folder of its own.
func write(t *testing.T, text []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func authorityOf(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

// consoleKubeconfig writes one for the API server at an address, with a user of these lines.
func consoleKubeconfig(t *testing.T, server, user string) string {
	t.Helper()
	return write(t, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: %q, insecure-skip-tls-verify: true}}]
users: [{name: a, user: %s}]
contexts: [{name: a, context: {cluster: a, user: a}}]
current-context: a
`, server, user))
}

// until is an output that ends the command when it has printed the address.
type until struct {
	mu    sync.Mutex
	text  bytes.Buffer
	print chan struct{}
	once  sync.Once
}

func (u *until) Write(b []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.text.Write(b)
	if strings.Contains(u.text.String(), "?key=") {
		u.once.Do(func() { close(u.print) })
	}
	return len(b), nil
}

// openConsole runs the command as a user does, and opens the address that it prints. get asks the console
// for a path of its API as the browser does, stop interrupts the command and waits.
func openConsole(t *testing.T, c consoleCmd, kubeconfig string) (get func(path string) (code int, body string), stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, ended := &until{print: make(chan struct{})}, make(chan error, 1)
	go func() {
		ended <- c.Run(ctx, &cli{Kubeconfig: kubeconfig, Namespace: "edgekit-system"}, program.Output{Writer: out})
	}()
	select {
	case err := <-ended:
		cancel()
		t.Fatalf("the command ends: %v", err)
	case <-out.print:
	}
	address := regexp.MustCompile(`http://127\.0\.0\.1:\d+/\?key=\S+`).FindString(out.text.String())
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, Transport: &http.Transport{}, Timeout: 20 * time.Second}
	open := func(address string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	open(address)
	base, _, _ := strings.Cut(address, "/?")
	stop = sync.OnceFunc(func() {
		browser.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the command, when it is interrupted: %v", err)
		}
	})
	t.Cleanup(stop)
	return func(path string) (int, string) { return open(base + "/console/api/v1/" + path) }, stop
}

// TestConsole runs the command as a user does, and opens the address that it prints.
func TestConsole(t *testing.T) {
	console := fakeConsole(t)
	ca := write(t, authorityOf(console))
	run := func(t *testing.T, c consoleCmd, kubeconfig string) {
		t.Helper()
		get, stop := openConsole(t, c, kubeconfig)
		for range 3 {
			if code, text := get("me"); code != http.StatusOK || text != `{"user":"alice"}` {
				t.Errorf("the browser gets %d %q", code, text)
			}
		}
		stop()
	}
	t.Run("server", func(t *testing.T) {
		run(t, consoleCmd{Listen: "127.0.0.1:0", Server: console.URL, CA: ca}, consoleKubeconfig(t, "https://127.0.0.1:1", "{token: alices-token}"))
	})
	t.Run("token file", func(t *testing.T) {
		run(t, consoleCmd{Listen: "127.0.0.1:0", Server: console.URL, CA: ca, TokenFile: write(t, []byte("alices-token\n"))},
			consoleKubeconfig(t, "https://127.0.0.1:1", "{username: alice, password: secret}"))
	})
	t.Run("exec", func(t *testing.T) {
		plugin := write(t, []byte("#!/bin/sh\necho '{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1\",\"status\":{\"token\":\"alices-token\"}}'\n"))
		if err := os.Chmod(plugin, 0o700); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
		run(t, consoleCmd{Listen: "127.0.0.1:0", Server: console.URL, CA: ca}, consoleKubeconfig(t, "https://127.0.0.1:1",
			fmt.Sprintf("{exec: {apiVersion: client.authentication.k8s.io/v1, command: %q, interactiveMode: Never}}", plugin)))
	})
	// On a machine where no browser runs, the program that opens one runs as long as the browser.
	t.Run("open", func(t *testing.T) {
		dir := t.TempDir()
		t.Setenv("HOME", dir)
		t.Setenv("XDG_CACHE_HOME", dir)
		t.Setenv("PATH", dir)
		for _, name := range []string{"xdg-open", "open"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\nexec /bin/sleep 300\n"), 0o700); err != nil { //nolint:gosec // a program
				t.Fatal(err)
			}
		}
		run(t, consoleCmd{Listen: "127.0.0.1:0", Server: console.URL, CA: ca, Open: true}, consoleKubeconfig(t, "https://127.0.0.1:1", "{token: alices-token}"))
		if left, err := filepath.Glob(filepath.Join(dir, "edgectl-console-*")); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
	t.Run("pod", func(t *testing.T) {
		api := fakeForward(t, console.Listener.Addr().String())
		// The certificate of httptest's server has the name example.com and the address 127.0.0.1,
		// but not localhost, which the real one has.
		cfg := &rest.Config{Host: api.URL, BearerToken: "alices-token", TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
		client, err := kubernetes.NewForConfig(cfg)
		if err != nil {
			t.Fatal(err)
		}
		f := &podForward{cfg: cfg, client: client, namespace: "edgekit-system", port: 10005}
		defer f.close()
		transport := &http.Transport{DialContext: f.dial, TLSClientConfig: console.Client().Transport.(*http.Transport).TLSClientConfig} //nolint:forcetypeassert // httptest's
		defer transport.CloseIdleConnections()
		for range 3 {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://example.com/console/api/v1/me", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer alices-token")
			resp, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || string(text) != `{"user":"alice"}` {
				t.Errorf("%q, %v", text, err)
			}
			transport.CloseIdleConnections() // the next one needs a new stream
		}
		f.port = 1 // where nothing listens
		if _, err := transport.RoundTrip(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://example.com/", nil)); err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("a port that is closed: %v", err)
		}
	})
}

// fakeForward is an API server that has one pod of cloudcore, and forwards its port 10005.
func fakeForward(t *testing.T, to string) *httptest.Server {
	t.Helper()
	var open sync.WaitGroup
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/v1/namespaces/edgekit-system/pods":
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"kind":"PodList","apiVersion":"v1","items":[
				{"metadata":{"name":"cloudcore-old"},"status":{"conditions":[{"type":"Ready","status":"False"}]}},
				{"metadata":{"name":"cloudcore-1"},"status":{"conditions":[{"type":"Ready","status":"True"}]}}]}`)
		case "/api/v1/namespaces/edgekit-system/pods/cloudcore-1/portforward":
			if r.Method != http.MethodPost { // WebSocket: an API server that does not know it
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			if _, err := httpstream.Handshake(r, w, []string{portforward.PortForwardProtocolV1Name}); err != nil {
				t.Error(err)
				return
			}
			streams := make(chan httpstream.Stream, 16)
			conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error { streams <- s; return nil })
			if conn == nil {
				return
			}
			open.Go(func() { forward(conn, streams, to, &open) })
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(func() { s.Close(); open.Wait() })
	return s
}

// forward connects pairs of streams until their connection ends.
func forward(conn httpstream.Connection, streams <-chan httpstream.Stream, to string, open *sync.WaitGroup) {
	problems := make(map[string]httpstream.Stream)
	for {
		var s httpstream.Stream
		select {
		case <-conn.CloseChan():
			return
		case s = <-streams:
		}
		id := s.Headers().Get(corev1.PortForwardRequestIDHeader)
		if s.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
			problems[id] = s
			continue
		}
		problem := problems[id]
		address := to
		if s.Headers().Get(corev1.PortHeader) != "10005" {
			address = "127.0.0.1:1"
		}
		c, err := net.Dial("tcp", address) //nolint:noctx // of a test's own server
		if err != nil {
			_, _ = io.WriteString(problem, err.Error())
			_ = problem.Close()
			_ = s.Close()
			continue
		}
		_ = problem.Close()
		open.Go(func() { _, _ = io.Copy(c, s); _ = c.Close() })
		open.Go(func() { _, _ = io.Copy(s, c); _ = s.Close() })
	}
}

// TestConsoleRefused says what is wrong and what to do.
func TestConsoleRefused(t *testing.T) {
	console := fakeConsole(t)
	ca := write(t, authorityOf(console))
	for name, c := range map[string]struct {
		cmd  consoleCmd
		user string
		want string
	}{
		"open to others":   {consoleCmd{Listen: "0.0.0.0:0"}, "{token: a}", "loopback"},
		"not a server":     {consoleCmd{Listen: "127.0.0.1:0", Server: "http://a", CA: ca}, "{token: a}", "must be https://"},
		"no token":         {consoleCmd{Listen: "127.0.0.1:0", Server: console.URL, CA: ca}, "{username: a, password: b}", "kubectl create token"},
		"impersonation":    {consoleCmd{Listen: "127.0.0.1:0", Server: console.URL, CA: ca}, "{token: alices-token, as: bob}", "impersonates bob"},
		"a bad token":      {consoleCmd{Listen: "127.0.0.1:0", Server: console.URL, CA: ca}, "{token: bobs-token}", "does not accept your token"},
		"no such CA":       {consoleCmd{Listen: "127.0.0.1:0", Server: console.URL, CA: "/none"}, "{token: a}", "no such file"},
		"an empty CA":      {consoleCmd{Listen: "127.0.0.1:0", Server: console.URL, CA: write(t, nil)}, "{token: a}", "has no certificate"},
		"an unknown CA":    {consoleCmd{Listen: "127.0.0.1:0", Server: console.URL}, "{token: alices-token}", "edgectl ca show"},
		"no token in file": {consoleCmd{Listen: "127.0.0.1:0", Server: console.URL, CA: ca, TokenFile: "/none"}, "{token: a}", "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.cmd.Run(t.Context(), &cli{Kubeconfig: consoleKubeconfig(t, "https://127.0.0.1:1", c.user), Namespace: "edgekit-system"}, program.Output{Writer: io.Discard})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want %q", err, c.want)
			}
			var usage *program.UsageError
			if name != "a bad token" && !errors.As(err, &usage) {
				t.Errorf("%v names no setting", err)
			}
		})
	}
}
