package e2e

import (
	_ "embed"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

//go:embed probes.yaml
var probesYAML string

// runtimeAway is how long the container runtime is away: more than twice as long
// as the probes' period times their threshold.
const runtimeAway = 8 * time.Second

// probes stops the container runtime under pods with exec, HTTP and gRPC probes.
// That a probe could not be made is not an answer of it: no container restarts,
// and none was unready.
func probes(t *testing.T, s *site.Site) {
	ctx := within(t, 2*time.Minute)
	k := newKube(t, s)
	apps := []string{"probe-exec", "probe-http", "probe-grpc"}
	k.run(ctx, filled(probesYAML, "NODE", tour.Node), "apply", "-f", "-")
	defer remove(t, s, "pods", "suite=probes")
	for _, app := range apps {
		k.ready(ctx, app, 1)
	}
	before, was := k.suite(ctx, "probes"), processes(ctx, t, s)
	if err := s.Processes().Stop(ctx, "containerd", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	away := time.NewTimer(runtimeAway)
	defer away.Stop()
	<-away.C
	if err := s.RestartRuntime(ctx); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, s, whole)
	again := time.NewTimer(5 * time.Second) // a kill that a probe asked for would be done by now
	defer again.Stop()
	<-again.C
	restarted(t, was, processes(ctx, t, s))
	after := k.suite(ctx, "probes")
	for _, app := range apps {
		// Kubernetes' node controller takes PodReady from all pods of a node that is
		// NotReady; ContainersReady is the node's own.
		a, b := containersReady(before[app]), containersReady(after[app])
		if b.Status != corev1.ConditionTrue || !a.LastTransitionTime.Equal(&b.LastTransitionTime) {
			t.Errorf("pod %s: its containers were ready since %v, and are %s since %v", app, a.LastTransitionTime, b.Status, b.LastTransitionTime)
		}
		if n := after[app].Status.ContainerStatuses[0].RestartCount; n != 0 {
			t.Errorf("pod %s: restarted %d times", app, n)
		}
	}
	k.until(ctx, func() error {
		for _, app := range apps {
			if p := k.pods(ctx, app); !ready(p[0]) {
				return fmt.Errorf("pod %s is not Ready", app)
			}
		}
		return nil
	})
}

func containersReady(p corev1.Pod) corev1.PodCondition {
	return podCondition(p, corev1.ContainersReady)
}

func ready(p corev1.Pod) bool { return podCondition(p, corev1.PodReady).Status == corev1.ConditionTrue }

func podCondition(p corev1.Pod, kind corev1.PodConditionType) corev1.PodCondition {
	for _, c := range p.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.PodCondition{}
}
