package groups

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/groups/v1alpha1"
	"github.com/edgekit/edgekit/controller/internal/cache"
)

// testWorld is a Controller with the fakes that it writes to.
type testWorld struct {
	*Controller
	cloud *fake.Clientset
	dyn   *dynamicfake.FakeDynamicClient
}

// newWorld makes a Controller that does not run.
func newWorld(t *testing.T, cloud, dyn []runtime.Object) *testWorld {
	t.Helper()
	w := &testWorld{cloud: controllertest.NewClientset(cloud...)}
	gv := v1alpha1.GroupVersion()
	lists := map[schema.GroupVersionResource]string{
		gv.WithResource(v1alpha1.NodeGroups): "NodeGroupList", gv.WithResource(v1alpha1.EdgeApplications): "EdgeApplicationList",
	}
	for _, k := range kinds() {
		lists[k.gvr()] = k.Kind + "List"
	}
	w.dyn = dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists, dyn...)
	nodes, err := cache.New(cache.Config[*corev1.Node]{Type: &corev1.Node{}, ListWatch: toolscache.ToListWatcherWithWatchListSemantics(&toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return w.cloud.CoreV1().Nodes().List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return w.cloud.CoreV1().Nodes().Watch(ctx, o)
		},
	}, w.cloud)})
	if err != nil {
		t.Fatal(err)
	}
	if w.Controller, err = New(Config{Cloud: w.cloud, Dynamic: w.dyn, Nodes: nodes, ID: "a", Namespace: "edgekit-system", WritesPerSecond: -1}); err != nil {
		t.Fatal(err)
	}
	return w
}

// follow runs stores and waits until they are filled.
func (w *testWorld) follow(t *testing.T, run func(context.Context) error, synced <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	if !cache.WaitSynced(ctx, synced) {
		t.Fatal("the store was not filled")
	}
}

// TestFollowersKeepNoChanges: objects may name any owner, and a cloudcore that never leads must
// not remember all of them.
func TestFollowersKeepNoChanges(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.takeChanges()
	for _, uid := range []types.UID{"x", "y"} {
		w.look(true, uid)
	}
	if got := w.takeChanges(); got.groups || len(got.apps) > 0 {
		t.Errorf("a cloudcore that does not lead keeps %+v", got)
	}
	w.counts.leading.Store(1)
	w.look(false, "of no application")
	leader := &work{c: w.Controller, fleet: w.fleet()}
	fresh := w.takeChanges()
	if len(fresh.apps) != 1 {
		t.Fatalf("the one that leads keeps %+v", fresh)
	}
	if _, err := leader.lookAtApplications(t.Context(), leader.fleet, &fresh); err != nil || len(fresh.apps) > 0 {
		t.Errorf("%+v is kept for another look, %v", fresh, err)
	}
}

// copyOf is a Deployment that says that an application owns it.
func copyOf(namespace, name string, app types.UID) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "spec": map[string]any{"replicas": int64(1)}}}
	u.SetNamespace(namespace)
	u.SetName(name)
	u.SetLabels(map[string]string{v1alpha1.ApplicationLabel: "app"})
	u.SetOwnerReferences([]metav1.OwnerReference{ownerOf(&v1alpha1.EdgeApplication{ObjectMeta: metav1.ObjectMeta{Name: "app", UID: app}})})
	return u
}

// TestAttackOwnerOfOtherNamespace: a workload of another namespace that names an application as
// its owner is not taken for a copy.
func TestAttackOwnerOfOtherNamespace(t *testing.T) {
	w := newWorld(t, nil, []runtime.Object{copyOf("evil", "web-a", "u1"), copyOf("evil", "web-b", "u1"), copyOf("shop", "web-a", "u1")})
	for _, k := range w.workloads {
		w.follow(t, k.store.Run, k.store.Synced())
	}
	have := w.workloadsOf(map[types.UID]string{"u1": "shop"})["u1"]
	if len(have) != 1 || have[id{kind: "Deployment", name: "web-a"}].GetNamespace() != "shop" {
		t.Errorf("%v", have)
	}
}

