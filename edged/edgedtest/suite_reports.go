package edgedtest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged"
)

// Reported shows what came out above an implementation of edged.Reports. An API is one.
type Reported interface {
	ReportedNode() *corev1.Node
	Status(uid types.UID) *corev1.PodStatus
	IsGone(uid types.UID) bool
	Events() []*corev1.Event
}

// RunReports holds an implementation of edged.Reports to its contract. open makes one
// to which nothing was reported yet, and what stands above it.
func RunReports(t *testing.T, open func(t *testing.T) (edged.Reports, Reported)) {
	t.Run("node", func(t *testing.T) {
		reports, above := open(t)
		for _, version := range []string{"v1", "v2"} {
			node := &corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: metav1.ObjectMeta{Name: NodeName}}
			node.Status.NodeInfo.KubeletVersion = version
			if err := reports.Node(t.Context(), node); err != nil {
				t.Fatalf("Node: %v", err)
			}
		}
		if got := above.ReportedNode(); got == nil || got.Status.NodeInfo.KubeletVersion != "v2" {
			t.Errorf("the newest report of the node is not what was reported last: %+v", got)
		}
	})
	t.Run("pod status", func(t *testing.T) {
		reports, above := open(t)
		testPodStatus(t, reports, above)
	})
	t.Run("pod gone", func(t *testing.T) {
		reports, above := open(t)
		p := newPod("web")
		if err := reports.PodGone(t.Context(), p); err != nil {
			t.Fatalf("PodGone: %v", err)
		}
		if !above.IsGone(p.UID) {
			t.Error("that the pod is gone was not reported")
		}
	})
	t.Run("events", func(t *testing.T) {
		reports, above := open(t)
		for _, reason := range []string{"Pulled", "Started"} {
			e := &corev1.Event{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web." + reason}, Reason: reason,
				InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "web"},
			}
			if err := reports.Event(t.Context(), e); err != nil {
				t.Fatalf("Event: %v", err)
			}
		}
		var reasons []string
		for _, e := range above.Events() {
			reasons = append(reasons, e.Reason)
		}
		if want := []string{"Pulled", "Started"}; !slices.Equal(reasons, want) {
			t.Errorf("events %q, want %q", reasons, want)
		}
	})
	t.Run("several at once", func(t *testing.T) {
		reports, above := open(t)
		var wg sync.WaitGroup
		for _, name := range []string{"a", "b", "c", "d"} {
			wg.Go(func() {
				p := newPod(name)
				p.Status.Phase = corev1.PodRunning
				if err := reports.PodStatus(t.Context(), p); err != nil {
					t.Errorf("PodStatus: %v", err)
				}
			})
		}
		wg.Wait()
		for _, name := range []string{"a", "b", "c", "d"} {
			if st := above.Status(newPod(name).UID); st == nil || st.Phase != corev1.PodRunning {
				t.Errorf("the status of %s is %+v", name, st)
			}
		}
	})
}

// testPodStatus: the newest status of each pod counts, and the caller's pod is not
// kept.
func testPodStatus(t *testing.T, reports edged.Reports, above Reported) {
	p := newPod("web")
	for _, phase := range []corev1.PodPhase{corev1.PodPending, corev1.PodRunning} {
		p.Status.Phase = phase
		if err := reports.PodStatus(t.Context(), p); err != nil {
			t.Fatalf("PodStatus: %v", err)
		}
	}
	p.Status.Phase = corev1.PodFailed // what is the caller's again
	if st := above.Status(p.UID); st == nil || st.Phase != corev1.PodRunning {
		t.Errorf("the status is %+v, want Running", st)
	}
	if st := above.Status("other-uid"); st != nil {
		t.Errorf("a pod of which nothing was reported has the status %+v", st)
	}
}

