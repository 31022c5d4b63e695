package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/examples/cluster/process"
	"github.com/edgekit/edgekit/examples/demo/site"
	"github.com/edgekit/edgekit/examples/demo/tour"
)

// twice starts a second edgecore with a copy of the first one's identity. The
// rule: the newer takes the node over, the older is told, says so and ends.
// Which of the two it is does not matter here; that exactly one goes on, and
// that it stays so, does.
func twice(t *testing.T, s *site.Site) {
	ctx := t.Context()
	first, err := s.Processes().Lookup("edgecore")
	if err != nil || !first.Alive() {
		t.Fatalf("no edgecore runs: %v", err)
	}
	const copied = "copy"
	if err := os.CopyFS(filepath.Join(s.DataDir(copied), "identity"), os.DirFS(filepath.Join(s.DataDir(tour.Node), "identity"))); err != nil {
		t.Fatal(err)
	}
	args := replace(s.EdgeArgs(copied), "--mqtt-listen", "tcp://127.0.0.1:11884")
	second, err := s.Start(process.Spec{Name: "edgecore-copy", Path: s.Program("edgecore"), NetNS: s.Network().File, Args: args})
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(45 * time.Second)
	for first.Alive() && second.Alive() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("two programs with one identity run side by side")
		}
	}
	loser := "edgecore"
	if !second.Alive() {
		loser = "edgecore-copy"
	}
	text, err := s.Processes().Tail(loser, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s ended: %s", loser, text)
	if !strings.HasPrefix(text, "edgecore: ") || !strings.Contains(text, tour.Node) {
		t.Errorf("it does not say why: %q", text)
	}
	steady := time.After(10 * time.Second)
	for done := false; !done; {
		select {
		case <-tick.C:
			if first.Alive() == second.Alive() {
				t.Fatal("the other one ended as well")
			}
		case <-steady:
			done = true
		}
	}
	if err := s.Processes().Stop(ctx, "edgecore-copy", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if !first.Alive() { // the copy had won
		if _, err := s.StartEdge(tour.Node); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.WaitNode(ctx, tour.Node, corev1.ConditionTrue, time.Minute); err != nil {
		t.Error(err)
	}
}
