package impersonate_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/controller/internal/impersonate"
)

// echo answers every request with a pod whose labels tell who asked.
func echo(t testing.TB) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","annotations":{"user":%q,"groups":%q,"token":%q}}}`,
			r.Header.Get("Impersonate-User"), strings.Join(r.Header.Values("Impersonate-Group"), ","), r.Header.Get("Authorization"))
	}))
	if t != nil {
		t.Cleanup(s.Close)
	}
	return s
}

func TestClient(t *testing.T) {
	s := echo(t)
	cfg := &rest.Config{Host: s.URL, BearerToken: "secret"}
	client, err := impersonate.Client(cfg, impersonate.Legacy)
	if err != nil {
		t.Fatal(err)
	}
	alone, err := impersonate.Client(cfg, impersonate.Constrained)
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range []string{"edge-1", "edge-2"} {
		if pod, err := alone.CoreV1().Pods("a").Get(impersonate.With(t.Context(), node), "p", metav1.GetOptions{}); err != nil ||
			pod.Annotations["user"] != "system:node:"+node || pod.Annotations["groups"] != "" {
			t.Errorf("constrained: asked as %v, %v", pod.Annotations, err)
		}
		pod, err := client.CoreV1().Pods("a").Get(impersonate.With(t.Context(), node), "p", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		a := pod.Annotations
		if a["user"] != "system:node:"+node || a["groups"] != "system:nodes,system:authenticated" || a["token"] != "Bearer secret" {
			t.Errorf("asked as %v", a)
		}
	}
	for name, ctx := range map[string]context.Context{
		"no node": t.Context(), "empty": impersonate.With(t.Context(), ""), "no name of a node": impersonate.With(t.Context(), "a\nImpersonate-Group: system:masters"),
	} {
		if _, err := client.CoreV1().Pods("a").Get(ctx, "p", metav1.GetOptions{}); !errors.Is(err, impersonate.ErrNoNode) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if cfg.WrapTransport != nil {
		t.Error("the caller's configuration was changed")
	}
	if _, err := impersonate.Client(nil, impersonate.Legacy); err == nil {
		t.Error("no configuration was taken")
	}
	if _, err := impersonate.Client(&rest.Config{Impersonate: rest.ImpersonationConfig{UserName: "x"}}, impersonate.Legacy); err == nil {
		t.Error("a configuration that impersonates was taken")
	}
}

// TestDetect uses API servers that add the group of nodes, that do not, and that refuse
// or do not know the request.
func TestDetect(t *testing.T) {
	const review = `{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1","status":{"userInfo":{"groups":[%s]}}}`
	for name, tt := range map[string]struct {
		code int
		body string
		want impersonate.Mode
		fail bool
	}{
		"it adds the group":      {201, fmt.Sprintf(review, `"system:nodes","system:authenticated"`), impersonate.Constrained, false},
		"it adds no group":       {201, fmt.Sprintf(review, `"system:authenticated"`), impersonate.Legacy, false},
		"no right":               {403, `{"kind":"Status","apiVersion":"v1","reason":"Forbidden","code":403}`, impersonate.Legacy, false},
		"it is too old":          {404, `{"kind":"Status","apiVersion":"v1","reason":"NotFound","code":404}`, impersonate.Legacy, false},
		"it is out of order":     {500, `{"kind":"Status","apiVersion":"v1","reason":"InternalError","code":500}`, "", true},
		"it sends one elsewhere": {302, ``, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Impersonate-User") == "" || r.Header.Get("Impersonate-Group") != "" {
					t.Errorf("asked with %v", r.Header)
				}
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Location", "/stolen")
				w.WriteHeader(tt.code)
				fmt.Fprint(w, tt.body)
			}))
			defer s.Close()
			got, err := impersonate.Detect(t.Context(), &rest.Config{Host: s.URL})
			if got != tt.want || (err != nil) != tt.fail {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// TestNoRedirect: an API server redirects the client, which sends no credentials there.
func TestNoRedirect(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("another host was asked") }))
	defer other.Close()
	s := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusFound))
	defer s.Close()
	client, err := impersonate.Client(&rest.Config{Host: s.URL, BearerToken: "secret"}, impersonate.Constrained)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Pods("a").Get(impersonate.With(t.Context(), "edge-1"), "p", metav1.GetOptions{}); err == nil {
		t.Error("a redirect is a pod")
	}
}

func ExampleClient() {
	s := echo(nil)
	defer s.Close()
	client, err := impersonate.Client(&rest.Config{Host: s.URL}, impersonate.Constrained)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := impersonate.With(context.Background(), "edge-7")
	pod, err := client.CoreV1().Pods("a").Get(ctx, "p", metav1.GetOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(pod.Annotations["user"])
	// Output: system:node:edge-7
}
