package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

const autonomyLabel = "edgekit.node-restriction.kubernetes.io/autonomy"

// policies cuts a node off whose pods are to be kept for no time, and for half a
// minute: then Kubernetes finds it lost, as any node. When it is back it is whole.
func policies(t *testing.T, s *site.Site) {
	for _, test := range []struct {
		policy string
		kept   time.Duration
	}{{"off", 0}, {"30s", 30 * time.Second}} {
		t.Run(test.policy, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			k := newKube(t, s)
			pod, err := s.WaitPod(ctx, tour.Namespace, tour.App, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			k.run(ctx, "", "label", "node", tour.Node, autonomyLabel+"="+test.policy, "--overwrite")
			if err := s.Network().Cut(ctx); err != nil {
				t.Fatal(err)
			}
			cut := time.Now()
			await(ctx, t, s, func(n *corev1.Node) bool { return condition(n, corev1.NodeReady) == corev1.ConditionUnknown })
			lost := time.Since(cut)
			t.Logf("found lost %v after the cut", lost.Round(time.Second))
			if lost < test.kept {
				t.Errorf("kept for %v only", lost)
			}
			if running, err := s.RunningContainers(ctx); err != nil || len(running) == 0 {
				t.Errorf("%d containers run on the node, %v", len(running), err)
			}
			k.run(ctx, "", "label", "node", tour.Node, autonomyLabel+"-")
			if err := s.Network().Mend(ctx); err != nil {
				t.Fatal(err)
			}
			await(ctx, t, s, whole)
			after, err := s.WaitPod(ctx, tour.Namespace, tour.App, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if after.UID != pod.UID || after.Status.ContainerStatuses[0].RestartCount != 0 {
				t.Errorf("the pod was replaced or restarted: %s before, %s after", pod.Name, after.Name)
			}
		})
	}
}

// certificateEnds gives the node a certificate of half a minute, cuts it off for
// longer, and mends the cable: the node renews by its key, and is back.
func certificateEnds(t *testing.T, s *site.Site) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	const life = 30 * time.Second
	restartCloud(ctx, t, s, "--certificate-life="+life.String())
	token, err := s.Token(ctx, tour.Node)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.StopEdge(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(ctx, "edgectl", "--kubeconfig", s.Kubeconfig(), "node", "release", tour.Node); err != nil {
		t.Fatal(err)
	}
	before := processes(ctx, t, s)
	rejoin(ctx, t, s, token)
	if err := s.Network().Cut(ctx); err != nil {
		t.Fatal(err)
	}
	over := time.NewTimer(life + 5*time.Second)
	defer over.Stop()
	<-over.C
	if err := s.KillEdge(ctx); err != nil { // as at a power cut
		t.Fatal(err)
	}
	if _, err := s.StartEdge(tour.Node); err != nil {
		t.Fatal(err)
	}
	k := newKube(t, s)
	k.until(ctx, func() error {
		text, err := s.Processes().Tail("edgecore", 50)
		if err == nil && !strings.Contains(text, "certificate has expired") {
			err = context.DeadlineExceeded
		}
		return err
	})
	if err := s.Network().Mend(ctx); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, s, func(n *corev1.Node) bool {
		return linked(n) && len(n.Spec.Taints) == 0
	})
	restarted(t, before, processes(ctx, t, s))
	restartCloud(ctx, t, s)
}

// restartCloud has cloudcore run with further arguments.
func restartCloud(ctx context.Context, t *testing.T, s *site.Site, args ...string) {
	t.Helper()
	if err := s.StopCloud(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.StartCloud(ctx, args...); err != nil {
		t.Fatal(err)
	}
}
