package kubeletproxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/httplink"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
	"github.com/edgekit/edgekit/meta/resources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authority signs client certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

func (a authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func (a authority) client(t *testing.T, name string, groups ...string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name, Organization: groups},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// cloud is a Server with the node edge-1 connected to it.
type cloud struct {
	*Server
	ca  authority
	api *fake.Clientset
}

// newCloud has user "admin" allowed everything and "metrics" nodes/metrics.
func newCloud(t *testing.T, edit func(*Config)) *cloud {
	t.Helper()
	c := &cloud{ca: newAuthority(t), api: controllertest.NewClientset()}
	c.api.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		r := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
		at := r.Spec.ResourceAttributes
		r.Status.Allowed = r.Spec.User == "admin" || r.Spec.User == "metrics" && at.Subresource == "metrics" && at.Verb == "get" ||
			r.Spec.User == "reader" && at.Verb == "get"
		return true, r, nil
	})
	c.api.PrependReactor("create", "tokenreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		r := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview).DeepCopy()
		if name, ok := strings.CutPrefix(r.Spec.Token, "e30.token-of-"); ok {
			name = strings.TrimSuffix(name, ".c2ln")
			r.Status.Authenticated, r.Status.User.Username = true, name
		}
		return true, r, nil
	})
	cfg := Config{
		Cloud: c.api, NodeClient: c.api, Address: netip.MustParseAddr("127.0.0.1"), Bind: "127.0.0.1", FirstPort: 30100, Ports: 200,
		ClientCA: func(context.Context) ([]byte, error) { return c.ca.pem(), nil },
	}
	if edit != nil {
		edit(&cfg)
	}
	var err error
	if c.Server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	c.openStream = edge(t)
	if err := c.auth.refresh(t.Context()); err != nil { // Run does it too, later
		t.Fatal(err)
	}
	return c
}

func (c *cloud) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Run(ctx, c.openStream); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	hubtest.Until(t, "the server runs", c.runs) // a matter of microseconds
}

func (s *Server) runs() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serve != nil
}

// edge returns the Open of a cloud to which edge-1 alone is connected. It
// answers with what it was asked.
func edge(t *testing.T) Open {
	t.Helper()
	network := memconn.New(memconn.Config{})
	ends := make(chan hub.Conn, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		if conn, err := network.Accept(t.Context()); err == nil {
			ends <- conn
		}
	})
	conn, err := network.Dialer("edge-1").Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	served, err := httplink.NewServer(httplink.ServerConfig{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/wait") {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		fmt.Fprintf(w, "%s %s token=%q", r.Method, r.URL.RequestURI(), r.Header.Get("Authorization"))
	})})
	if err != nil {
		t.Fatal(err)
	}
	at := <-ends
	wg.Go(func() {
		for {
			st, err := conn.AcceptStream(context.WithoutCancel(t.Context()))
			if err != nil {
				return
			}
			wg.Go(func() {
				_ = served.ServeStream(context.WithoutCancel(t.Context()), hub.Request{Node: "edge-1"}, st)
				_ = st.CloseWrite()
				_, _ = io.Copy(io.Discard, st)
				st.Close()
			})
		}
	})
	t.Cleanup(func() { at.Close(); conn.Close(); wg.Wait(); network.Close() })
	return func(ctx context.Context, node string, m hub.Message) (hub.Stream, error) {
		if node != "edge-1" {
			return nil, hub.ErrOffline
		}
		if m.Key != (hub.Key{Resource: resources.NodeProxy, Name: node}) {
			return nil, fmt.Errorf("stream for %s", m.Key)
		}
		return at.OpenStream(ctx)
	}
}

