package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/features"
	featurestesting "k8s.io/client-go/features/testing"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

// next reads one event of a watch.
func next(t *testing.T, w watch.Interface) watch.Event {
	t.Helper()
	select {
	case e, ok := <-w.ResultChan():
		if !ok {
			t.Fatal("the watch has ended")
		}
		return e
	case <-time.After(time.Minute):
		t.Fatal("no event came")
	}
	return watch.Event{}
}

// describe returns an event in a line: type, name, revision.
func describe(e watch.Event) string {
	o, ok := e.Object.(metav1.Object)
	if !ok {
		return fmt.Sprint(e.Type, " ", apierrors.FromObject(e.Object))
	}
	revision, ours, err := parseVersion(o.GetResourceVersion())
	if err != nil || !ours {
		return fmt.Sprintf("%s %s %s, which is no revision of the store", e.Type, o.GetName(), o.GetResourceVersion())
	}
	return fmt.Sprintf("%s %s %d", e.Type, o.GetName(), revision)
}

func want(t *testing.T, w watch.Interface, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if got := describe(next(t, w)); got != line {
			t.Errorf("got %q, want %q", got, line)
		}
	}
}

func TestWatch(t *testing.T) {
	sc := newScene(t, nil)
	eachForm(t, sc, func(t *testing.T, c *kubernetes.Clientset) {
		list, err := c.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{})
		must(t, err)
		w, err := c.CoreV1().Pods("shop").Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion})
		must(t, err)
		defer w.Stop()
		a := sc.put("pods", "1", pod("a", nil))
		sc.put("configmaps", "1", &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "c"}})
		b := sc.putIn(meta.Up, "pods/status", "", &corev1.Pod{ObjectMeta: pod("a", nil).ObjectMeta, Status: corev1.PodStatus{Phase: corev1.PodRunning}})
		want(t, w, fmt.Sprint("ADDED a ", a))
		e := next(t, w)
		if p, ok := e.Object.(*corev1.Pod); describe(e) != fmt.Sprint("MODIFIED a ", b) || !ok || p.Status.Phase != corev1.PodRunning {
			t.Errorf("status: %s %+v", describe(e), e.Object)
		}
		d := sc.drop("pods", "shop", "a")
		e = next(t, w)
		if p, ok := e.Object.(*corev1.Pod); describe(e) != fmt.Sprint("DELETED a ", d) || !ok || p.Spec.NodeName != "gate-7" {
			t.Errorf("deletion: %s %+v", describe(e), e.Object)
		}
		sc.apply(meta.Op{Key: meta.Up + "pods:status/shop/a", Delete: true})
	})
}

