package nodeapi

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/internal/impersonate"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/apiserver"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

const testIssuer = "https://kubernetes.default.svc"

// inCluster is a node with its own API, a cloudcore and an API server, with real links between
// them, and a pod shop/web on the node.
type inCluster struct {
	t     testing.TB
	up    *upstream
	store meta.Store
	api   *apiserver.Server
	http  *httptest.Server // the node's own API, for pods
	cloud *Controller
	key   *ecdsa.PrivateKey
	mgr   *manager.Manager

	mu     sync.Mutex
	link   *hub.Client // nil while the link is cut
	cut    func()
	net    *memconn.Network
	server *hub.Server
	wg     sync.WaitGroup
}

// OpenStream opens a stream on the link.
func (s *inCluster) OpenStream(ctx context.Context, m hub.Message) (hub.Stream, error) {
	s.mu.Lock()
	link := s.link
	s.mu.Unlock()
	if link == nil {
		return nil, hub.ErrOffline
	}
	return link.OpenStream(ctx, m)
}

// Call asks the cloud.
func (s *inCluster) Call(ctx context.Context, m hub.Message) (hub.Message, error) {
	s.mu.Lock()
	link := s.link
	s.mu.Unlock()
	if link == nil {
		return hub.Message{}, hub.ErrOffline
	}
	return link.Call(ctx, m)
}

func newInCluster(t testing.TB, change func(*apiserver.Config), changeCloud func(*Config)) *inCluster {
	s := &inCluster{t: t, up: newUpstream(t), store: memstore.New(), net: memconn.New(memconn.Config{})}
	t.Cleanup(func() { s.store.Close() })
	var err error
	fatal := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fatal(err)
	rcfg := &rest.Config{Host: s.up.URL, BearerToken: "cloudcores-own"}
	nodeClient, err := impersonate.Client(rcfg, impersonate.Constrained)
	fatal(err)
	kube := controllertest.NewClientset(podOn("gate-7"), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "far", UID: "u-far"}, Spec: corev1.PodSpec{NodeName: "gate-8"}})
	cfg := Config{Cloud: kube, NodeClient: nodeClient, REST: rcfg, Accounts: &accounts{}, Namespace: "edgekit-system"}
	if changeCloud != nil {
		changeCloud(&cfg)
	}
	s.cloud, err = New(cfg)
	fatal(err)
	mux := &hub.Mux{}
	s.cloud.Handle(mux)
	s.server, err = hub.NewServer(hub.ServerConfig{Listener: s.net, Mux: mux, Directory: hub.DirectoryFunc(func(context.Context, hub.Hello) (hub.Node, error) { return hub.Node{}, nil })})
	fatal(err)
	s.mgr, err = manager.New(manager.Config{Store: s.store, Caller: s, Node: "gate-7"})
	fatal(err)
	acfg := apiserver.Config{
		Store: s.store, Node: "gate-7", Cloud: s.mgr, Transport: manager.NewTransport(s, wire.Stream),
		Connected: func() (bool, time.Time) { info := s.mgr.Connection(); return info.Connected, info.Since },
		FollowLink: func(ctx context.Context, changed func(bool)) {
			for info := range s.mgr.Connections(ctx) {
				changed(info.Connected)
			}
		},
	}
	if change != nil {
		change(&acfg)
	}
	s.api, err = apiserver.New(acfg)
	fatal(err)
	s.putLocal(wire.IssuerResource, "", wire.IssuerName, s.issuer())
	s.putLocal("pods", "shop", "web", map[string]any{"metadata": map[string]any{"namespace": "shop", "name": "web", "uid": "u-1", "resourceVersion": "5"},
		"spec": map[string]any{"nodeName": "gate-7", "serviceAccountName": "clerk"}})
	s.run()
	return s
}

// run starts all parts.
func (s *inCluster) run() {
	ctx, cancel := context.WithCancel(context.Background())
	for _, run := range []func(context.Context) error{s.server.Run, s.cloud.Run, s.mgr.Run, s.api.Run} {
		s.wg.Go(func() {
			if err := run(ctx); err != nil {
				s.t.Error(err)
			}
		})
	}
	s.http = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rctx, stop := context.WithCancel(r.Context())
		defer stop()
		defer context.AfterFunc(ctx, stop)()
		s.api.Handler().ServeHTTP(w, r.WithContext(rctx))
	}))
	s.http.Start()
	s.t.Cleanup(func() {
		s.disconnect()
		cancel()
		s.http.Close()
		s.net.Close()
		s.wg.Wait()
		for _, d := range []httpDoer{s.cloud.forward.anonymous, s.cloud.forward.nodeClient} {
			if hc, ok := d.(*http.Client); ok {
				hc.CloseIdleConnections()
			}
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	s.connect()
}

// connect makes the link.
func (s *inCluster) connect() {
	up := make(chan struct{})
	link, err := hub.NewClient(hub.ClientConfig{Dialer: s.net.Dialer("gate-7"), Node: "gate-7", Connected: []func(hub.Info){func(info hub.Info) {
		if err := s.mgr.NodeConnection(context.Background(), info); err != nil {
			s.t.Error(err)
		}
		if info.Connected {
			close(up)
		}
	}}})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := link.Run(ctx); err != nil {
			s.t.Error(err)
		}
	})
	s.mu.Lock()
	s.link = link
	s.cut = func() { cancel(); running.Wait() }
	s.mu.Unlock()
	<-up
}