// TestMessageIsCutBetweenCharacters: the API server replaces a part of a character, and the
// status would be written again and again.
func TestMessageIsCutBetweenCharacters(t *testing.T) {
	for shift := range 4 {
		var all []metav1.Condition
		setCondition(&all, v1alpha1.ConditionApplied, metav1.ConditionFalse, reasonInvalid, strings.Repeat("x", shift)+strings.Repeat("ä世", maxMessage), 1)
		if m := all[0].Message; !utf8.ValidString(m) || len(m) > maxMessage || len(m) < maxMessage-3 {
			t.Errorf("%d bytes, valid: %t", len(m), utf8.ValidString(m))
		}
	}
}

// leavingNode is a node with the mark that it left group a.
func leavingNode(name string) *corev1.Node {
	n := testNode(name, nil)
	n.Annotations = map[string]string{v1alpha1.LeftGroupAnnotation: "a"}
	return n
}

func groupPod(node, name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name)},
		Spec:       corev1.PodSpec{NodeName: node, NodeSelector: map[string]string{v1alpha1.BelongingToLabel: "a"}},
	}
}

// evictions has the API server answer evictions by pod; it returns the names of the evicted ones.
func (w *testWorld) evictions(answer func(pod string) error) *[]string {
	var mu sync.Mutex
	var names []string
	w.cloud.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		pod := a.(clienttesting.CreateAction).GetObject().(metav1.Object).GetName()
		err := answer(pod)
		if err == nil {
			names = append(names, pod)
		}
		return true, nil, err
	})
	return &names
}

// TestOnePodBlocksNoOther: an eviction that the API server cannot make holds up no other one, and
// the mark stays until all are accepted.
func TestOnePodBlocksNoOther(t *testing.T) {
	w := newWorld(t, []runtime.Object{leavingNode("n1"), groupPod("n1", "a-two-budgets"), groupPod("n1", "b"), groupPod("n1", "c")}, nil)
	broken := true
	evicted := w.evictions(func(pod string) error {
		if broken && pod == "a-two-budgets" {
			return apierrors.NewInternalError(errors.New("this pod has more than one PodDisruptionBudget"))
		}
		return nil
	})
	if done, err := w.evictFrom(t.Context(), "n1", labels{}); done || err != nil || !slices.Equal(*evicted, []string{"b", "c"}) {
		t.Errorf("done: %t, %v; evicted %v", done, err, *evicted)
	}
	if n, err := w.cloud.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{}); err != nil || len(leftGroups(n)) != 1 {
		t.Errorf("the mark is gone: %v", err)
	}
	broken = false
	if done, err := w.evictFrom(t.Context(), "n1", labels{}); !done || err != nil {
		t.Errorf("done: %t, %v", done, err)
	}
}

// TestAttackMarkOfOthers: a mark that somebody else wrote, such as the node itself, is removed
// too. Otherwise the pods of the node would be listed at every look.
func TestAttackMarkOfOthers(t *testing.T) {
	w := newWorld(t, []runtime.Object{leavingNode("n1")}, nil)
	if done, err := w.evictFrom(t.Context(), "n1", labels{}); !done || err != nil {
		t.Errorf("done: %t, %v", done, err)
	}
	if n, err := w.cloud.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{}); err != nil || len(leftGroups(n)) > 0 {
		t.Errorf("the mark %v is still there, %v", n.Annotations, err)
	}
}

// TestBlockedEvictionsAreTriedSeldom: nodes whose evictions are all refused are not tried again at
// once, however many there are.
func TestBlockedEvictionsAreTriedSeldom(t *testing.T) {
	var all []runtime.Object
	f := &fleet{assignment: assign(nil, nil)}
	for i := range maxLeaving + 10 {
		n := leavingNode(fmt.Sprintf("n%03d", i))
		f.nodes = append(f.nodes, n)
		all = append(all, n, groupPod(n.Name, "p"+n.Name))
	}
	w := newWorld(t, all, nil)
	blocked := true
	w.evictions(func(string) error {
		if blocked {
			return apierrors.NewTooManyRequests("a budget", 1)
		}
		return nil
	})
	leader := &work{c: w.Controller}
	if next, err := leader.evict(t.Context(), f); err != nil || time.Until(next) < evictEvery/2 {
		t.Errorf("tried again after %s, %v", time.Until(next), err)
	}
	blocked = false
	if next, err := leader.evict(t.Context(), f); err != nil || next.IsZero() || time.Until(next) > evictEvery/2 {
		t.Errorf("the other nodes wait %s, %v", time.Until(next), err)
	}
}

