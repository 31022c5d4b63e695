package asnode_test

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

	"github.com/edgekit/edgekit/controller/asnode"
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
	client, err := asnode.Client(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range []string{"edge-1", "edge-2"} {
		pod, err := client.CoreV1().Pods("a").Get(asnode.With(t.Context(), node), "p", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		a := pod.Annotations
		if a["user"] != "system:node:"+node || a["groups"] != "system:nodes,system:authenticated" || a["token"] != "Bearer secret" {
			t.Errorf("asked as %v", a)
		}
	}
	for name, ctx := range map[string]context.Context{
		"no node": t.Context(), "empty": asnode.With(t.Context(), ""), "no name of a node": asnode.With(t.Context(), "a\nImpersonate-Group: system:masters"),
	} {
		if _, err := client.CoreV1().Pods("a").Get(ctx, "p", metav1.GetOptions{}); !errors.Is(err, asnode.ErrNoNode) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if cfg.WrapTransport != nil {
		t.Error("the caller's configuration was changed")
	}
	if _, err := asnode.Client(nil); err == nil {
		t.Error("no configuration was taken")
	}
	if _, err := asnode.Client(&rest.Config{Impersonate: rest.ImpersonationConfig{UserName: "x"}}); err == nil {
		t.Error("a configuration that impersonates was taken")
	}
}

func ExampleClient() {
	s := echo(nil)
	defer s.Close()
	client, err := asnode.Client(&rest.Config{Host: s.URL})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := asnode.With(context.Background(), "edge-7")
	pod, err := client.CoreV1().Pods("a").Get(ctx, "p", metav1.GetOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(pod.Annotations["user"])
	// Output: system:node:edge-7
}