// ask sends a request to a node's port.
func (c *cloud) ask(t *testing.T, node, method, path string, cert *tls.Certificate, header ...string) (int, string) {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	if cert != nil {
		tr.TLSClientConfig.Certificates = []tls.Certificate{*cert}
	}
	port := c.assignPort(node, 0)
	req, err := http.NewRequestWithContext(t.Context(), method, fmt.Sprintf("https://127.0.0.1:%d%s", port, path), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.StatusCode, string(body)
}

func TestWhoMay(t *testing.T) {
	c := newCloud(t, nil)
	c.run(t)
	admin, metrics, reader := c.ca.client(t, "admin", "system:masters"), c.ca.client(t, "metrics"), c.ca.client(t, "reader")
	stranger := newAuthority(t).client(t, "admin", "system:masters")
	const logs = "/containerLogs/default/web/app?follow=true"
	const exec = "/exec/default/web/app?command=sh"
	for _, x := range []struct {
		name, node, method, path string
		cert                     *tls.Certificate
		header                   []string
		status                   int
		want                     string
	}{
		{"the API server", "edge-1", "GET", logs, admin, nil, 200, "GET " + logs},
		{"nobody", "edge-1", "GET", logs, nil, nil, 401, "unauthorized"},
		{"another authority", "edge-1", "GET", logs, stranger, nil, 401, "unauthorized"},
		{"no rights", "edge-1", "GET", logs, metrics, nil, 403, "Forbidden (user=metrics, verb=get"},
		{"figures only", "edge-1", "GET", "/metrics/resource", metrics, nil, 200, "GET /metrics"},
		{"a token", "edge-1", "GET", "/metrics/resource", nil, []string{"Authorization", "Bearer e30.token-of-metrics.c2ln"}, 200, `token=""`},
		{"a false token", "edge-1", "GET", "/metrics/resource", nil, []string{"Authorization", "Bearer e30.x.c2ln"}, 401, "does not know the token"},
		{"no token", "edge-1", "GET", "/metrics/resource", nil, []string{"Authorization", "Bearer x"}, 401, "not a JSON Web Token"},
		{"a path for more than it says", "edge-1", "GET", "/stats/../exec/default/web/app", admin, nil, 400, "empty, . or .. parts"},
		{"the same, encoded", "edge-1", "GET", "/stats/%2e%2e/exec/default/web/app", admin, nil, 400, "empty, . or .. parts"},
		{"a folder", "edge-1", "GET", "/logs/", admin, nil, 200, "GET /logs/"},
		{"reading is not running", "edge-1", "GET", exec, reader, []string{"Connection", "Upgrade", "Upgrade", "websocket"}, 403, `"reason":"Forbidden"`},
		{"reading is reading", "edge-1", "GET", "/pods", reader, nil, 200, "GET /pods"},
		{"logs of a node that is away", "edge-2", "GET", logs, admin, nil, 500, `node "edge-2" is not connected`},
		{"figures of a node that is away", "edge-2", "GET", "/metrics/resource", admin, nil, 503, `node "edge-2" is not connected`},
		{"exec on a node that is away", "edge-2", "POST", exec, admin, []string{"Connection", "Upgrade", "Upgrade", "SPDY/3.1"}, 503, `"reason":"ServiceUnavailable"`},
	} {
		status, body := c.ask(t, x.node, x.method, x.path, x.cert, x.header...)
		if status != x.status || !strings.Contains(body, x.want) {
			t.Errorf("%s: %d %q, want %d %q", x.name, status, body, x.status, x.want)
		}
	}
}

func TestSessionsAreBounded(t *testing.T) {
	c := newCloud(t, func(cfg *Config) { cfg.MaxNodeSessions = 1 })
	a, b := newSession("edge-1", "u", "/exec/ns/pod/c"), newSession("edge-1", "u", "/portForward/ns/pod")
	if a.kind != "exec" || a.namespace != "ns" || a.pod != "pod" || a.container != "c" || b.container != "" {
		t.Errorf("%+v %+v", a, b)
	}
	if err := c.sessions.addSession(a); err != nil {
		t.Fatal(err)
	}
	if err := c.sessions.addSession(b); err == nil {
		t.Error("one too many")
	}
	c.sessions.endSession(t.Context(), a, 200)
	if err := c.sessions.addSession(b); err != nil {
		t.Error(err)
	}
}

// TestSessionsEndWithTheServer: a client still follows a log when the Server ends.
func TestSessionsEndWithTheServer(t *testing.T) {
	c := newCloud(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx, c.openStream) }()
	hubtest.Until(t, "the server runs", c.runs)
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{*c.ca.client(t, "admin")}}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/wait", c.assignPort("edge-1", 0)), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the body just ended")
	}
}

func TestConfig(t *testing.T) {
	ok := Config{Cloud: controllertest.NewClientset(), NodeClient: controllertest.NewClientset(), Address: netip.MustParseAddr("10.0.0.1")}
	for name, edit := range map[string]func(*Config){
		"cloud": func(c *Config) { c.Cloud = nil }, "address": func(c *Config) { c.Address = netip.Addr{} },
		"ports": func(c *Config) { c.FirstPort, c.Ports = 65000, 1000 }, "limit": func(c *Config) { c.MaxSessions = -1 },
	} {
		cfg := ok
		edit(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	s, err := New(ok)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context(), nil); err == nil {
		t.Error("open: accepted")
	}
}

// Example_path shows what a request needs.
func Example_needs() {
	fmt.Println(requiredRight(http.MethodGet, "/metrics/resource"))
	fmt.Println(requiredRight(http.MethodGet, "/exec/default/web/app"))
	// Output:
	// {get [metrics]}
	// {create [proxy]}
}
