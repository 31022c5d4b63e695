package sites

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// fakeAPI is an API server without a network, so that it works in a bubble: lists in pages, watches,
// versions, discovery, and faults on request. It is a RoundTripper for real clients.
type fakeAPI struct {
	mu       sync.Mutex
	version  int
	objects  map[string]*unstructured.Unstructured // by collection/namespace/name
	watchers map[*fakeWatch]struct{}
	kinds    map[string]metav1.APIResource // by group/version/resource
	refuse   func(verb, path string) error // nil lets all through
	calls    map[string]int                // by verb and collection
	held     func(verb, path string) bool  // requests that wait for free
	free     chan struct{}
}

type fakeWatch struct {
	collection, namespace string
	selector              labels.Selector
	events                chan []byte
	done                  chan struct{}
	once                  sync.Once
}

func newFakeAPI() *fakeAPI {
	return &fakeAPI{
		version: 100, objects: make(map[string]*unstructured.Unstructured), watchers: make(map[*fakeWatch]struct{}),
		kinds: make(map[string]metav1.APIResource), calls: make(map[string]int),
	}
}

func (a *fakeAPI) clients(t *testing.T) (kubernetes.Interface, dynamic.Interface) {
	t.Helper()
	cfg := &rest.Config{Host: "http://api", QPS: -1}
	hc := &http.Client{Transport: a}
	kube, err := kubernetes.NewForConfigAndClient(cfg, hc)
	if err != nil {
		t.Fatal(err)
	}
	dyn, err := dynamic.NewForConfigAndClient(cfg, hc)
	if err != nil {
		t.Fatal(err)
	}
	return kube, dyn
}

// serve has discovery know a resource.
func (a *fakeAPI) serve(gvr schema.GroupVersionResource, kind string, namespaced bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kinds[collectionOf(gvr)] = metav1.APIResource{Name: gvr.Resource, Kind: kind, SingularName: strings.ToLower(kind), Namespaced: namespaced, Verbs: metav1.Verbs{"get", "list", "watch", "create"}}
}

func collectionOf(gvr schema.GroupVersionResource) string {
	if gvr.Group == "" {
		return "api/" + gvr.Version + "/" + gvr.Resource
	}
	return "apis/" + gvr.Group + "/" + gvr.Version + "/" + gvr.Resource
}

// put writes an object and returns its version.
func (a *fakeAPI) put(collection string, u *unstructured.Unstructured) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.putLocked(collection, u)
}

func (a *fakeAPI) putLocked(collection string, u *unstructured.Unstructured) string {
	key := collection + "/" + u.GetNamespace() + "/" + u.GetName()
	old := a.objects[key]
	a.version++
	u = u.DeepCopy()
	u.SetResourceVersion(strconv.Itoa(a.version))
	a.objects[key] = u
	kind := "ADDED"
	if old != nil {
		kind = "MODIFIED"
	}
	a.sendLocked(collection, kind, old, u)
	return u.GetResourceVersion()
}

func (a *fakeAPI) remove(collection, namespace, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := collection + "/" + namespace + "/" + name
	old := a.objects[key]
	if old == nil {
		return
	}
	delete(a.objects, key)
	a.version++
	gone := old.DeepCopy()
	gone.SetResourceVersion(strconv.Itoa(a.version))
	a.sendLocked(collection, "DELETED", old, gone)
}

// get returns an object, nil if there is none.
func (a *fakeAPI) get(collection, namespace, name string) *unstructured.Unstructured {
	a.mu.Lock()
	defer a.mu.Unlock()
	if u := a.objects[collection+"/"+namespace+"/"+name]; u != nil {
		return u.DeepCopy()
	}
	return nil
}

func (a *fakeAPI) sendLocked(collection, kind string, old, u *unstructured.Unstructured) {
	for w := range a.watchers {
		if w.collection != collection || w.namespace != "" && w.namespace != u.GetNamespace() {
			continue
		}
		had, has := old != nil && w.selector.Matches(labels.Set(old.GetLabels())), w.selector.Matches(labels.Set(u.GetLabels()))
		switch {
		case !had && !has:
		case kind == "DELETED" || had && !has:
			w.send("DELETED", u.Object)
		case had:
			w.send("MODIFIED", u.Object)
		default:
			w.send("ADDED", u.Object)
		}
	}
}

