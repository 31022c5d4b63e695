package e2e

import (
	"context"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

// local looks into a pod as an operator who stands before the machine.
func local(ctx context.Context, t *testing.T, s *site.Site, pod string) {
	t.Helper()
	at := []string{"--data-dir", s.DataDir(tour.Node)}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"get", "pods", "-n", tour.Namespace}, pod},
		{[]string{"get", "nodes"}, tour.Node},
		{[]string{"get", "pod", pod, "-n", tour.Namespace, "-o", "yaml"}, "podIP: "},
		{[]string{"logs", pod, "-n", tour.Namespace, "--tail", "5"}, "\n"},
		{[]string{"describe", "pod", pod, "-n", tour.Namespace}, "running since"},
		{[]string{"top"}, pod},
	} {
		out, err := s.RunOnNode(ctx, "edgectl", append(c.args[:len(c.args):len(c.args)], at...)...)
		if err != nil || !strings.Contains(out, c.want) {
			t.Errorf("edgectl %s: %q, %v", strings.Join(c.args, " "), out, err)
		}
	}
}

// localExec runs a command in the pod tools from the node itself.
func localExec(ctx context.Context, t *testing.T, s *site.Site) {
	t.Helper()
	out, err := s.RunOnNode(ctx, "edgectl", "exec", "-n", tour.Namespace, "--data-dir", s.DataDir(tour.Node), "tools", "--", "/tools", "sum", "/tools")
	if err != nil || len(strings.TrimSpace(out)) != 64 {
		t.Errorf("edgectl exec: %q, %v", out, err)
	}
	if _, err := s.RunOnNode(ctx, "edgectl", "exec", "-n", tour.Namespace, "--data-dir", s.DataDir(tour.Node), "tools", "--", "/tools", "sum"); err == nil || !strings.Contains(err.Error(), "ended with 1") {
		t.Errorf("a command that fails: %v", err)
	}
}
