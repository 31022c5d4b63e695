package e2e

import (
	"context"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/cluster/process"
	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

// twoClouds has a second cloudcore beside the first, and the node move to it
// and, when it is killed, which the node soon notices, back. Nobody marks the
// node lost that another one holds, and logs reach it by whoever has it.
func twoClouds(t *testing.T, s *site.Site) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	k := newKube(t, s)
	first, err := s.Processes().Lookup("cloudcore")
	if err != nil {
		t.Fatal(err)
	}
	before := processes(ctx, t, s)
	address := net.JoinHostPort(s.Network().Host().String(), "10010")
	args := replace(slices.Clone(first.Command[1:]), "--listen", address)
	args = replace(args, "--metrics-listen", "127.0.0.1:0")
	if _, err := s.Start(process.Spec{Name: "cloudcore-2", Path: s.Program("cloudcore"), Args: append(args, "--kubelet-ports=19000-19100", "--keepalive=2s")}); err != nil {
		t.Fatal(err)
	}
	works := func(n int) {
		t.Helper()
		k.run(ctx, "", "-n", tour.Namespace, "scale", "deployment", tour.App, "--replicas="+strconv.Itoa(n))
		k.ready(ctx, tour.App, n) // and none on its way out, whose logs end with it
		pod := k.pods(ctx, tour.App)[0]
		k.until(ctx, func() error {
			_, err := s.Kube().Run(ctx, "", "-n", tour.Namespace, "logs", "--tail=1", "--request-timeout=5s", pod.Name)
			if err != nil {
				t.Log(err) // the Node has not named the new holder yet
			}
			return err
		})
	}
	k.until(ctx, func() error {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err
	})
	const monitor = "127.0.0.1:10002"
	restartEdge(ctx, t, s, "--cloud", address, "--transport=quic", "--metrics-listen", monitor)
	works(2)
	steady(ctx, t, s)
	if err := s.Processes().Kill(ctx, "cloudcore-2"); err != nil {
		t.Fatal(err)
	}
	// The server sets the keepalive of its nodes; at the default it would take half a minute
	// until the node notices.
	soon, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	awaitMetric(soon, t, s, monitor, `edgekit_hub_sessions_ended_total{reason="lost"} 1`)
	restartEdge(ctx, t, s)
	works(1)
	steady(ctx, t, s)
	restarted(t, before, processes(ctx, t, s))
}

// steady looks for a few seconds whether the node stays connected.
func steady(ctx context.Context, t *testing.T, s *site.Site) {
	t.Helper()
	seen := 0
	await(ctx, t, s, func(n *corev1.Node) bool {
		if !linked(n) || condition(n, corev1.NodeReady) != corev1.ConditionTrue {
			t.Errorf("EdgeConnected is %q, Ready %q", condition(n, connected), condition(n, corev1.NodeReady))
		}
		seen++
		return seen == 4
	})
}