// disconnect cuts the link; the node knows it when this returns.
func (s *inCluster) disconnect() {
	s.mu.Lock()
	cut := s.cut
	s.link, s.cut = nil, nil
	s.mu.Unlock()
	if cut != nil {
		cut()
	}
}

func (s *inCluster) issuer() any {
	point, err := s.key.PublicKey.Bytes()
	if err != nil {
		s.t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return wire.Issuer{Issuer: testIssuer, JWKS: json.RawMessage(fmt.Sprintf(
		`{"keys":[{"use":"sig","kty":"EC","kid":"k1","alg":"ES256","crv":"P-256","x":%q,"y":%q}]}`, b64(point[1:33]), b64(point[33:])))}
}

// putLocal stores an object on the node as the link would.
func (s *inCluster) putLocal(resource, namespace, name string, obj any) {
	body, err := json.Marshal(obj)
	if err != nil {
		s.t.Fatal(err)
	}
	version := "1"
	if fields, ok := obj.(map[string]any); ok {
		version, _ = fields["metadata"].(map[string]any)["resourceVersion"].(string)
	}
	key := meta.Key{Resource: resource, Namespace: namespace, Name: name}
	if _, err := s.store.Apply(context.Background(), meta.Op{Key: meta.Down + key.Path(), Value: meta.EncodeObject(meta.Object{Version: version, Body: body})}); err != nil {
		s.t.Fatal(err)
	}
}

// allow gives the pod's account a right by the rules on the node.
func (s *inCluster) allow(groups []string, found ...string) {
	s.putLocal("clusterroles", "", "all", map[string]any{"metadata": map[string]any{"name": "all", "resourceVersion": "1"},
		"rules": []any{map[string]any{"apiGroups": groups, "resources": found, "verbs": []string{"*"}}}})
	s.putLocal("clusterrolebindings", "", "all", map[string]any{"metadata": map[string]any{"name": "all", "resourceVersion": "1"},
		"roleRef": map[string]any{"kind": "ClusterRole", "name": "all"}, "subjects": []any{map[string]any{"kind": "ServiceAccount", "namespace": "shop", "name": "clerk"}}})
}

// token signs a token for a pod; change may alter its claims.
func (s *inCluster) token(pod, uid string, change func(claims map[string]any)) string {
	claims := map[string]any{
		"iss": testIssuer, "aud": []string{testIssuer}, "sub": "system:serviceaccount:shop:clerk", "exp": time.Now().Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{"namespace": "shop", "pod": map[string]any{"name": pod, "uid": uid}, "serviceaccount": map[string]any{"name": "clerk", "uid": "sa"}},
	}
	if change != nil {
		change(claims)
	}
	enc := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			s.t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := enc(map[string]any{"alg": "ES256", "kid": "k1"}) + "." + enc(claims)
	sum := sha256.Sum256([]byte(text))
	r, ss, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	if err != nil {
		s.t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(append(r.FillBytes(make([]byte, 32)), ss.FillBytes(make([]byte, 32))...))
}

func (s *inCluster) web() string { return s.token("web", "u-1", nil) }

// config is what a program in the pod has.
func (s *inCluster) config() *rest.Config {
	transport := &http.Transport{}
	s.t.Cleanup(transport.CloseIdleConnections)
	token := s.web()
	json := rest.ContentConfig{ContentType: "application/json", AcceptContentTypes: "application/json"} // upstream knows no other
	return &rest.Config{Host: s.http.URL, QPS: -1, ContentConfig: json, WrapTransport: func(http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			r.Header.Set("Authorization", "Bearer "+token)
			return transport.RoundTrip(r)
		})
	}}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// ask makes one request with a token and returns the answer with its body.
func (s *inCluster) ask(method, token, path, body string, header ...string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.http.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp, string(text)
}

// until waits for a condition. client-go waits up to half a minute between two attempts.
func (s *inCluster) until(what string, ok func() bool) { s.t.Helper(); hubtest.Until(s.t, what, ok) }
