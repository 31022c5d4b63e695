package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
)

// putSync stores an EdgeSync of recipes as the link would.
func (sc *scene) putSync(name string, change func(*wire.EdgeSync)) {
	sc.t.Helper()
	e := wire.EdgeSync{Group: "factory.example.com", Version: "v1", Resource: "recipes", Kind: "Recipe", ShortNames: []string{"rc"}, Namespaced: true}
	if change != nil {
		change(&e)
	}
	body, err := e.Encode()
	must(sc.t, err)
	key := meta.Key{Resource: wire.EdgeSyncsResource, Name: name}
	sc.apply(meta.Op{Key: meta.Down + key.Path(), Value: meta.EncodeObject(meta.Object{Version: "1", Body: body})})
}

func recipe(namespace, name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "factory.example.com/v1", "kind": "Recipe", "metadata": map[string]any{"namespace": namespace, "name": name},
		"spec": map[string]any{"steps": int64(3)},
	}}
}

const (
	recipesPath   = "/apis/factory.example.com/v1/recipes"
	storedRecipes = "synced.recipes.v1.factory.example.com"
)

// TestSynced: what an EdgeSync names is served while it is there: discovery, lists, single objects
// and watches, offline.
func TestSynced(t *testing.T) {
	for name, run := range map[string]bool{"with Run": true, "handler alone": false} {
		t.Run(name, func(t *testing.T) { testSynced(t, run) })
	}
}

func testSynced(t *testing.T, run bool) {
	sc := newScene(t, nil)
	if run {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = sc.Run(ctx) })
		defer wg.Wait()
		defer cancel()
	}
	status := func(path string, want int) string {
		t.Helper()
		var code int
		var text string
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
			if code, text, _ = sc.get(path, ""); code == want {
				return text
			}
		}
		t.Fatalf("%s: %d %s, want %d", path, code, text, want)
		return ""
	}
	status(recipesPath, http.StatusServiceUnavailable)
	status("/apis/factory.example.com/v1", http.StatusServiceUnavailable)
	sc.putSync("all", nil)
	must(t, meta.MarkSynced(t.Context(), sc.store))
	if text := status(recipesPath, http.StatusOK); !strings.Contains(text, `"kind":"RecipeList"`) || !strings.Contains(text, `"items":[]`) {
		t.Errorf("an empty list: %s", text)
	}
	sc.put(storedRecipes, "7", recipe("plant", "bread"))
	sc.put(storedRecipes, "8", recipe("plant", "cake"))
	sc.put(storedRecipes, "9", recipe("other", "bread"))
	cfg := &rest.Config{Host: sc.http.URL, QPS: -1, Transport: &http.Transport{DisableKeepAlives: true}}
	disco, err := discovery.NewDiscoveryClientForConfig(cfg)
	must(t, err)
	_, lists, err := disco.ServerGroupsAndResources()
	must(t, err)
	found := ""
	for _, list := range lists {
		for _, r := range list.APIResources {
			if r.Name == "recipes" {
				found = fmt.Sprint(list.GroupVersion, " ", r.Kind, " ", r.Namespaced, " ", r.ShortNames)
			}
		}
	}
	if found != "factory.example.com/v1 Recipe true [rc]" {
		t.Errorf("discovery: %q", found)
	}
	dyn, err := dynamic.NewForConfig(cfg)
	must(t, err)
	recipes := dyn.Resource(schema.GroupVersionResource{Group: "factory.example.com", Version: "v1", Resource: "recipes"})
	list, err := recipes.Namespace("plant").List(t.Context(), metav1.ListOptions{})
	must(t, err)
	if len(list.Items) != 2 || list.Items[0].GetName() != "bread" {
		t.Errorf("list: %v", list.Items)
	}
	one, err := recipes.Namespace("other").Get(t.Context(), "bread", metav1.GetOptions{})
	must(t, err)
	if steps, _, _ := unstructured.NestedInt64(one.Object, "spec", "steps"); steps != 3 {
		t.Errorf("get: %v", one.Object)
	}
	status(recipesPath[:len(recipesPath)-len("recipes")]+"namespaces/plant/recipes/none", http.StatusNotFound)
	w, err := recipes.Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.GetResourceVersion()})
	must(t, err)
	defer w.Stop()
	sc.put(storedRecipes, "10", recipe("plant", "pie"))
	sc.drop(storedRecipes, "plant", "cake")
	var events []string
	for range 2 {
		e := <-w.ResultChan()
		o, ok := e.Object.(metav1.Object)
		if !ok {
			t.Fatalf("%+v", e)
		}
		events = append(events, fmt.Sprint(e.Type, " ", o.GetName()))
	}
	if got := strings.Join(events, ", "); got != "ADDED pie, DELETED cake" {
		t.Errorf("watch: %s", got)
	}
	if _, text, _ := sc.get(recipesPath, "application/json;as=Table;v=v1;g=meta.k8s.io"); !strings.Contains(text, `"Table"`) || !strings.Contains(text, "bread") {
		t.Errorf("table: %s", text)
	}
	sc.drop(wire.EdgeSyncsResource, "", "all")
	status(recipesPath, http.StatusServiceUnavailable)
	status("/apis/factory.example.com/v1", http.StatusServiceUnavailable)
}

// TestSyncedNamespaces: of namespaces that no EdgeSync names nothing is held, which is not the same as
// that there is nothing; where only some objects are held, nothing is known of others.
func TestSyncedNamespaces(t *testing.T) {
	sc := newScene(t, nil)
	must(t, meta.MarkSynced(t.Context(), sc.store))
	sc.putSync("plant", func(e *wire.EdgeSync) { e.Namespaces = []string{"plant"} })
	sc.putSync("some", func(e *wire.EdgeSync) { e.Namespaces, e.Some = []string{"some"}, true })
	sc.putSync("claims", func(e *wire.EdgeSync) { e.Group, e.Resource, e.Kind = "", "limitranges", "LimitRange" })
	sc.putSync("pods", func(e *wire.EdgeSync) { e.Group, e.Resource, e.Kind = "", "pods", "Other" })
	sc.apply(meta.Op{Key: meta.Down + wire.EdgeSyncsResource + "//bad", Value: meta.EncodeObject(meta.Object{Version: "1", Body: []byte("{")})})
	sc.put(storedRecipes, "7", recipe("plant", "bread"))
	base := "/apis/factory.example.com/v1/namespaces/"
	for path, want := range map[string]int{
		base + "plant/recipes": 200, base + "plant/recipes/bread": 200, base + "plant/recipes/none": 404,
		base + "some/recipes": 200, base + "some/recipes/none": 503, base + "far/recipes": 503, base + "far/recipes/none": 503,
		base + "far/recipes?watch=1": 503, recipesPath: 200, "/api/v1/limitranges": 200, "/api/v1/namespaces/x/limitranges/y": 404,
	} {
		if code, text, _ := sc.get(path, ""); code != want {
			t.Errorf("%s: %d %s, want %d", path, code, text, want)
		}
	}
	_, text, _ := sc.get("/api/v1", "")
	var all metav1.APIResourceList
	must(t, json.Unmarshal([]byte(text), &all))
	pods := 0
	for _, r := range all.APIResources {
		if r.Name == "pods" {
			pods++
		}
	}
	if pods != 1 {
		t.Errorf("pods are served %d times", pods)
	}
}