func (w *fakeWatch) send(kind string, object any) {
	b, err := json.Marshal(map[string]any{"type": kind, "object": object})
	if err != nil {
		panic(err)
	}
	select {
	case w.events <- append(b, '\n'):
	default:
		w.once.Do(func() { close(w.done) }) // it does not keep up
	}
}

// breakWatches ends all watches of a collection; with an error they send it first.
func (a *fakeAPI) breakWatches(collection string, err *apierrors.StatusError) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for w := range a.watchers {
		if w.collection != collection {
			continue
		}
		if err != nil {
			status := err.Status()
			status.Kind, status.APIVersion = "Status", "v1"
			w.send("ERROR", status)
		}
		delete(a.watchers, w)
		w.once.Do(func() { close(w.done) })
	}
}

func (a *fakeAPI) count(call string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls[call]
}

// hold has some requests wait until release is called.
func (a *fakeAPI) hold(which func(verb, path string) bool) (release func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held, a.free = which, make(chan struct{})
	return sync.OnceFunc(func() { close(a.free) })
}

// waitFree waits for release if the request is held.
func (a *fakeAPI) waitFree(r *http.Request) error {
	a.mu.Lock()
	held, free := a.held, a.free
	a.mu.Unlock()
	verb := "list"
	if r.URL.Query().Get("watch") != "" {
		verb = "watch"
	}
	if held == nil || !held(verb, r.URL.Path) {
		return nil
	}
	select {
	case <-free:
		return nil
	case <-r.Context().Done():
		return r.Context().Err()
	}
}

// RoundTrip answers a request.
func (a *fakeAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := a.waitFree(r); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	n := 3 // of the collection: api/v1/nodes, apis/group/version/resource
	if parts[0] == "apis" {
		n = 4
	}
	if len(parts) == n-1 {
		return a.discovery(r, strings.Join(parts, "/"))
	}
	namespace := ""
	if len(parts) >= n+2 && parts[n-1] == "namespaces" {
		namespace = parts[n]
		parts = slices.Delete(parts, n-1, n+1)
	}
	collection := strings.Join(parts[:n], "/")
	q := r.URL.Query()
	verb := map[string]string{"GET": "list", "PUT": "update"}[r.Method]
	switch {
	case q.Get("watch") != "":
		verb = "watch"
	case r.Method == http.MethodGet && len(parts) > n:
		verb = "get"
	}
	a.calls[verb+" "+parts[n-1]]++
	if a.refuse != nil {
		if err := a.refuse(verb, r.URL.Path); err != nil {
			return answer(r, err)
		}
	}
	if _, ok := a.kinds[collection]; !ok {
		return answer(r, errNoResource)
	}
	switch verb {
	case "get":
		u := a.objects[collection+"/"+namespace+"/"+parts[n]]
		if u == nil {
			return answer(r, apierrors.NewNotFound(schema.GroupResource{Resource: parts[n-1]}, parts[n]))
		}
		return answer(r, u.Object)
	case "update":
		return a.updateStatus(r, collection, parts[n])
	case "watch":
		return a.watch(r, collection, namespace)
	}
	return a.list(r, collection, namespace)
}

// errNoResource is answered for a path that is not served.
var errNoResource = &apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusNotFound, Message: "404 page not found"}}

func (a *fakeAPI) discovery(r *http.Request, gv string) (*http.Response, error) {
	a.calls["discovery"]++
	if a.refuse != nil {
		if err := a.refuse("discovery", r.URL.Path); err != nil {
			return answer(r, err)
		}
	}
	list := metav1.APIResourceList{GroupVersion: strings.TrimPrefix(gv, "apis/")}
	for key, resource := range a.kinds {
		if strings.HasPrefix(key, gv+"/") {
			list.APIResources = append(list.APIResources, resource)
		}
	}
	if len(list.APIResources) == 0 {
		return answer(r, errNoResource)
	}
	return answer(r, list)
}

func (a *fakeAPI) selected(r *http.Request, collection, namespace string) (keys []string, selector labels.Selector) {
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		panic(err)
	}
	for _, key := range slices.Sorted(maps.Keys(a.objects)) {
		u := a.objects[key]
		if strings.HasPrefix(key, collection+"/") && (namespace == "" || u.GetNamespace() == namespace) && selector.Matches(labels.Set(u.GetLabels())) {
			keys = append(keys, key)
		}
	}
	return keys, selector
}

