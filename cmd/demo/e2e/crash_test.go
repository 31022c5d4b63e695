package e2e

import (
	"context"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

// crashes kills both ends of the link without a word and starts them again.
// What runs goes on, and what is asked for next is done.
func crashes(t *testing.T, s *site.Site) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	before, err := s.RunningContainers(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Processes().Kill(ctx, "cloudcore"); err != nil {
		t.Fatal(err)
	}
	if err := s.KillEdge(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.StartEdge(tour.Node); err != nil {
		t.Fatal(err)
	}
	if err := s.StartCloud(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Kube().Run(ctx, "", "-n", tour.Namespace, "scale", "deployment", tour.App, "--replicas=2"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Kube().Run(ctx, "", "-n", tour.Namespace, "rollout", "status", "deployment", tour.App, "--timeout=60s"); err != nil {
		t.Fatal(err)
	}
	after, err := s.RunningContainers(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range before {
		if !slices.Contains(after, id) {
			t.Errorf("container %s did not live through it", id)
		}
	}
	if want := len(before) + 2; len(after) != want { // one more pod: sandbox and container
		t.Errorf("%d containers run, want %d", len(after), want)
	}
}

// deleteAll deletes everything in the cluster and waits until the node has
// nothing left of it.
func deleteAll(t *testing.T, s *site.Site) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if _, err := s.Kube().Run(ctx, "", "delete", "namespace", tour.Namespace, "--timeout=60s"); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, s, func(*corev1.Node) bool {
		running, err := s.RunningContainers(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return len(running) == 0
	})
	if _, err := s.Twins(ctx, tour.Namespace, tour.Device); err == nil {
		t.Error("the node still knows the device")
	}
}
