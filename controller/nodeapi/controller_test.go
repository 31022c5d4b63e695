package nodeapi

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
	"golang.org/x/sync/semaphore"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/impersonate"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

// accounts is a fixed answer of which pods a node has.
type accounts struct {
	by      map[string]map[cache.Name]struct{}
	changed func(string)
	asked   []string // for which nodes
}

func (a *accounts) Accounts(node string) map[cache.Name]struct{} {
	a.asked = append(a.asked, node)
	return a.by[node]
}
func (a *accounts) OnPods(changed func(string)) { a.changed = changed }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func versions(t *testing.T, s hub.Source) []string {
	t.Helper()
	seq, err := s.Versions(t.Context())
	must(t, err)
	var all []string
	for key, version := range seq {
		all = append(all, key.String()+"@"+version)
	}
	slices.Sort(all)
	return all
}

func objectMeta(namespace, name, version string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, ResourceVersion: version}
}

// accessObjects are two Namespaces with what a node may need to know of them.
func accessObjects() []runtime.Object {
	return []runtime.Object{
		&rbacv1.Role{ObjectMeta: objectMeta("shop", "reader", "3")},
		&rbacv1.Role{ObjectMeta: objectMeta("shop", "other", "4")},
		&rbacv1.RoleBinding{ObjectMeta: objectMeta("shop", "clerks", "5"), RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "reader"},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "clerk"}}},
		&rbacv1.RoleBinding{ObjectMeta: objectMeta("shop", "others", "6"), RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "other"},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "boss", Namespace: "shop"}}},
		&rbacv1.ClusterRole{ObjectMeta: objectMeta("", "basic", "7")},
		&rbacv1.ClusterRoleBinding{ObjectMeta: objectMeta("", "basic", "8"), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "basic"},
			Subjects: []rbacv1.Subject{{Kind: "Group", Name: "system:authenticated"}}},
		&corev1.Namespace{ObjectMeta: objectMeta("", "shop", "1")},
		&corev1.Namespace{ObjectMeta: objectMeta("", "other", "2")},
		&corev1.Service{ObjectMeta: objectMeta("shop", "web", "9")},
		&discoveryv1.EndpointSlice{ObjectMeta: objectMeta("shop", "web-x", "10")},
	}
}

func TestSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clerk := cache.Name{Namespace: "shop", Name: "clerk"}
		who := &accounts{by: map[string]map[cache.Name]struct{}{"gate-7": {clerk: {}}}}
		kube := controllertest.NewClientset(accessObjects()...)
		c, err := New(Config{Cloud: kube, NodeClient: kube, Accounts: who, Namespace: "edgekit-system", Services: ServicesEvery})
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		defer func() {
			cancel()
			must(t, <-done)
		}()
		notified := make(chan hub.Key, 100)
		nothing := c.Source("gate-7", nil)
		stopNothing := nothing.Subscribe(func(k hub.Key) { t.Errorf("a node that wants nothing is told of %s", k) })
		defer stopNothing()
		if got := versions(t, nothing); len(got) != 0 {
			t.Errorf("a node that wants nothing gets %v", got)
		}
		all := c.Source("gate-7", []string{wire.Access, wire.Services})
		stop := all.Subscribe(func(k hub.Key) { notified <- k })
		defer stop()
		synctest.Wait()
		want := []string{"clusterrolebindings//basic@8", "clusterroles//basic@7", "endpointslices/shop/web-x@10", "namespaces//other@2", "namespaces//shop@1", "rolebindings/shop/clerks@5", "roles/shop/reader@3", "services/shop/web@9"}
		if got := versions(t, all); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		access := c.Source("gate-7", []string{wire.Access})
		if got := versions(t, access); slices.Contains(got, "namespaces//other@2") || !slices.Contains(got, "namespaces//shop@1") {
			t.Errorf("with no interest in Services got %v", got)
		}
		if o, err := access.Load(t.Context(), hub.Key{Resource: "namespaces", Name: "other"}, ""); err != nil || !o.Deleted {
			t.Errorf("with no interest in Services it keeps a Namespace: %+v, %v", o, err)
		}
		want = []string{"endpointslices/shop/web-x@10", "namespaces//other@2", "namespaces//shop@1", "services/shop/web@9"}
		if got := versions(t, c.Source("gate-7", []string{wire.Services})); !slices.Equal(got, want) {
			t.Errorf("with Services alone got %v, want %v", got, want)
		}
		for len(notified) > 0 {
			<-notified
		}
		// Another pod comes, with another account.
		who.by["gate-7"] = map[cache.Name]struct{}{clerk: {}, {Namespace: "shop", Name: "boss"}: {}}
		who.changed("gate-7")
		got := []string{(<-notified).String(), (<-notified).String()}
		if slices.Sort(got); !slices.Equal(got, []string{"rolebindings/shop/others", "roles/shop/other"}) {
			t.Errorf("told of %v", got)
		}
		who.by["gate-7"] = map[cache.Name]struct{}{clerk: {}}
		for key, deleted := range map[hub.Key]bool{
			{Resource: "rolebindings", Namespace: "shop", Name: "others"}: true,
			{Resource: "rolebindings", Namespace: "shop", Name: "clerks"}: false,
			{Resource: "roles", Namespace: "shop", Name: "none"}:          true,
			{Resource: "namespaces", Name: "shop"}:                        false,
			{Resource: "namespaces", Name: "other"}:                       false,
			{Resource: "services", Namespace: "shop", Name: "web"}:        false,
			{Resource: "services", Namespace: "shop", Name: "none"}:       true,
		} {
			if o, err := all.Load(t.Context(), key, ""); err != nil || o.Deleted != deleted {
				t.Errorf("load %s: %+v, %v", key, o, err)
			}
			if o, err := nothing.Load(t.Context(), key, "1"); err != nil || !o.Deleted {
				t.Errorf("a node that wants nothing keeps %s: %+v, %v", key, o, err)
			}
		}
		tokens := c.Source("gate-9", []string{wire.Tokens})
		stopTokens := tokens.Subscribe(func(k hub.Key) { notified <- k })
		c.issuerChanged()
		if got := []string{(<-notified).String(), (<-notified).String()}; got[0] != hub.Key(wire.IssuerKey()).String() || got[1] != got[0] {
			t.Errorf("told of the issuer: %v", got) // the node with Access and the one with Tokens
		}
		if got := versions(t, tokens); len(got) != 0 {
			t.Errorf("a node that only checks tokens gets %v", got)
		}
		if _, err := tokens.Load(t.Context(), hub.Key(wire.IssuerKey()), ""); !errors.Is(err, hub.ErrLagging) {
			t.Errorf("the issuer for a node that only checks tokens: %v", err)
		}
		stopTokens()
		if _, err := all.Load(t.Context(), hub.Key(wire.IssuerKey()), ""); !errors.Is(err, hub.ErrLagging) {
			t.Errorf("the issuer before it is known: %v", err)
		}
	})
}

