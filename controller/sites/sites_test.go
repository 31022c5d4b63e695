package sites

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/controller/edge"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/controller/sites/v1alpha1"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
)

const (
	recipes = "apis/factory.example.com/v1/recipes"
	syncs   = "apis/sites.edgekit.io/v1alpha1/edgesyncs"
	nodes   = "api/v1/nodes"
	stored  = "synced.recipes.v1.factory.example.com"
)

var recipesResource = schema.GroupVersionResource{Group: "factory.example.com", Version: "v1", Resource: "recipes"}

// world is a Controller that runs, and what one node holds by its Source.
type world struct {
	*Controller
	t    *testing.T
	api  *fakeAPI
	node *holder
	stop func()
}

// holder is a node that does what a session does: it asks for each key of which it is notified, and
// holds what it gets.
type holder struct {
	source  hub.Source
	mu      sync.Mutex
	pending map[hub.Key]bool
	held    map[hub.Key]string
	bodies  map[hub.Key]string
}

func startAPI(served bool) *fakeAPI {
	api := newFakeAPI()
	api.serve(schema.GroupVersionResource{Version: "v1", Resource: "nodes"}, "Node", false)
	api.serve(v1alpha1.GroupVersion().WithResource(v1alpha1.EdgeSyncs), v1alpha1.KindEdgeSync, false)
	if served {
		api.serve(recipesResource, "Recipe", true)
	}
	api.putNode("edge-7", nil)
	return api
}

func (a *fakeAPI) putNode(name string, labels map[string]string) {
	n := &corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{nodelifecycle.RoleLabel: ""}}}
	for k, v := range labels {
		n.Labels[k] = v
	}
	a.put(nodes, toUnstructured(n))
}

func (a *fakeAPI) putSync(s *v1alpha1.EdgeSync) {
	if old := a.get(syncs, "", s.Name); old != nil {
		have, err := cache.Decode[v1alpha1.EdgeSync](old)
		if err != nil {
			panic(err)
		}
		s.Status, s.Generation, s.UID = have.Status, have.Generation+1, have.UID
	}
	a.put(syncs, toUnstructured(s))
}

func toUnstructured(obj any) *unstructured.Unstructured {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		panic(err)
	}
	return &unstructured.Unstructured{Object: content}
}

func recipe(namespace, name string, labels map[string]string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "factory.example.com/v1", "kind": "Recipe", "spec": map[string]any{"text": "flour"}}}
	u.SetNamespace(namespace)
	u.SetName(name)
	u.SetLabels(labels)
	u.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "kubectl"}})
	return u
}

// start runs a Controller in a bubble.
func start(t *testing.T, api *fakeAPI, change func(*Config)) *world {
	t.Helper()
	kube, dyn := api.clients(t)
	store, err := edge.NewNodeStore(kube, nil)
	must(t, err)
	cfg := Config{Cloud: kube, Dynamic: dyn, Nodes: store}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = store.Run(ctx) })
	wg.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	w := &world{Controller: c, t: t, api: api, stop: sync.OnceFunc(func() { cancel(); wg.Wait() })}
	w.node = w.connect("edge-7", wire.Synced)
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// connect begins a session of a node that holds nothing.
func (w *world) connect(node string, capabilities ...string) *holder {
	h := &holder{held: make(map[hub.Key]string), bodies: make(map[hub.Key]string)}
	w.reconnect(h, node, capabilities...)
	return h
}

// reconnect begins another session of a node that holds what it has.
func (w *world) reconnect(h *holder, node string, capabilities ...string) {
	h.source, h.pending = w.Source(node, capabilities), make(map[hub.Key]bool)
	stop := h.source.Subscribe(func(key hub.Key) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.pending[key] = true
	})
	w.t.Cleanup(stop)
	versions, err := h.source.Versions(w.t.Context())
	must(w.t, err)
	h.mu.Lock()
	defer h.mu.Unlock()
	for key := range h.held {
		h.pending[key] = true
	}
	for key, version := range versions {
		h.pending[key] = h.held[key] != version
		if !h.pending[key] {
			delete(h.pending, key)
		}
	}
}