// TestNothingIsPrunedByAnOldTemplate: the watch of a new leader may lag behind the cloudcore that
// led before. It deletes nothing before it has the newest template.
func TestNothingIsPrunedByAnOldTemplate(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*unstructured.Unstructured)
		pruned uint64
	}{
		"the newest":    {func(*unstructured.Unstructured) {}, 1},
		"a newer one":   {func(u *unstructured.Unstructured) { u.SetGeneration(2) }, 0},
		"another one":   {func(u *unstructured.Unstructured) { u.SetUID("u2") }, 0},
		"being deleted": {func(u *unstructured.Unstructured) { u.SetDeletionTimestamp(new(metav1.Now())) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			app := testApp(t, "{}")
			live := &unstructured.Unstructured{Object: map[string]any{"apiVersion": v1alpha1.GroupVersion().String(), "kind": v1alpha1.KindEdgeApplication}}
			live.SetNamespace(app.Namespace)
			live.SetName(app.Name)
			live.SetUID(app.UID)
			live.SetGeneration(app.Generation)
			c.change(live)
			old := copyOf("shop", "web-a", "u1")
			w := newWorld(t, nil, []runtime.Object{live, old})
			err := w.prune(t.Context(), app, &rendering{}, map[id]*unstructured.Unstructured{{kind: "Deployment", name: "web-a"}: old})
			if got := w.Stats().Pruned; err != nil || got != c.pruned {
				t.Errorf("pruned %d, %v; want %d", got, err, c.pruned)
			}
		})
	}
}

// TestForeignObjectIsNotForced: force is used on objects of the application only. A new object is
// applied without force, since somebody else may make it at the same time.
func TestForeignObjectIsNotForced(t *testing.T) {
	for _, exists := range []bool{false, true} {
		var objects []runtime.Object
		if exists {
			objects = append(objects, copyOf("shop", "web-a", "u1"))
		}
		w := newWorld(t, nil, objects)
		var forced []bool
		w.dyn.PrependReactor("patch", "deployments", func(a clienttesting.Action) (bool, runtime.Object, error) {
			force := a.(clienttesting.PatchActionImpl).PatchOptions.Force
			forced = append(forced, force != nil && *force)
			return true, copyOf("shop", "web-a", "u1"), nil
		})
		app := testApp(t, "targetNodeGroups: [{name: a}]", workload("Deployment"))
		r, err := render(app, nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.applyObject(t.Context(), app, &r.objects[0]); err != nil || !slices.Equal(forced, []bool{exists}) {
			t.Errorf("exists: %t, forced: %v, %v", exists, forced, err)
		}
	}
}

// TestMoveWhileTheWatchLags: a node that moves twice before the watch shows the first move is
// marked as one that left both groups.
func TestMoveWhileTheWatchLags(t *testing.T) {
	n := testNode("n1", map[string]string{v1alpha1.BelongingToLabel: "a"})
	var all []runtime.Object
	for i, name := range []string{"a", "b", "c"} {
		u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": v1alpha1.GroupVersion().String(), "kind": v1alpha1.KindNodeGroup}}
		u.SetName(name)
		u.SetUID(types.UID(fmt.Sprint(i)))
		all = append(all, u)
	}
	w := newWorld(t, []runtime.Object{n}, all)
	w.follow(t, w.groups.Run, w.groups.Synced())
	leader := &work{c: w.Controller, applied: make(map[string]labels)}
	for _, group := range []string{"b", "c"} {
		f := &fleet{nodes: []*corev1.Node{n}, assignment: assign([]*v1alpha1.NodeGroup{testGroup(group, 1, nil, "n1")}, []*corev1.Node{n})}
		if err := leader.label(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	got, err := w.cloud.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
	if err != nil || got.Labels[v1alpha1.BelongingToLabel] != "c" || !slices.Equal(leftGroups(got), []string{"a", "b"}) {
		t.Errorf("labels %v, left %v, %v", got.Labels, leftGroups(got), err)
	}
}

// TestOneBrokenNodeSlowsNobody: a node whose labels cannot be written, such as by a webhook, is
// tried again ever less often, and holds up no other work.
func TestOneBrokenNodeSlowsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := func(name, node string) *unstructured.Unstructured {
			u := &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": v1alpha1.GroupVersion().String(), "kind": v1alpha1.KindNodeGroup, "spec": map[string]any{"nodes": []any{node}},
			}}
			u.SetName(name)
			u.SetUID(types.UID(name))
			return u
		}
		zone := testNode("z", map[string]string{v1alpha1.BelongingToLabel: "z", corev1.LabelTopologyZone: "z"})
		w := newWorld(t, []runtime.Object{testNode("n1", nil), testNode("n2", nil), zone}, []runtime.Object{group("a", "n1"), group("z", "z")})
		var tries, other atomic.Int64
		w.cloud.PrependReactor("patch", "nodes", func(a clienttesting.Action) (bool, runtime.Object, error) {
			if a.(clienttesting.PatchAction).GetName() == "n1" {
				tries.Add(1)
				return true, nil, errors.New("a webhook says no")
			}
			other.Add(1)
			return false, nil, nil
		})
		for _, verb := range []string{"patch", "update"} { // finalizers and statuses
			w.dyn.PrependReactor(verb, "nodegroups", func(clienttesting.Action) (bool, runtime.Object, error) { return true, group("a", "n1"), nil })
		}
		w.follow(t, w.cfg.Nodes.Run, w.cfg.Nodes.Synced())
		w.follow(t, w.groups.Run, w.groups.Synced())
		w.follow(t, func(ctx context.Context) error { w.lead(ctx); return nil }, w.groups.Synced())
		time.Sleep(5*time.Minute + 10*time.Second)
		if n := tries.Load(); n < 5 || n > 20 {
			t.Errorf("%d tries in 5 minutes", n)
		}
		if n := other.Load(); n != 1 {
			t.Errorf("a node that is as it should be was written %d times", n)
		}
		groups := w.dyn.Resource(v1alpha1.GroupVersion().WithResource(v1alpha1.NodeGroups))
		if _, err := groups.Create(t.Context(), group("b", "n2"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		n, err := w.cloud.CoreV1().Nodes().Get(t.Context(), "n2", metav1.GetOptions{})
		if err != nil || n.Labels[v1alpha1.BelongingToLabel] != "b" {
			t.Errorf("n2 has the labels %v, %v", n.Labels, err)
		}
	})
}

