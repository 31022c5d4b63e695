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

// revoked takes the node's certificate away while it is connected: its session
// ends at once and its pods go on; with a new token it comes back as it was.
// Tokens are listed on the way, and a deleted one is worth nothing.
func revoked(t *testing.T, s *site.Site) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	edgectl := func(args ...string) string {
		t.Helper()
		out, err := s.Run(ctx, "edgectl", append([]string{"--kubeconfig", s.Kubeconfig()}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	token, err := s.Token(ctx, tour.Node)
	if err != nil {
		t.Fatal(err)
	}
	id, secret := strings.Split(token, ".")[1], strings.Split(token, ".")[secretPart]
	list := edgectl("token", "list")
	if !strings.Contains(list, id) || strings.Contains(list, secret) {
		t.Errorf("the list of tokens: %s", list)
	}
	edgectl("token", "delete", id)
	if list := edgectl("token", "list"); strings.Contains(list, id) {
		t.Errorf("the deleted token is listed: %s", list)
	}
	before, err := s.RunningContainers(ctx)
	if err != nil {
		t.Fatal(err)
	}

	began := time.Now()
	t.Log(edgectl("node", "revoke", tour.Node))
	await(ctx, t, s, func(n *corev1.Node) bool { return condition(n, connected) == corev1.ConditionFalse })
	t.Logf("revoked and disconnected after %v", time.Since(began).Round(time.Millisecond))
	if r, err := s.Processes().Lookup("edgecore"); err != nil || !r.Alive() {
		t.Errorf("the node did not work on without the cloud: %v", err)
	}
	if list := edgectl("node", "list"); !strings.Contains(list, "revoked") {
		t.Errorf("the list of nodes: %s", list)
	}
	refused(t, s, []string{"join", "--replace", "--cloud", s.CloudAddress(), "--token", token, "--node", tour.Node, "--data-dir", s.DataDir(tour.Node)}, []string{"create a new one"})

	if token, err = s.Token(ctx, tour.Node); err != nil {
		t.Fatal(err)
	}
	if err := s.StopEdge(ctx); err != nil {
		t.Fatal(err)
	}
	rejoin(ctx, t, s, token)
	after, err := s.RunningContainers(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(slices.Sorted(slices.Values(before)), slices.Sorted(slices.Values(after))) {
		t.Errorf("containers before %v, after %v", before, after)
	}
}

// rejoin joins the node anew, whose edgecore does not run, and starts that.
func rejoin(ctx context.Context, t *testing.T, s *site.Site, token string) {
	t.Helper()
	if _, err := s.RunOnNode(ctx, "edgecore", "join", "--replace", "--cloud", s.CloudAddress(), "--token", token, "--node", tour.Node, "--data-dir", s.DataDir(tour.Node)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.StartEdge(tour.Node); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, s, linked)
}