// pass lets time go by and has the node load what it was notified of. What lags is asked again
// each second.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	for end := time.Now().Add(d); ; time.Sleep(min(time.Second, time.Until(end))) {
		synctest.Wait()
		w.load(w.node)
		if !time.Now().Before(end) {
			return
		}
	}
}

func (w *world) load(h *holder) {
	w.t.Helper()
	h.mu.Lock()
	keys := h.pending
	h.pending = make(map[hub.Key]bool)
	h.mu.Unlock()
	for key := range keys {
		obj, err := h.source.Load(w.t.Context(), key, h.held[key])
		switch {
		case errors.Is(err, hub.ErrLagging):
			h.mu.Lock()
			h.pending[key] = true
			h.mu.Unlock()
		case err != nil:
			w.t.Errorf("load %s: %v", key, err)
		case obj.Deleted:
			delete(h.held, key)
			delete(h.bodies, key)
		default:
			if cache.Compare(obj.Version, h.held[key]) < 0 {
				w.t.Errorf("%s goes back from %s to %s", key, h.held[key], obj.Version)
			}
			h.held[key], h.bodies[key] = obj.Version, string(obj.Body)
		}
	}
}

// holds returns what the node holds, without versions.
func (h *holder) holds() string {
	var all []string
	for key := range h.held {
		all = append(all, strings.ReplaceAll(key.String(), stored+"/", ""))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func (w *world) wants(when, want string) {
	w.t.Helper()
	if got := w.node.holds(); got != want {
		w.t.Errorf("%s: the node holds %q, want %q", when, got, want)
	}
}

// status returns the status of an EdgeSync.
func (w *world) status(name string) v1alpha1.EdgeSyncStatus {
	w.t.Helper()
	s, err := cache.Decode[v1alpha1.EdgeSync](w.api.get(syncs, "", name))
	must(w.t, err)
	return s.Status
}

// ready returns the reason of the condition Ready, and the counts.
func (w *world) ready(name string) string {
	w.t.Helper()
	st := w.status(name)
	c := apimeta.FindStatusCondition(st.Conditions, v1alpha1.ConditionReady)
	if c == nil {
		return "none"
	}
	return fmt.Sprintf("%s %d/%d", c.Reason, st.Nodes, st.Objects)
}

func (w *world) isReady(when, name, want string) {
	w.t.Helper()
	if got := w.ready(name); got != want {
		w.t.Errorf("%s: %s is %s, want %s: %+v", when, name, got, want, w.status(name).Conditions)
	}
}

// bubble runs a test with a world in a bubble.
func bubble(t *testing.T, served bool, change func(*Config), prepare func(*fakeAPI), f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		api := startAPI(served)
		if prepare != nil {
			prepare(api)
		}
		w := start(t, api, change)
		defer w.stop()
		f(w)
	})
}

