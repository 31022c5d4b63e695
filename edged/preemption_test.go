package edged_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// startSmall starts an Agent on a node with room for two pods.
func (b *bench) startSmall(edits ...func(*edged.Config)) {
	cfg := b.config()
	cfg.MaxPods = 2
	for _, edit := range edits {
		edit(&cfg)
	}
	b.startAgent(cfg)
}

// named is a pod whose container has the pod's name.
func named(name string) *corev1.Pod {
	p := newPod(name, busybox("serve"))
	p.Spec.Containers[0].Name = name
	return p
}

// TestPreemption: a critical pod that finds no room has another end, with the kubelet's
// words and within that pod's own grace period, and then runs. Nobody else gets the room.
func TestPreemption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.rt.Behave("slow", runtimetest.Program{StopAfter: 20 * time.Second})
		b.startSmall()
		defer func() { b.stop() }()
		keep, slow := named("keep"), named("slow")
		keep.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"memory": resource.MustParse("1Mi")}
		b.put(keep)
		b.put(slow)
		settle(time.Second)
		critical := named("critical")
		critical.Spec.Priority = new(int32(2_000_000_000))
		b.put(critical)
		settle(5 * time.Second)
		if b.phase(slow.UID) != corev1.PodRunning || slices.Contains(b.rt.Calls(), "StartContainer critical") || b.happened("Preempting") != 1 {
			t.Fatalf("phase %s, calls %q, events %q", b.phase(slow.UID), b.rt.Calls(), b.seen())
		}
		late := named("a-late") // before the critical one in the list
		b.put(late)
		settle(30 * time.Second)
		b.mu.Lock()
		st, lateStatus := b.status[slow.UID], b.status[late.UID]
		b.mu.Unlock()
		i := slices.IndexFunc(st.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.DisruptionTarget })
		if st.Phase != corev1.PodFailed || st.Reason != "Preempting" || st.Message != "Preempted in order to admit critical pod" || i < 0 ||
			st.Conditions[i].Reason != "TerminationByKubelet" || st.Conditions[i].Message != "Pod was preempted by Kubelet to accommodate a critical pod." {
			t.Errorf("the one that ended: %+v", st)
		}
		if b.container(critical.UID).State.Running == nil || b.container(keep.UID).State.Running == nil {
			t.Errorf("critical %+v, kept %+v", b.container(critical.UID).State, b.container(keep.UID).State)
		}
		if lateStatus.Phase != corev1.PodFailed || lateStatus.Reason != "OutOfpods" {
			t.Errorf("the one that came meanwhile: %+v", lateStatus)
		}
		if st := slices.Index(b.rt.Calls(), "StartContainer critical"); st < slices.Index(b.rt.Calls(), "StopContainer slow") {
			t.Errorf("calls %q", b.rt.Calls())
		}
	})
}

// TestPreemptionByAFile: a static pod has room also where the others did not start yet.
func TestPreemptionByAFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		dir := filepath.Join(b.root, "static")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		b.startSmall(func(cfg *edged.Config) { cfg.StaticPodDir = dir })
		defer func() { b.stop() }()
		b.put(named("one"))
		two := named("two")
		two.Spec.Containers[0].Image = "registry.example/none:1"
		two.Spec.Containers[0].ImagePullPolicy = corev1.PullNever
		b.put(two)
		settle(5 * time.Second)
		manifest := "apiVersion: v1\nkind: Pod\nmetadata: {name: file, namespace: default}\nspec:\n  containers: [{name: file, image: busybox, imagePullPolicy: IfNotPresent}]\n"
		if err := os.WriteFile(filepath.Join(dir, "p.yaml"), []byte(manifest), 0o600); err != nil {
			t.Fatal(err)
		}
		settle(time.Minute)
		if !slices.Contains(b.rt.Calls(), "StartContainer file") || b.happened("Preempting") != 1 {
			t.Errorf("calls %q, events %q", b.rt.Calls(), b.seen())
		}
	})
}

// TestPreemptionOfNobody: where even the end of all would not do, nobody ends.
func TestPreemptionOfNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.startSmall()
		defer func() { b.stop() }()
		one := named("one")
		b.put(one)
		settle(time.Second)
		huge := named("huge")
		huge.Spec.Priority = new(int32(2_000_001_000))
		huge.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("10k")}
		b.put(huge)
		settle(time.Minute)
		b.mu.Lock()
		st := b.status[huge.UID]
		b.mu.Unlock()
		if st.Reason != "UnexpectedAdmissionError" || !strings.Contains(st.Message, "no set of running pods found to reclaim resources: [(res: cpu, q: ") || b.container(one.UID).State.Running == nil {
			t.Errorf("%+v", st)
		}
	})
}