func (a *fakeAPI) list(r *http.Request, collection, namespace string) (*http.Response, error) {
	keys, _ := a.selected(r, collection, namespace)
	from := r.URL.Query().Get("continue")
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	meta := map[string]any{"resourceVersion": strconv.Itoa(a.version)}
	items := []any{}
	for _, key := range keys {
		if key <= from {
			continue
		}
		if limit > 0 && len(items) == limit {
			meta["continue"] = last(items, collection)
			break
		}
		items = append(items, a.objects[key].Object)
	}
	kind := a.kinds[collection].Kind
	return answer(r, map[string]any{"kind": kind + "List", "apiVersion": strings.TrimPrefix(strings.TrimPrefix(collection[:strings.LastIndex(collection, "/")], "apis/"), "api/"), "metadata": meta, "items": items})
}

func last(items []any, collection string) string {
	u := unstructured.Unstructured{Object: items[len(items)-1].(map[string]any)} //nolint:forcetypeassert // put it in
	return collection + "/" + u.GetNamespace() + "/" + u.GetName()
}

func (a *fakeAPI) watch(r *http.Request, collection, namespace string) (*http.Response, error) {
	keys, selector := a.selected(r, collection, namespace)
	w := &fakeWatch{collection: collection, namespace: namespace, selector: selector, events: make(chan []byte, 50_000), done: make(chan struct{})}
	q := r.URL.Query()
	since, _ := strconv.Atoi(q.Get("resourceVersion"))
	initial := q.Get("sendInitialEvents") == "true"
	for _, key := range keys {
		if version, _ := strconv.Atoi(a.objects[key].GetResourceVersion()); initial || version > since {
			w.send("ADDED", a.objects[key].Object)
		}
	}
	if initial {
		kind := a.kinds[collection].Kind
		w.send("BOOKMARK", map[string]any{"kind": kind, "apiVersion": strings.TrimPrefix(strings.TrimPrefix(collection[:strings.LastIndex(collection, "/")], "apis/"), "api/"),
			"metadata": map[string]any{"resourceVersion": strconv.Itoa(a.version), "annotations": map[string]any{metav1.InitialEventsAnnotationKey: "true"}}})
	}
	a.watchers[w] = struct{}{}
	in, out := io.Pipe()
	go func() {
		defer out.Close()
		for {
			select {
			case b := <-w.events:
				if _, err := out.Write(b); err != nil {
					return
				}
				continue
			default:
			}
			select {
			case b := <-w.events:
				if _, err := out.Write(b); err != nil {
					return
				}
			case <-w.done:
				return
			case <-r.Context().Done():
				out.CloseWithError(r.Context().Err())
				return
			}
		}
	}()
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: in, Request: r}, nil
}

func (a *fakeAPI) updateStatus(r *http.Request, collection, name string) (*http.Response, error) {
	var u unstructured.Unstructured
	if err := json.NewDecoder(r.Body).Decode(&u.Object); err != nil {
		return answer(r, apierrors.NewBadRequest(err.Error()))
	}
	have := a.objects[collection+"//"+name]
	if have == nil {
		return answer(r, apierrors.NewNotFound(schema.GroupResource{}, name))
	}
	if have.GetResourceVersion() != u.GetResourceVersion() {
		return answer(r, apierrors.NewConflict(schema.GroupResource{}, name, fmt.Errorf("it is %s", have.GetResourceVersion())))
	}
	next := have.DeepCopy()
	next.Object["status"] = u.Object["status"]
	a.putLocked(collection, next)
	return answer(r, a.objects[collection+"//"+name].Object)
}

func answer(r *http.Request, body any) (*http.Response, error) {
	code := http.StatusOK
	if err, ok := body.(error); ok {
		status, ok := err.(*apierrors.StatusError) //nolint:errorlint // the test made it
		if !ok {
			return nil, err // the connection breaks
		}
		code = int(status.ErrStatus.Code)
		if status.ErrStatus.Reason == "" {
			b := []byte(status.ErrStatus.Message)
			return &http.Response{StatusCode: code, Header: http.Header{"Content-Type": {"text/plain"}}, Body: io.NopCloser(bytes.NewReader(b)), Request: r}, nil
		}
		s := status.ErrStatus
		s.Kind, s.APIVersion = "Status", "v1"
		body = s
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: code, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(b)), Request: r}, nil
}