// TestSync: objects come, change and go; the EdgeSync comes and goes; so does the node's label.
func TestSync(t *testing.T) {
	bubble(t, true, nil, nil, func(w *world) {
		w.api.put(recipes, recipe("plant", "bread", nil))
		w.pass(time.Second)
		w.wants("without an EdgeSync", "")
		w.api.putSync(edgeSync("r", func(s *v1alpha1.EdgeSync) { s.Spec.NodeSelector.MatchLabels = map[string]string{"site": "7"} }))
		w.pass(10 * time.Second)
		w.wants("not chosen", "")
		w.isReady("not chosen", "r", "Synced 0/1")
		w.api.putNode("edge-7", map[string]string{"site": "7"})
		w.pass(2 * time.Second)
		w.wants("chosen", "edgesyncs//r plant/bread")
		if body := w.node.bodies[hub.Key{Resource: stored, Namespace: "plant", Name: "bread"}]; strings.Contains(body, "managedFields") || !strings.Contains(body, `"text":"flour"`) || !strings.Contains(body, `"kind":"Recipe"`) {
			t.Errorf("body %s", body)
		}
		if e, err := wire.DecodeEdgeSync([]byte(w.node.bodies[hub.Key{Resource: wire.EdgeSyncsResource, Name: "r"}])); err != nil || e.Kind != "Recipe" || !e.Namespaced || e.Some {
			t.Errorf("%+v, %v", e, err)
		}
		w.api.put(recipes, recipe("other", "cake", nil))
		changed := w.api.put(recipes, recipe("plant", "bread", nil))
		w.pass(time.Second)
		w.wants("another object", "edgesyncs//r other/cake plant/bread")
		if got := w.node.held[hub.Key{Resource: stored, Namespace: "plant", Name: "bread"}]; got != changed {
			t.Errorf("version %s, want %s", got, changed)
		}
		w.api.remove(recipes, "plant", "bread")
		w.pass(time.Second)
		w.wants("one is deleted", "edgesyncs//r other/cake")
		if n := w.api.count("get recipes"); n != 0 {
			t.Errorf("%d objects were read from the API server for a deletion that the watch had reported", n)
		}
		w.pass(10 * time.Second)
		w.isReady("at the end", "r", "Synced 1/1")
		w.api.putNode("edge-7", nil)
		w.pass(5 * time.Second)
		w.wants("the label is gone", "")
		w.api.putNode("edge-7", map[string]string{"site": "7"})
		w.pass(5 * time.Second)
		w.wants("the label is back", "edgesyncs//r other/cake")
		w.api.remove(syncs, "", "r")
		w.pass(5 * time.Second)
		w.wants("the EdgeSync is deleted", "")
		if st := w.Stats(); st.EdgeSyncs != 0 || st.Objects != 0 || st.Writes == 0 {
			t.Errorf("%+v", st)
		}
	})
}

// TestSelection: namespaces, labels, groups of nodes, a spec that changes, and two EdgeSyncs of one
// resource.
func TestSelection(t *testing.T) {
	bubble(t, true, nil, func(api *fakeAPI) {
		api.putNode("edge-7", map[string]string{wire.GroupLabel: "north"})
		for _, n := range []string{"a", "a-b", "c"} {
			api.put(recipes, recipe(n, "x", map[string]string{"tier": n}))
			api.put(recipes, recipe(n, "y", nil))
		}
		api.putSync(edgeSync("r", func(s *v1alpha1.EdgeSync) {
			s.Spec.NodeSelector, s.Spec.NodeGroups = nil, []v1alpha1.NodeGroup{"south", "north"}
			s.Spec.Namespaces = []v1alpha1.Namespace{"a", "a-b", "none"}
		}))
	}, func(w *world) {
		w.pass(10 * time.Second)
		w.wants("two namespaces", "a-b/x a-b/y a/x a/y edgesyncs//r")
		w.api.putSync(edgeSync("r", func(s *v1alpha1.EdgeSync) {
			s.Spec.LabelSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "tier", Operator: metav1.LabelSelectorOpExists}}}
		}))
		w.pass(10 * time.Second)
		w.wants("by label", "a-b/x a/x c/x edgesyncs//r")
		if e, _ := wire.DecodeEdgeSync([]byte(w.node.bodies[hub.Key{Resource: wire.EdgeSyncsResource, Name: "r"}])); !e.Some {
			t.Errorf("the node takes it for all objects: %+v", e)
		}
		w.api.put(recipes, recipe("c", "x", nil)) // loses the label
		w.api.put(recipes, recipe("c", "y", map[string]string{"tier": "1"}))
		w.pass(2 * time.Second)
		w.wants("labels change", "a-b/x a/x c/y edgesyncs//r")
		w.api.putSync(edgeSync("second", func(s *v1alpha1.EdgeSync) { s.Spec.Namespaces = []v1alpha1.Namespace{"c"} }))
		w.pass(10 * time.Second)
		w.wants("two EdgeSyncs", "a-b/x a/x c/x c/y edgesyncs//r edgesyncs//second")
		w.api.remove(syncs, "", "r")
		w.pass(5 * time.Second)
		w.wants("one of two", "c/x c/y edgesyncs//second")
		w.isReady("one of two", "second", "Synced 1/2")
	})
}