// token makes something that has the form and the claims of a token.
func token(namespace, pod, uid string) string {
	claims := fmt.Sprintf(`{"kubernetes.io":{"namespace":%q,"pod":{"name":%q,"uid":%q}}}`, namespace, pod, uid)
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

// podOn is a pod that runs on a node.
func podOn(node string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u-1"}, Spec: corev1.PodSpec{NodeName: node}}
}

// remoteText is the text of an error that a node gets.
func remoteText(err error) string {
	if e, ok := errors.AsType[*hub.Error](err); ok {
		return e.Text
	}
	return ""
}

// TestCall sends requests to an API server that answers with the user.
func TestCall(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Warning", `299 - "old"`)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "%s %s auth=%q as=%q groups=%q %s", r.Method, r.URL, r.Header.Get("Authorization"), r.Header.Get("Impersonate-User"),
			strings.Join(r.Header.Values("Impersonate-Group"), ","), body)
	}))
	defer server.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	cfg := &rest.Config{Host: server.URL, BearerToken: "cloudcores-own"}
	nodeClient, err := impersonate.Client(cfg, impersonate.Legacy)
	must(t, err)
	kube := controllertest.NewClientset(
		podOn("gate-7"),
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "far", UID: "u-2"}, Spec: corev1.PodSpec{NodeName: "gate-8"}},
	)
	c, err := New(Config{Cloud: kube, NodeClient: nodeClient, REST: cfg, Accounts: &accounts{}, Namespace: "edgekit-system"})
	must(t, err)
	ask := func(r wire.Request) (wire.Response, error) {
		t.Helper()
		text, err := r.Encode()
		must(t, err)
		answer, err := c.call(t.Context(), hub.Request{Node: "gate-7", Message: hub.Message{Operation: hub.Query, Key: hub.Key{Resource: wire.Call, Name: "request"}, Body: text}})
		if err != nil {
			return wire.Response{}, err
		}
		return wire.DecodeResponse(answer.Body)
	}
	own := token("shop", "web", "u-1")
	for name, tt := range map[string]struct {
		ask  wire.Request
		want string
	}{
		"as the node":    {wire.Request{Method: "DELETE", Path: "/api/v1/namespaces/shop/pods/web", Body: []byte("{}")}, `DELETE /api/v1/namespaces/shop/pods/web auth="Bearer cloudcores-own" as="system:node:gate-7" groups="system:nodes,system:authenticated" {}`},
		"with the token": {wire.Request{Method: "POST", Path: "/apis/apps/v1/namespaces/shop/deployments", Query: "dryRun=All", Token: own, Body: []byte("x")}, `POST /apis/apps/v1/namespaces/shop/deployments?dryRun=All auth="Bearer ` + own + `" as="" groups="" x`},
	} {
		got, err := ask(tt.ask)
		if err != nil || string(got.Body) != tt.want || got.Code != http.StatusCreated || len(got.Warnings) != 1 {
			t.Errorf("%s: %d %s %v, want %s", name, got.Code, got.Body, err, tt.want)
		}
	}
	for name, bad := range map[string]wire.Request{
		"a pod of another node":    {Method: "GET", Path: "/api/v1/pods", Token: token("shop", "far", "u-2")},
		"another pod of that name": {Method: "GET", Path: "/api/v1/pods", Token: token("shop", "web", "u-9")},
		"a pod that is gone":       {Method: "GET", Path: "/api/v1/pods", Token: token("shop", "gone", "u-3")},
		"bound to no pod":          {Method: "GET", Path: "/api/v1/pods", Token: token("shop", "", "")},
		"no token":                 {Method: "GET", Path: "/api/v1/pods", Token: "a.b"},
		"a header in the token":    {Method: "GET", Path: "/api/v1/pods", Token: "a.b.c\r\nImpersonate-User: admin"},
		"exec":                     {Method: "POST", Path: "/api/v1/namespaces/shop/pods/web/exec", Token: own},
		"a node's proxy":           {Method: "GET", Path: "/api/v1/nodes/gate-8/proxy/pods", Token: own},
		"a watch":                  {Method: "GET", Path: "/api/v1/pods", Query: "watch=1", Token: own},
		"an old watch":             {Method: "GET", Path: "/api/v1/watch/pods", Token: own},
		"no resource":              {Method: "GET", Path: "/metrics"},
		"no leading slash":         {Method: "GET", Path: "api/v1/pods"},
		"no resource, with dots":   {Method: "GET", Path: "/api/v1/../../metrics"},
		"a method":                 {Method: "CONNECT", Path: "/api/v1/pods"},
		"a certificate":            {Method: "POST", Path: "/apis/certificates.k8s.io/v1/certificatesigningrequests"},
		"a token as the node":      {Method: "POST", Path: "/api/v1/namespaces/shop/serviceaccounts/clerk/token"},
	} {
		var peer *hub.Error
		if got, err := ask(bad); !errors.As(err, &peer) || !peer.Final() {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if hc, ok := c.forward.anonymous.(*http.Client); ok {
		hc.CloseIdleConnections()
	}
	if hc, ok := c.forward.nodeClient.(*http.Client); ok {
		hc.CloseIdleConnections()
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("GET", "/api/v1/pods", "", "")
	f.Add("GET", "api/v1/pods", "", "") // was taken once
	f.Add("GET", "apis/apps/v1/pods", "", "")
	f.Add("POST", "/apis/apps/v1/namespaces/a/deployments/b/scale", "dryRun=All", "a.b.c")
	f.Fuzz(func(t *testing.T, method, path, query, token string) {
		if err := checkRequest("n", wire.Request{Method: method, Path: path, Query: query, Token: token}); err != nil {
			return
		}
		if !strings.HasPrefix(path, "/api") || strings.Contains(path, "..") && strings.Contains(path, "/../") || strings.HasSuffix(path, "/proxy") {
			t.Errorf("%q was taken", path)
		}
	})
}

// TestAnswersAreBounded: the API server sends answers that are too large. One whose
// Content-Length says so is not read at all.
func TestAnswersAreBounded(t *testing.T) {
	f := forwarder{memory: semaphore.NewWeighted(maxAnswers), log: slog.New(slog.DiscardHandler)}
	for _, tt := range []struct {
		name string
		size int64
		said int64
		read int64 // at most
		code hub.Code
	}{
		{"fits", maxAnswer, maxAnswer, maxAnswer, 0},
		{"fits, not said", maxAnswer, -1, maxAnswer, 0},
		{"too large and says so", maxAnswer + 1, maxAnswer + 1, 0, hub.CodeInvalid},
		{"too large, not said", 10 * maxAnswer, -1, maxAnswer + 1, hub.CodeInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rest := &io.LimitedReader{R: zeros{}, N: tt.size}
			body, err := f.readAnswer(t.Context(), &http.Response{ContentLength: tt.said, Body: io.NopCloser(rest)})
			e, _ := errors.AsType[*hub.Error](err)
			if (err == nil) != (tt.code == 0) || e != nil && e.Code != tt.code {
				t.Errorf("%d bytes, %v", len(body), err)
			}
			if read := tt.size - rest.N; read > tt.read {
				t.Errorf("%d bytes were read, at most %d may be", read, tt.read)
			}
			if !f.memory.TryAcquire(maxAnswers) {
				t.Fatal("room was not given back")
			}
			f.memory.Release(maxAnswers)
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if !f.memory.TryAcquire(maxAnswers) {
		t.Fatal("no room")
	}
	if _, err := f.readAnswer(ctx, &http.Response{ContentLength: -1, Body: http.NoBody}); !errors.Is(err, &hub.Error{Code: hub.CodeUnavailable}) {
		t.Errorf("without room: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
