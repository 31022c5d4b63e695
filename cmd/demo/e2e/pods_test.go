package e2e

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

//go:embed unsupported.yaml
var unsupportedYAML string

// TestPods is what pods do, without the rest: "make e2e-pods".
func TestPods(t *testing.T) {
	if os.Getenv("PODS") == "" {
		t.Skip("PODS is not set: make e2e-pods")
	}
	s := newSite(t)
	story(t, s)
	if t.Failed() {
		return
	}
	t.Run("pods", func(t *testing.T) { pods(t, s) })
}

// pods makes many pods at once, so that they wait side by side, and looks at each
// of them.
func pods(t *testing.T, s *site.Site) {
	k := newKube(t, s)
	began, stamps := time.Now(), t.TempDir()
	k.run(t.Context(), filled(phasesYAML, "NODE", tour.Node, "STAMPS", stamps), "apply", "-f", "-")
	t.Run("begin", func(t *testing.T) { phasesBegin(t, s, stamps) })
	k.run(t.Context(), filled(unsupportedYAML, "NODE", tour.Node), "apply", "-f", "-")
	t.Run("phases", func(t *testing.T) { phases(t, s, stamps) })
	t.Run("unsupported", func(t *testing.T) { unsupported(t, s) })
	remove(t, s, "jobs,pods", "suite in (phases, refused)")
	for _, object := range []string{"job/deadline", "runtimeclass/e2e-unknown", "resourceclaim/claim", "resourceslice/e2e-slice", "deviceclass/e2e.example.com"} {
		k.run(t.Context(), "", "-n", tour.Namespace, "delete", object, "--ignore-not-found", "--timeout=60s")
	}
	t.Run("probes", func(t *testing.T) { probes(t, s) })
	t.Run("offline", func(t *testing.T) { offline(t, s) })
	t.Logf("RESULT e2e_pods %.0f seconds", time.Since(began).Seconds())
}

// filled replaces words of a manifest, given in pairs.
func filled(manifest string, pairs ...string) string {
	return strings.NewReplacer(pairs...).Replace(manifest)
}

// remove deletes what has the labels, and waits until it is gone.
func remove(t *testing.T, s *site.Site, kinds, labels string) {
	t.Helper()
	newKube(t, s).run(context.WithoutCancel(t.Context()), "", "-n", tour.Namespace, "delete", kinds, "-l", labels, "--timeout=90s")
}

// suite returns the pods of a suite, by name.
func (k kube) suite(ctx context.Context, name string) map[string]corev1.Pod {
	k.t.Helper()
	var list corev1.PodList
	if err := k.s.Kube().Get(ctx, &list, "pods", "-n", tour.Namespace, "-l", "suite="+name); err != nil {
		k.t.Fatal(err)
	}
	all := make(map[string]corev1.Pod)
	for _, p := range list.Items {
		all[p.Name] = p
	}
	return all
}

// event waits for an event about a pod that is as wanted, and fails the test if
// there is none.
func (k kube) event(ctx context.Context, pod string, wanted func(corev1.Event) bool) {
	k.t.Helper()
	k.until(ctx, func() error {
		var list corev1.EventList
		if err := k.s.Kube().Get(ctx, &list, "events", "-n", tour.Namespace, "--field-selector=involvedObject.name="+pod); err != nil {
			return err
		}
		var said []string
		for _, e := range list.Items {
			if wanted(e) {
				return nil
			}
			said = append(said, e.Type+" "+e.Reason+": "+e.Message)
		}
		return fmt.Errorf("no such event of pod %s, only %q", pod, said)
	})
}

// warns is an event of type Warning whose reason or message has the word.
func warns(word string) func(corev1.Event) bool {
	return func(e corev1.Event) bool {
		return e.Type == corev1.EventTypeWarning && strings.Contains(strings.ToLower(e.Reason+" "+e.Message), strings.ToLower(word))
	}
}