// TestResourceComesAndGoes: an EdgeSync before its CRD; the CRD is deleted; a moment without it deletes
// nothing.
func TestResourceComesAndGoes(t *testing.T) {
	bubble(t, false, nil, func(api *fakeAPI) { api.putSync(edgeSync("r", nil)) }, func(w *world) {
		w.pass(time.Minute)
		w.isReady("before the CRD", "r", "NotServed 0/0")
		w.api.serve(recipesResource, "Recipe", true)
		w.api.put(recipes, recipe("plant", "bread", nil))
		w.pass(15 * time.Second)
		w.isReady("with the CRD", "r", "Synced 1/1")
		w.wants("with the CRD", "edgesyncs//r plant/bread")
		// The API server starts, and does not know its custom resources for a moment.
		w.withoutCRD(func() { w.pass(20 * time.Second) })
		w.wants("a moment without it", "edgesyncs//r plant/bread")
		w.pass(time.Minute)
		w.isReady("and again", "r", "Synced 1/1")
		w.api.remove(recipes, "plant", "bread") // as the API server does with a CRD that is deleted
		w.withoutCRD(func() {
			w.pass(3 * time.Minute)
			w.wants("it is deleted", "")
			w.isReady("it is deleted", "r", "NotServed 0/0")
		})
		w.api.serve(recipesResource, "Recipe", true)
		w.pass(20 * time.Second)
		w.isReady("it is back", "r", "Synced 1/0")
		w.wants("it is back", "edgesyncs//r")
	})
}

func (w *world) withoutCRD(f func()) {
	w.api.mu.Lock()
	kind := w.api.kinds[recipes]
	delete(w.api.kinds, recipes)
	w.api.mu.Unlock()
	w.api.breakWatches(recipes, nil)
	f()
	w.api.mu.Lock()
	w.api.kinds[recipes] = kind
	w.api.mu.Unlock()
}

// TestForbidden: the right to read is missing, is granted, and is removed: nodes keep what they have, also
// over a restart of cloudcore. The condition has what to apply.
func TestForbidden(t *testing.T) {
	var mu sync.Mutex
	refused := true
	refuse := func(verb, path string) error {
		mu.Lock()
		defer mu.Unlock()
		if refused && strings.Contains(path, "/recipes") {
			return apierrors.NewForbidden(recipesResource.GroupResource(), "", fmt.Errorf("cannot %s", verb))
		}
		return nil
	}
	set := func(to bool) {
		mu.Lock()
		defer mu.Unlock()
		refused = to
	}
	bubble(t, true, nil, func(api *fakeAPI) {
		api.refuse = refuse
		api.put(recipes, recipe("plant", "bread", nil))
		api.putSync(edgeSync("r", nil))
	}, func(w *world) {
		w.pass(10 * time.Second)
		w.isReady("no right", "r", "Forbidden 1/0")
		w.wants("no right", "") // not even that there is such a resource: its list would be empty
		c := apimeta.FindStatusCondition(w.status("r").Conditions, v1alpha1.ConditionForbidden)
		_, text, _ := strings.Cut(c.Message, "Apply:\n")
		var role unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(text), &role.Object); err != nil || c.Status != metav1.ConditionTrue || role.GetLabels()[AggregateLabel] != "true" || role.GetKind() != "ClusterRole" {
			t.Errorf("%v: %+v", err, c)
		}
		if w.Stats().Forbidden != 1 {
			t.Errorf("%+v", w.Stats())
		}
		set(false)
		w.pass(40 * time.Second)
		w.isReady("granted", "r", "Synced 1/1")
		w.wants("granted", "edgesyncs//r plant/bread")
		if c := apimeta.FindStatusCondition(w.status("r").Conditions, v1alpha1.ConditionForbidden); c.Status != metav1.ConditionFalse {
			t.Errorf("%+v", c)
		}
		set(true)
		w.api.breakWatches(recipes, nil)
		w.pass(time.Minute)
		w.isReady("removed", "r", "Forbidden 1/1")
		w.wants("removed", "edgesyncs//r plant/bread")
		w.stop()
		again := start(w.t, w.api, nil)
		defer again.stop()
		again.reconnect(w.node, "edge-7", wire.Synced)
		again.node = w.node
		again.pass(time.Minute)
		again.wants("a cloudcore that never had it", "edgesyncs//r plant/bread")
		set(false)
		again.pass(time.Minute)
		again.isReady("and again", "r", "Synced 1/1")
	})
}

