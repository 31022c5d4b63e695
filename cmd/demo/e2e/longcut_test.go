package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

// Kubernetes calls a node lost when its lease was not renewed for 50 s
// (--node-monitor-grace-period); a cut lasts longer here.
const longer = 65 * time.Second

// longCut leaves the cable cut for so long that Kubernetes would give the node
// up if nobody spoke for it. The node must tell the truth about its link, stay
// Ready and keep its pod, and be whole again when the cable is mended. The pod's endpoint
// leaves its Service meanwhile, and is back without a flap.
func longCut(t *testing.T, s *site.Site) {
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	k, client := newKube(t, s), clientset(t, s)
	k.run(ctx, "", "-n", tour.Namespace, "expose", "deployment", tour.App, "--name=truth", "--port=8080")
	defer k.run(ctx, "", "-n", tour.Namespace, "delete", "service", "truth")
	pods := len(k.pods(ctx, tour.App))
	k.awaitEndpoints(ctx, client, tour.Namespace, "truth", pods)
	seen := watchReadiness(t, client, tour.Namespace)
	pod, err := s.WaitPod(ctx, tour.Namespace, tour.App, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Network().Cut(ctx); err != nil {
		t.Fatal(err)
	}
	over := time.Now().Add(longer)
	said := false
	await(ctx, t, s, func(n *corev1.Node) bool {
		if c := condition(n, corev1.NodeReady); c != corev1.ConditionTrue {
			t.Fatalf("Ready is %q while the link is cut", c)
		}
		said = said || condition(n, connected) == corev1.ConditionFalse && len(n.Spec.Taints) > 0
		return said && time.Now().After(over)
	})
	k.untilNotReady(ctx, client, tour.Node, tour.Namespace, "truth", 0)
	local(ctx, t, s, pod.Name)
	readyOnNode(ctx, t, s, pod.Name)
	_, err = s.Kube().Run(ctx, "", "-n", tour.Namespace, "logs", pod.Name)
	if err == nil || !strings.Contains(err.Error(), "is not connected") {
		t.Errorf("logs of a node that is cut off: %v", err)
	}
	if err := s.Network().Mend(ctx); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, s, func(n *corev1.Node) bool {
		return linked(n) && len(n.Spec.Taints) == 0
	})
	k.awaitEndpoints(ctx, client, tour.Namespace, "truth", pods)
	after, err := s.WaitPod(ctx, tour.Namespace, tour.App, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if after.UID != pod.UID || after.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("the pod was replaced or restarted: %s before, %s after", pod.Name, after.Name)
	}
	if got, want := seen.of(pod.Name), []string{"True", "False NodeDisconnected", "True"}; !slices.Equal(got, want) || len(seen.deleted()) > 0 {
		t.Errorf("the pod's readiness was %q, want %q; deleted: %q", got, want, seen.deleted())
	}
}

// readyOnNode checks that a pod is ready in the node's own API.
func readyOnNode(ctx context.Context, t *testing.T, s *site.Site, pod string) {
	t.Helper()
	out, err := s.RunOnNode(ctx, "edgectl", "get", "pod", pod, "-n", tour.Namespace, "-o", "yaml", "--data-dir", s.DataDir(tour.Node))
	if err != nil || strings.Contains(out, "NodeDisconnected") || !strings.Contains(out, "ready: true") {
		t.Errorf("on the node: %q, %v", out, err)
	}
}

// connected is the condition by which cloudcore tells of a node's link.
const connected corev1.NodeConditionType = "EdgeConnected"

// await reads the node once a second until ok.
func await(ctx context.Context, t *testing.T, s *site.Site, ok func(*corev1.Node) bool) {
	t.Helper()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var n corev1.Node
		if err := s.Kube().Get(ctx, &n, "node", tour.Node); err != nil {
			t.Fatal(err)
		}
		if ok(&n) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain: %v, taints %v, conditions %v", context.Cause(ctx), n.Spec.Taints, n.Status.Conditions)
		}
	}
}

// linked reports whether the cloud has the node's link.
func linked(n *corev1.Node) bool { return condition(n, connected) == corev1.ConditionTrue }

// whole reports whether it is a node like any other.
func whole(n *corev1.Node) bool {
	return linked(n) && condition(n, corev1.NodeReady) == corev1.ConditionTrue && len(n.Spec.Taints) == 0
}

func condition(n *corev1.Node, kind corev1.NodeConditionType) corev1.ConditionStatus {
	i := slices.IndexFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == kind })
	if i < 0 {
		return ""
	}
	return n.Status.Conditions[i].Status
}