// unsupported looks at pods that ask for what the node does not do: none of them
// may run as if it had been done, and each says why.
func unsupported(t *testing.T, s *site.Site) {
	const most = 45 * time.Second
	look := func(name string, check func(ctx context.Context, t *testing.T, k kube)) {
		t.Run(name, func(t *testing.T) { check(within(t, most), t, newKube(t, s)) })
	}
	look("runtime class without a handler", func(ctx context.Context, t *testing.T, k kube) {
		k.event(ctx, "runtimeclass", warns("e2e-unknown"))
		k.neverRan(ctx, "runtimeclass")
	})
	look("resize", func(ctx context.Context, t *testing.T, _ kube) { resizeInPlace(ctx, t, s) })
	look("limits of the pod", func(ctx context.Context, t *testing.T, _ kube) { podLimits(ctx, t, s) })
	look("resource claim", func(ctx context.Context, t *testing.T, k kube) {
		k.event(ctx, "claims", warns("DRA driver e2e.example.com is not registered"))
		k.neverRan(ctx, "claims")
	})
	look("node affinity", func(ctx context.Context, t *testing.T, k kube) {
		k.until(ctx, func() error {
			p := k.suite(ctx, "refused")["affinity"]
			if p.Status.Phase != corev1.PodFailed || p.Status.Reason != "NodeAffinity" {
				return fmt.Errorf("pod is %s %s", p.Status.Phase, p.Status.Reason)
			}
			return nil
		})
		k.neverRan(ctx, "affinity")
	})
	look("crash loop", func(ctx context.Context, t *testing.T, k kube) {
		k.event(ctx, "crash", func(e corev1.Event) bool { return e.Reason == "BackOff" && warns("restarting failed container")(e) })
	})
}

// neverRan holds that no container of the pod runs or ran.
func (k kube) neverRan(ctx context.Context, pod string) {
	k.t.Helper()
	if p := k.suite(ctx, "refused")[pod]; everRan(p) {
		k.t.Errorf("pod %s ran: %+v", pod, p.Status.ContainerStatuses)
	}
}

// everRan reports that a container of the pod runs or ran.
func everRan(p corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.State.Running != nil || c.State.Terminated != nil && c.ContainerID != "" || c.LastTerminationState.Terminated != nil
	})
}

// resizeInPlace asks for more memory in place. The pod's status must not say that it is
// there while the cgroup says otherwise.
func resizeInPlace(ctx context.Context, t *testing.T, s *site.Site) {
	k := newKube(t, s)
	k.until(ctx, func() error {
		if p := k.suite(ctx, "refused")["resize"]; p.Status.Phase != corev1.PodRunning {
			return fmt.Errorf("pod is %s", p.Status.Phase)
		}
		return nil
	})
	k.run(ctx, "", "-n", tour.Namespace, "patch", "pod", "resize", "--subresource=resize", "-p",
		`{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"40m","memory":"48Mi"},"limits":{"cpu":"200m","memory":"128Mi"}}}]}}`)
	k.until(ctx, func() error {
		p := k.suite(ctx, "refused")["resize"]
		status := p.Status.ContainerStatuses[0]
		limit := memoryLimit(ctx, t, s, status, false)
		if said := status.Resources.Limits.Memory().Value(); said != limit {
			return fmt.Errorf("status says %d bytes, the cgroup %d", said, limit)
		}
		if limit == 128<<20 {
			return nil // it was done
		}
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodResizePending && c.Status == corev1.ConditionTrue && c.Reason != "" {
				return nil
			}
		}
		return fmt.Errorf("no condition says that the resize is pending: %+v", p.Status.Conditions)
	})
}

// podLimits holds that limits of the pod as a whole are either refused or real.
func podLimits(ctx context.Context, t *testing.T, s *site.Site) {
	k := newKube(t, s)
	k.until(ctx, func() error {
		p := k.suite(ctx, "refused")["podlevel"]
		switch {
		case p.Status.Phase == corev1.PodFailed && p.Status.Reason != "":
			return nil // refused
		case p.Status.Phase != corev1.PodRunning:
			return fmt.Errorf("pod is %s: %+v", p.Status.Phase, p.Status.ContainerStatuses)
		}
		if got := memoryLimit(ctx, t, s, p.Status.ContainerStatuses[0], true); got != 40<<20 {
			t.Fatalf("the pod runs with a limit of %d bytes in its cgroup", got)
		}
		return nil
	})
}

// memoryLimit reads the limit of a container's cgroup, or that of its pod.
func memoryLimit(ctx context.Context, t *testing.T, s *site.Site, c corev1.ContainerStatus, pod bool) int64 {
	t.Helper()
	tasks, err := s.RunningTasks(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, id, _ := strings.Cut(c.ContainerID, "://")
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(tasks[id]), "cgroup"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		root, file := "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
		if parts[0] == "0" && parts[1] == "" {
			root, file = "/sys/fs/cgroup", "memory.max"
		} else if parts[1] != "memory" {
			continue
		}
		dir := filepath.Join(root, parts[2])
		if pod {
			dir = filepath.Dir(dir)
		}
		value, err := os.ReadFile(filepath.Join(dir, file))
		if os.IsNotExist(err) {
			continue // a machine with both versions
		}
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(value)), 10, 64)
		if err != nil {
			return 0 // "max"
		}
		return n
	}
	t.Fatalf("no memory cgroup in %q", text)
	return 0
}