// TestLimit: objects above the limit are left out, the first in order are held, and the rest comes when
// there is room.
func TestLimit(t *testing.T) {
	bubble(t, true, nil, func(api *fakeAPI) {
		for i := range 1200 {
			api.put(recipes, recipe("plant", fmt.Sprintf("r%04d", i), nil))
		}
		api.putSync(edgeSync("r", func(s *v1alpha1.EdgeSync) { s.Spec.Limit.Objects = 700 }))
	}, func(w *world) {
		w.pass(10 * time.Second)
		w.isReady("too many", "r", "LimitExceeded 1/700")
		if len(w.node.held) != 701 || w.node.held[hub.Key{Resource: stored, Namespace: "plant", Name: "r0699"}] == "" {
			t.Errorf("the node holds %d", len(w.node.held))
		}
		if c := apimeta.FindStatusCondition(w.status("r").Conditions, v1alpha1.ConditionLimitExceeded); c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, "700") {
			t.Errorf("%+v", c)
		}
		if n := w.api.count("list recipes"); n != 3 {
			t.Errorf("%d pages were read", n)
		}
		w.api.put(recipes, recipe("plant", "a-first", nil))
		w.pass(time.Minute)
		if w.node.held[hub.Key{Resource: stored, Namespace: "plant", Name: "r0699"}] != "" || w.node.held[hub.Key{Resource: stored, Namespace: "plant", Name: "a-first"}] == "" || len(w.node.held) != 701 {
			t.Errorf("one that is before the others: %d", len(w.node.held))
		}
		for i := range 600 {
			w.api.remove(recipes, "plant", fmt.Sprintf("r%04d", i))
		}
		w.pass(time.Minute)
		w.isReady("room again", "r", "Synced 1/601")
		for i := range 100 {
			w.api.put(recipes, recipe("plant", fmt.Sprintf("s%04d", i), nil))
		}
		w.pass(time.Minute)
		w.isReady("one too many by the watch", "r", "LimitExceeded 1/700")
		w.api.putSync(edgeSync("r", func(s *v1alpha1.EdgeSync) { s.Spec.Limit.Bytes = new(resource.MustParse("1Ki")) }))
		w.pass(time.Minute)
		if st := w.status("r"); st.Bytes > 1024 || st.Objects == 0 || len(w.node.held) != int(st.Objects)+1 {
			t.Errorf("%+v, the node holds %d", st, len(w.node.held))
		}
		w.api.putSync(edgeSync("r", func(s *v1alpha1.EdgeSync) { s.Spec.Limit.Objects = 2000 }))
		w.pass(time.Minute)
		w.isReady("a higher limit", "r", "Synced 1/701")
	})
}