// TestRefusedObjectsAreTriedSeldom: nodes that come and go do not have the objects tried again that
// the API server refused a moment ago, and new ones are made all the same.
func TestRefusedObjectsAreTriedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		tries := make(map[string]int)
		w.dyn.PrependReactor("patch", "deployments", func(a clienttesting.Action) (bool, runtime.Object, error) {
			name := a.(clienttesting.PatchAction).GetName()
			if tries[name]++; name == "web-n1" {
				return true, nil, apierrors.NewForbidden(appsv1.Resource("deployments"), name, errors.New("no right"))
			}
			return true, copyOf("shop", name, "u1"), nil
		})
		w.dyn.PrependReactor("update", "edgeapplications", func(clienttesting.Action) (bool, runtime.Object, error) { return true, copyOf("shop", "x", "u1"), nil })
		leader := &work{c: w.Controller, written: make(map[types.UID]time.Time), done: make(map[types.UID]*application)}
		app := testApp(t, "targetNodeGroups: [{name: a, perNode: true}]", workload("Deployment"))
		look := func(nodes ...string) {
			t.Helper()
			f := &fleet{assignment: &assignment{members: map[string][]string{"a": nodes}}}
			have := map[id]*unstructured.Unstructured{{kind: "Deployment", name: "web-n2"}: copyOf("shop", "web-n2", "u1")}
			if _, err := leader.reconcile(t.Context(), app, f, have); err != nil {
				t.Fatal(err)
			}
			if leader.done[app.UID].failed == nil {
				t.Error("nothing failed")
			}
		}
		for range 100 {
			look("n1")
			time.Sleep(30 * time.Millisecond)
		}
		look("n1", "n2")
		if tries["web-n1"] != 1 || tries["web-n2"] != 1 {
			t.Errorf("within %s: %v", retryFirst, tries)
		}
		time.Sleep(retryFirst)
		look("n1", "n2")
		app.Generation++
		look("n1", "n2")
		if tries["web-n1"] != 3 || tries["web-n2"] != 1 {
			t.Errorf("after %s, and then a change of the application: %v", retryFirst, tries)
		}
	})
}
