package groups

import (
	"context"
	"fmt"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/edgekit/edgekit/controller/groups/v1alpha1"
	"github.com/edgekit/edgekit/controller/internal/cache"
)

// workloads are the workloads of one kind that belong to applications, without their specs.
type workloads struct {
	kind  kind
	store *cache.Store[*unstructured.Unstructured]
}

func newWorkloads(c *Controller, k kind) (*workloads, error) {
	all := c.cfg.Dynamic.Resource(k.gvr())
	list := func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		o.LabelSelector = v1alpha1.ApplicationLabel
		return all.List(ctx, o)
	}
	follow := func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.LabelSelector = v1alpha1.ApplicationLabel
		return all.Watch(ctx, o)
	}
	store, err := cache.New(cache.Config[*unstructured.Unstructured]{
		ListWatch: toolscache.ToListWatcherWithWatchListSemantics(
			&toolscache.ListWatch{ListWithContextFunc: list, WatchFuncWithContext: follow}, c.cfg.Dynamic),
		Type: &unstructured.Unstructured{}, Strip: stripWorkload, Logger: c.cfg.Logger,
		Keep: func(u *unstructured.Unstructured) bool { return ownerUID(u) != "" },
	})
	if err != nil {
		return nil, fmt.Errorf("controller/groups: %w", err)
	}
	store.OnChange(func(change cache.Change[*unstructured.Unstructured]) {
		if change.New != nil {
			c.look(false, ownerUID(change.New))
		}
		if change.Old != nil {
			c.look(false, ownerUID(change.Old))
		}
	})
	return &workloads{kind: k, store: store}, nil
}

// stripWorkload keeps what says whose a workload is and whether it is ready.
func stripWorkload(u *unstructured.Unstructured) {
	replicas, has, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "replicas")
	spec := make(map[string]any)
	if has {
		spec["replicas"] = replicas
	}
	u.Object["spec"] = spec
	u.SetAnnotations(nil)
}

// ownerUID returns the uid of the application that an object belongs to.
func ownerUID(u *unstructured.Unstructured) types.UID {
	owner := metav1.GetControllerOfNoCopy(u)
	if owner == nil || owner.Kind != v1alpha1.KindEdgeApplication || owner.APIVersion != v1alpha1.GroupVersion().String() {
		return ""
	}
	return owner.UID
}

// available reports whether a workload has all that it should have.
func available(u *unstructured.Unstructured) bool {
	if u == nil {
		return false
	}
	switch u.GetKind() {
	case "Deployment":
		want := number(u, 1, "spec", "replicas")
		return observed(u) && number(u, 0, "status", "readyReplicas") == want && number(u, 0, "status", "updatedReplicas") == want
	case "StatefulSet":
		return observed(u) && number(u, 0, "status", "readyReplicas") == number(u, 1, "spec", "replicas")
	case "DaemonSet":
		return observed(u) && number(u, 0, "status", "numberReady") == number(u, 0, "status", "desiredNumberScheduled")
	case "Job":
		conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
		for _, c := range conditions {
			if m, ok := c.(map[string]any); ok && m["type"] == "Complete" && m["status"] == "True" {
				return true
			}
		}
		return false
	}
	return true // a CronJob is there
}

func observed(u *unstructured.Unstructured) bool {
	return number(u, 0, "status", "observedGeneration") >= u.GetGeneration()
}

// number reads a number; absent is what it is where there is none.
func number(u *unstructured.Unstructured, absent int64, fields ...string) int64 {
	value, found, err := unstructured.NestedFieldNoCopy(u.Object, fields...)
	if !found || err != nil {
		return absent
	}
	n, err := strconv.ParseFloat(fmt.Sprint(value), 64)
	if err != nil {
		return absent
	}
	return int64(n)
}

// workloadsOf returns the workloads of some applications, by application and name. wanted has the
// namespace of each: a workload of another namespace can name the application as its owner, and is
// not its own.
func (c *Controller) workloadsOf(wanted map[types.UID]string) map[types.UID]map[id]*unstructured.Unstructured {
	out := make(map[types.UID]map[id]*unstructured.Unstructured)
	for _, w := range c.workloads {
		for _, u := range w.store.Objects() {
			uid := ownerUID(u)
			if namespace, ok := wanted[uid]; !ok || u.GetNamespace() != namespace {
				continue
			}
			if out[uid] == nil {
				out[uid] = make(map[id]*unstructured.Unstructured)
			}
			out[uid][id{kind: w.kind.Kind, name: u.GetName()}] = u
		}
	}
	return out
}

// nameOf returns the name of an application in its store.
func nameOf(app *v1alpha1.EdgeApplication) cache.Name {
	return cache.Name{Namespace: app.Namespace, Name: app.Name}
}