// TestAway: the node is away while objects and EdgeSyncs change, and another cloudcore, whose caches
// are filled only later, never takes from the node what it should hold.
func TestAway(t *testing.T) {
	bubble(t, true, nil, func(api *fakeAPI) {
		for _, name := range []string{"a", "b", "c"} {
			api.put(recipes, recipe("plant", name, nil))
		}
		api.putSync(edgeSync("r", nil))
	}, func(w *world) {
		w.pass(10 * time.Second)
		w.wants("first", "edgesyncs//r plant/a plant/b plant/c")
		h := w.node
		w.node = w.connect("other")
		w.api.remove(recipes, "plant", "a")
		w.api.put(recipes, recipe("plant", "b", nil))
		w.api.put(recipes, recipe("plant", "d", nil))
		w.pass(5 * time.Second)
		w.reconnect(h, "edge-7", wire.Synced)
		w.node = h
		w.pass(5 * time.Second)
		w.wants("after some time away", "edgesyncs//r plant/b plant/c plant/d")
		w.stop()
		w.api.remove(recipes, "plant", "c")
		release := w.api.hold(func(verb, path string) bool { return verb == "watch" && strings.Contains(path, "/edgesyncs") })
		again := start(w.t, w.api, nil)
		defer again.stop()
		again.reconnectBusy(h)
		again.wants("by a cloudcore that knows no EdgeSync yet", "edgesyncs//r plant/b plant/c plant/d")
		release()
		again.pass(time.Minute)
		again.wants("by a new cloudcore", "edgesyncs//r plant/b plant/d")
	})
}

// reconnectBusy has a node connect while this cloudcore has not read the EdgeSyncs.
func (w *world) reconnectBusy(h *holder) {
	w.t.Helper()
	w.reconnect(h, "edge-7", wire.Synced)
	w.node = h
	for key := range h.held {
		if obj, err := h.source.Load(w.t.Context(), key, h.held[key]); err == nil {
			w.t.Errorf("%s: %+v", key, obj)
		}
	}
}

// TestCapability: a node that does not name the capability holds nothing, and gives up what it had.
func TestCapability(t *testing.T) {
	bubble(t, true, nil, func(api *fakeAPI) {
		api.put(recipes, recipe("plant", "a", nil))
		api.putSync(edgeSync("r", nil))
	}, func(w *world) {
		w.pass(10 * time.Second)
		w.wants("with it", "edgesyncs//r plant/a")
		w.reconnect(w.node, "edge-7")
		w.pass(time.Second)
		w.wants("without it", "")
	})
}

// TestWatchFaults: watches that end, expire, or send what they should not.
func TestWatchFaults(t *testing.T) {
	bubble(t, true, nil, func(api *fakeAPI) {
		api.put(recipes, recipe("plant", "a", nil))
		api.putSync(edgeSync("r", nil))
	}, func(w *world) {
		w.pass(10 * time.Second)
		lists := w.api.count("list recipes")
		w.api.breakWatches(recipes, nil)
		w.api.put(recipes, recipe("plant", "b", nil))
		w.pass(5 * time.Second)
		w.wants("a watch that ended", "edgesyncs//r plant/a plant/b")
		if n := w.api.count("list recipes"); n != lists {
			t.Errorf("it lists again after each watch: %d", n)
		}
		w.api.breakWatches(recipes, apierrors.NewResourceExpired("too old"))
		w.api.remove(recipes, "plant", "a")
		w.pass(10 * time.Second)
		w.wants("a watch that expired", "edgesyncs//r plant/b")
		w.api.breakWatches(recipes, apierrors.NewInternalError(errors.New("broken")))
		w.pass(time.Second)
		w.isReady("a fault", "r", "Unavailable 1/1")
		w.pass(time.Minute)
		w.isReady("after a fault", "r", "Synced 1/1")
		w.wants("after a fault", "edgesyncs//r plant/b")
	})
}