// RunLastReports holds an implementation of edged.LastReports to its contract. open
// makes one to which nothing was reported yet.
func RunLastReports(t *testing.T, open func(t *testing.T) interface {
	edged.Reports
	edged.LastReports
},
) {
	r := open(t)
	ctx := t.Context()
	if _, err := r.LastNode(ctx); !isNotFound(err) {
		t.Errorf("LastNode before the first report: %v, want an error with NotFound", err)
	}
	p := newPod("web")
	if _, err := r.LastPodStatus(ctx, p); !isNotFound(err) {
		t.Errorf("LastPodStatus before the first report: %v, want an error with NotFound", err)
	}
	node := &corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: metav1.ObjectMeta{Name: NodeName}}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	p.Status.Phase = corev1.PodRunning
	if err := errors.Join(r.Node(ctx, node), r.PodStatus(ctx, p)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time after the caller changed what it got
		got, err := r.LastNode(ctx)
		if err != nil || len(got.Status.Conditions) != 1 || got.Status.Conditions[0].Status != corev1.ConditionTrue {
			t.Fatalf("LastNode: %+v, %v", got, err)
		}
		got.Status.Conditions[0].Status = corev1.ConditionFalse
		st, err := r.LastPodStatus(ctx, p)
		if err != nil || st.Phase != corev1.PodRunning {
			t.Fatalf("LastPodStatus: %+v, %v", st, err)
		}
		st.Phase = corev1.PodFailed
	}
	p.UID = "another-uid"
	if st, err := r.LastPodStatus(ctx, p); !isNotFound(err) {
		t.Errorf("LastPodStatus of another pod of that name: %+v, %v", st, err)
	}
}

// RunMirrorer holds an implementation of edged.Mirrorer to its contract. open makes one,
// and a function that lists the mirrors that were reported.
func RunMirrorer(t *testing.T, open func(t *testing.T) (edged.Mirrorer, func() []*corev1.Pod)) {
	m, shown := open(t)
	p := newPod("web-gate-7")
	p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "hash"}
	for range 2 {
		if err := m.MirrorPod(t.Context(), p); err != nil {
			t.Fatalf("MirrorPod: %v", err)
		}
	}
	if list := shown(); len(list) != 1 || list[0].Name != p.Name || list[0].Annotations[corev1.MirrorPodAnnotationKey] != "hash" {
		t.Errorf("%d mirrors are shown, want one: %+v", len(list), list)
	}
}

// RunNodeReader holds an implementation of edged.NodeReader to its contract. open makes
// one that has no Node yet, and a function that has the cloud send one.
func RunNodeReader(t *testing.T, open func(t *testing.T) (edged.NodeReader, func(*corev1.Node))) {
	r, put := open(t)
	if _, err := r.OwnNode(t.Context()); !isNotFound(err) {
		t.Errorf("OwnNode before the cloud sent one: %v, want an error with NotFound", err)
	}
	put(&corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: metav1.ObjectMeta{Name: NodeName, Labels: map[string]string{"site": "berlin"}}})
	node, err := eventually(t, func() (*corev1.Node, error) { return r.OwnNode(t.Context()) })
	if err != nil || node.Labels["site"] != "berlin" {
		t.Errorf("OwnNode: %+v, %v", node, err)
	}
}

// RunNodeDeletionWatcher holds an implementation of edged.NodeDeletionWatcher to its
// contract. open makes one whose Node is in the cloud, and a function that deletes it
// there.
func RunNodeDeletionWatcher(t *testing.T, open func(t *testing.T) (edged.NodeDeletionWatcher, func())) {
	w, deleteNode := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	deleted := w.NodeDeleted(ctx)
	deleteNode()
	select {
	case node, ok := <-deleted:
		if !ok || node == nil || node.Name == "" {
			t.Errorf("the deleted Node is %+v, want it as it was", node)
		}
	case <-time.After(patience):
		t.Errorf("the deletion was not noticed in %s", patience)
	}
	cancel()
	waitForClose(t, deleted)
}

// RunBoundPodLister holds an implementation of edged.BoundPodLister to its contract. open
// makes one whose cloud is in reach, and what stands above it.
func RunBoundPodLister(t *testing.T, open func(t *testing.T) (edged.BoundPodLister, Cloud)) {
	l, cloud := open(t)
	cloud.PutPod(newPod("web"))
	uids, err := eventually(t, func() ([]types.UID, error) {
		uids, err := l.Bound(t.Context())
		if err == nil && len(uids) == 0 {
			err = errors.New("no pod is bound")
		}
		return uids, err
	})
	if err != nil || !slices.Equal(uids, []types.UID{newPod("web").UID}) {
		t.Errorf("Bound: %q, %v", uids, err)
	}
}

func isNotFound(err error) bool {
	e, ok := errors.AsType[interface {
		error
		NotFound() bool
	}](err)
	return ok && e.NotFound()
}