// TestWatchSelected: objects begin to match a selector, and stop.
func TestWatchSelected(t *testing.T) {
	sc := newScene(t, nil)
	web := map[string]string{"app": "web"}
	a := sc.put("pods", "1", pod("a", web))
	b := sc.put("pods", "1", pod("b", nil))
	c := sc.client("")
	w, err := c.CoreV1().Pods("").Watch(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
	must(t, err)
	defer w.Stop()
	want(t, w, fmt.Sprint("ADDED a ", a))
	out, in := sc.put("pods", "2", pod("a", nil)), sc.put("pods", "2", pod("b", web))
	sc.put("pods", "3", pod("a", map[string]string{"other": "change"}))
	gone := sc.drop("pods", "shop", "b")
	sc.drop("pods", "shop", "a")
	back := sc.put("pods", "4", pod("a", web))
	want(t, w, fmt.Sprint("DELETED a ", out), fmt.Sprint("ADDED b ", in), fmt.Sprint("DELETED b ", gone), fmt.Sprint("ADDED a ", back))

	// For a version of the past it is not known what the client has: it gets more events
	// rather than fewer.
	old, err := c.CoreV1().Pods("").Watch(t.Context(), metav1.ListOptions{LabelSelector: "app=web", ResourceVersion: localVersion(b)})
	must(t, err)
	defer old.Stop()
	want(t, old, fmt.Sprint("DELETED a ", out), fmt.Sprint("ADDED b ", in))

	one, err := c.CoreV1().Pods("shop").Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=a"})
	must(t, err)
	defer one.Stop()
	sc.put("pods", "4", pod("z", web))
	end := sc.drop("pods", "shop", "a")
	want(t, one, fmt.Sprint("ADDED a ", back), fmt.Sprint("DELETED a ", end))
}

// TestWatchTooOld: the client gets 410 as clients expect it, in an event.
func TestWatchTooOld(t *testing.T) {
	sc := newScene(t, nil)
	for i := range 5000 { // memstore remembers 4,096
		sc.apply(meta.Op{Key: "local/x", Value: []byte{byte(i)}})
	}
	c := sc.client("")
	for _, version := range []string{localVersion(1), localVersion(999999), "77"} {
		w, err := c.CoreV1().Pods("").Watch(t.Context(), metav1.ListOptions{ResourceVersion: version})
		if version == "77" {
			if !apierrors.IsResourceExpired(err) {
				t.Errorf("the cloud's version: %v", err)
			}
			continue
		}
		must(t, err)
		if e := next(t, w); e.Type != watch.Error || !apierrors.IsResourceExpired(apierrors.FromObject(e.Object)) {
			t.Errorf("version %s: %s", version, describe(e))
		}
		w.Stop()
	}
}

func TestWatchList(t *testing.T) {
	sc := newScene(t, nil)
	a := sc.put("pods", "1", pod("a", nil))
	eachForm(t, sc, func(t *testing.T, c *kubernetes.Clientset) {
		yes := true
		w, err := c.CoreV1().Pods("").Watch(t.Context(), metav1.ListOptions{
			SendInitialEvents: &yes, AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
		})
		must(t, err)
		defer w.Stop()
		want(t, w, fmt.Sprint("ADDED a ", a))
		e := next(t, w)
		o, ok := e.Object.(*corev1.Pod)
		if e.Type != watch.Bookmark || !ok || o.Annotations[metav1.InitialEventsAnnotationKey] != "true" || o.ResourceVersion != localVersion(a) {
			t.Errorf("%s %+v", describe(e), e.Object)
		}
		for _, bad := range []metav1.ListOptions{
			{SendInitialEvents: &yes, AllowWatchBookmarks: true},
			{SendInitialEvents: &yes, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan},
		} {
			if _, err := c.CoreV1().Pods("").Watch(t.Context(), bad); !apierrors.IsBadRequest(err) {
				t.Errorf("%+v: %v", bad, err)
			}
		}
	})
}

// TestInformer runs client-go's own informer against the server: one that lists and
// watches, and one that gets the list as a watch (WatchList).
func TestInformer(t *testing.T) {
	for _, watchList := range []bool{true, false} {
		t.Run(fmt.Sprint("WatchList=", watchList), func(t *testing.T) {
			featurestesting.SetFeatureDuringTest(t, features.WatchListClient, watchList)
			testInformer(t)
		})
	}
}

func testInformer(t *testing.T) {
	sc := newScene(t, nil)
	sc.put("pods", "1", pod("a", nil))
	eachForm(t, sc, func(t *testing.T, c *kubernetes.Clientset) {
		factory := informers.NewSharedInformerFactory(c, 0)
		informer := factory.Core().V1().Pods().Informer()
		seen := make(chan string, 100)
		name := func(o any) string {
			if d, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = d.Obj
			}
			return o.(*corev1.Pod).Name
		}
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { seen <- "add " + name(o) },
			UpdateFunc: func(_, o any) { seen <- "update " + name(o) },
			DeleteFunc: func(o any) { seen <- "delete " + name(o) },
		})
		must(t, err)
		stop := make(chan struct{})
		factory.Start(stop)
		defer factory.Shutdown()
		defer close(stop)
		expect := func(want string) {
			t.Helper()
			select {
			case got := <-seen:
				if got != want {
					t.Errorf("the informer told %q, want %q", got, want)
				}
			case <-time.After(time.Minute):
				t.Fatalf("the informer did not tell %q", want)
			}
		}
		expect("add a")
		sc.put("pods", "2", pod("b", nil))
		expect("add b")
		sc.put("pods", "3", pod("b", map[string]string{"x": "y"}))
		expect("update b")
		sc.drop("pods", "shop", "b")
		expect("delete b")
	})
}