// TestWritesOfStatus: counts are written at most every StatusEvery, by one cloudcore, and a status that is
// right is not written again.
func TestWritesOfStatus(t *testing.T) {
	mine := true
	bubble(t, true, func(cfg *Config) { cfg.StatusEvery, cfg.Mine = 10*time.Second, func(string) bool { return mine } }, func(api *fakeAPI) {
		api.putSync(edgeSync("r", nil))
	}, func(w *world) {
		w.pass(20 * time.Second)
		before := w.Stats().Writes
		for i := range 100 {
			w.api.put(recipes, recipe("plant", fmt.Sprintf("r%d", i), nil))
			w.pass(200 * time.Millisecond)
		}
		w.pass(time.Minute)
		if n := w.Stats().Writes - before; n < 2 || n > 4 {
			t.Errorf("%d writes in 20 s, want at most one each 10 s", n)
		}
		w.isReady("at the end", "r", "Synced 1/100")
		before = w.Stats().Writes
		w.pass(10 * time.Minute)
		if n := w.Stats().Writes - before; n != 0 {
			t.Errorf("%d writes at rest", n)
		}
		mine = false
		w.api.remove(recipes, "plant", "r1")
		w.pass(time.Minute)
		if n := w.Stats().Writes - before; n != 0 {
			t.Errorf("%d writes of another's status", n)
		}
		w.count(101 - 1)
	})
}

func (w *world) count(n int) {
	w.t.Helper()
	if len(w.node.held) != n {
		w.t.Errorf("the node holds %d, want %d", len(w.node.held), n)
	}
}

// TestAttackSlowStatuses: nodes get what is theirs while the API server does not answer the writes of many
// statuses.
func TestAttackSlowStatuses(t *testing.T) {
	bubble(t, true, nil, func(api *fakeAPI) {
		api.put(recipes, recipe("plant", "a", nil))
		for i := range 30 {
			api.putSync(edgeSync(fmt.Sprintf("r%d", i), func(s *v1alpha1.EdgeSync) {
				s.Spec.NodeSelector.MatchLabels = map[string]string{"site": "7"}
			}))
		}
	}, func(w *world) {
		w.pass(30 * time.Second)
		w.count(0)
		defer w.api.hold(func(_, path string) bool { return strings.HasSuffix(path, "/status") })()
		w.api.putNode("edge-8", map[string]string{"site": "7"}) // all statuses count it
		w.pass(5 * time.Second)
		w.api.putNode("edge-7", map[string]string{"site": "7"})
		w.pass(20 * time.Second)
		w.count(31)
	})
}

// TestConfirmedWaits: while one caller reads the EdgeSyncs at a slow API server, another one gives up
// when its own time is over, and the next uses the answer.
func TestConfirmedWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := startAPI(true)
		kube, dyn := api.clients(t)
		store, err := edge.NewNodeStore(kube, nil)
		must(t, err)
		c, err := New(Config{Cloud: kube, Dynamic: dyn, Nodes: store})
		must(t, err)
		release := api.hold(func(string, string) bool { return true })
		first := make(chan error, 1)
		go func() {
			_, err := c.confirmed.get(t.Context(), dyn)
			first <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.confirmed.get(ctx, dyn); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("beside a slow one: %v", err)
		}
		release()
		must(t, <-first)
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		if _, err := c.confirmed.get(ctx, dyn); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("after it: %v", err)
		}
	})
}

// TestIdleWithoutEdgeSyncs: nothing is looked at again and again while there is no EdgeSync.
func TestIdleWithoutEdgeSyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kube, dyn := startAPI(true).clients(t)
		store, err := edge.NewNodeStore(kube, nil)
		must(t, err)
		c, err := New(Config{Cloud: kube, Dynamic: dyn, Nodes: store})
		must(t, err)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		c.wait(ctx, time.Time{})
		if took := time.Since(began); took != time.Hour {
			t.Errorf("waited for %v", took)
		}
		c.wakeUp()
		began = time.Now()
		c.wait(t.Context(), time.Time{})
		if took := time.Since(began); took != c.cfg.Every {
			t.Errorf("after a change: waited for %v", took)
		}
	})
}