func TestWatchLimits(t *testing.T) {
	sc := newScene(t, func(c *Config) { c.MaxWatches = 2 })
	c := sc.client("")
	for range 2 {
		w, err := c.CoreV1().Pods("").Watch(t.Context(), metav1.ListOptions{})
		must(t, err)
		defer w.Stop()
	}
	code, body, _ := sc.get("/api/v1/pods?watch=1", "")
	if code != http.StatusTooManyRequests || !strings.Contains(body, "too many watches") {
		t.Errorf("%d %s", code, body)
	}
}

// TestSlowWatcher ends a watcher that does not keep up, with a Status.
func TestSlowWatcher(t *testing.T) {
	sc := newScene(t, nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, sc.http.URL+"/api/v1/secrets?watch=1&resourceVersion=0", nil)
	must(t, err)
	resp, err := sc.http.Client().Do(req)
	must(t, err)
	defer resp.Body.Close()
	big := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s"}, Data: map[string][]byte{"k": slices.Repeat([]byte("x"), 512<<10)}}
	for range 40 { // far more than sockets buffer and the store remembers
		sc.put("secrets", "1", big)
	}
	var last string
	buf := make([]byte, 64<<10)
	for {
		n, err := resp.Body.Read(buf)
		last = (last + string(buf[:n]))[max(0, len(last)+n-2000):]
		if err != nil {
			break
		}
	}
	if !strings.Contains(last, `"type":"ERROR"`) || !strings.Contains(last, `"code":410`) {
		t.Errorf("the watch ended with %.300q", last)
	}
}

func TestWatchTable(t *testing.T) {
	sc := newScene(t, nil)
	sc.put("pods", "1", pod("a", nil))
	sc.put("pods", "1", pod("b", nil))
	_, body, media := sc.get("/api/v1/namespaces/shop/pods?watch=true&timeoutSeconds=1", tableAccept)
	lines := strings.Split(strings.TrimSpace(body), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"columnDefinitions":[{"name":"Name"`) || !strings.Contains(lines[1], `"columnDefinitions":null`) ||
		!strings.Contains(lines[1], `"cells":["b",`) || media != "application/json" {
		t.Errorf("%s %s", media, body)
	}
}

// watchedStore records the prefixes that are watched.
type watchedStore struct {
	*memstore.Store
	mu       sync.Mutex
	prefixes []string
}

func (w *watchedStore) Watch(ctx context.Context, prefix string, after uint64) (<-chan []meta.Event, error) {
	return w.WatchPrefixes(ctx, []string{prefix}, after)
}

func (w *watchedStore) WatchPrefixes(ctx context.Context, prefixes []string, after uint64) (<-chan []meta.Event, error) {
	w.mu.Lock()
	w.prefixes = append(w.prefixes, prefixes...)
	w.mu.Unlock()
	return w.Store.WatchPrefixes(ctx, prefixes, after)
}

// TestWatchCopiesItsOwn: a client watches pods on a node whose twins change thousands of
// times a second. Those changes are not copied for it.
func TestWatchCopiesItsOwn(t *testing.T) {
	for _, tt := range []struct {
		namespace string
		want      []string
	}{
		{"", []string{"down/pods/", "up/pods:status/"}},
		{"shop", []string{"down/pods/shop/", "up/pods:status/"}},
	} {
		store := &watchedStore{Store: memstore.New()}
		defer store.Close()
		sc := newScene(t, func(cfg *Config) { cfg.Store = store })
		sc.store = store.Store
		w, err := sc.client("").CoreV1().Pods(tt.namespace).Watch(t.Context(), metav1.ListOptions{})
		must(t, err)
		for i := range 100 {
			sc.apply(meta.Op{Key: "local/twin/x", Value: []byte{byte(i)}})
		}
		a := sc.put("pods", "1", pod("a", nil))
		want(t, w, fmt.Sprint("ADDED a ", a))
		b := sc.putIn(meta.Up, "pods/status", "", &corev1.Pod{ObjectMeta: pod("a", nil).ObjectMeta, Status: corev1.PodStatus{Phase: corev1.PodRunning}})
		want(t, w, fmt.Sprint("MODIFIED a ", b))
		w.Stop()
		store.mu.Lock()
		if !slices.Equal(store.prefixes, tt.want) {
			t.Errorf("watched are %q, want %q", store.prefixes, tt.want)
		}
		store.mu.Unlock()
	}
}
