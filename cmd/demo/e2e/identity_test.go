package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/cluster/process"
	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

// twice starts a second edgecore with a copy of the first one's identity, as on a
// cloned disk. It takes the node over; the first one gets the reason, logs it, goes on
// without the link, and does not take the node back while the copy runs. It has no
// runtime: on the same machine both would look after the same containers.
func twice(t *testing.T, s *site.Site) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	k := newKube(t, s)
	first, err := s.Processes().Lookup("edgecore")
	if err != nil || !first.Alive() {
		t.Fatalf("no edgecore runs: %v", err)
	}
	before := processes(ctx, t, s)
	const copied = "copy"
	if err := os.CopyFS(filepath.Join(s.DataDir(copied), "identity"), os.DirFS(filepath.Join(s.DataDir(tour.Node), "identity"))); err != nil {
		t.Fatal(err)
	}
	args := replace(s.EdgeArgs(copied), "--mqtt-listen", "tcp://127.0.0.1:11884")
	// A runtime that is not up yet: the copy waits for it with its pods, and has the link.
	runtime, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(t.TempDir(), "runtime.sock")})
	if err != nil {
		t.Fatal(err)
	}
	runtime.SetUnlinkOnClose(false)
	if err := runtime.Close(); err != nil {
		t.Fatal(err)
	}
	args = replace(args, "--runtime-endpoint", "unix://"+runtime.Addr().String())
	args = replace(args, "--static-pod-dir", "")
	second, err := s.Start(process.Spec{Name: "edgecore-copy", Path: s.Program("edgecore"), NetNS: s.Network().File, Args: args})
	if err != nil {
		t.Fatal(err)
	}
	k.until(ctx, func() error {
		text, err := s.Processes().Tail("edgecore", 200)
		if err == nil && !strings.Contains(text, "another program has taken this node over") {
			err = errors.New("the first one says nothing of the copy")
		}
		return err
	})
	k.until(ctx, func() error { return event(ctx, k, "DuplicateNodeIdentity", "edgecore join --replace") })
	steady := time.NewTimer(20 * time.Second)
	defer steady.Stop()
	<-steady.C
	if !first.Alive() || !second.Alive() {
		t.Errorf("the first one runs: %t, the copy: %t", first.Alive(), second.Alive())
	}
	restarted(t, before, processes(ctx, t, s))
	if err := s.Processes().Stop(ctx, "edgecore-copy", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	// It would be back by itself after some minutes; a restart has it back at once.
	if err := s.StopEdge(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.StartEdge(tour.Node); err != nil {
		t.Fatal(err)
	}
	if _, err := s.WaitNode(ctx, tour.Node, corev1.ConditionTrue, time.Minute); err != nil {
		t.Error(err)
	}
	await(ctx, t, s, whole)
	restarted(t, before, processes(ctx, t, s))
}

// event looks for an event on the Node with the reason and the text.
func event(ctx context.Context, k kube, reason, text string) error {
	var list corev1.EventList
	if err := k.s.Kube().Get(ctx, &list, "events", "-n", "default", "--field-selector", "reason="+reason+",involvedObject.name="+tour.Node); err != nil {
		return err
	}
	if !slices.ContainsFunc(list.Items, func(e corev1.Event) bool { return strings.Contains(e.Message, text) }) {
		return fmt.Errorf("%d events %s on the node, none with %q", len(list.Items), reason, text)
	}
	return nil
}

// nodeDeleted deletes the Node of a connected node: it is back before anybody
// misses it, says so, and its pods are those that they were.
func nodeDeleted(t *testing.T, s *site.Site) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	k := newKube(t, s)
	pod, err := s.WaitPod(ctx, tour.Namespace, tour.App, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var node corev1.Node
	if err := s.Kube().Get(ctx, &node, "node", tour.Node); err != nil {
		t.Fatal(err)
	}
	k.run(ctx, "", "label", "node", tour.Node, autonomyLabel+"=72h")
	before := processes(ctx, t, s)
	k.run(ctx, "", "delete", "node", tour.Node, "--wait=false")
	gone := time.Now()
	k.until(ctx, func() error {
		var back corev1.Node
		if err := s.Kube().Get(ctx, &back, "node", tour.Node); err != nil {
			return err
		}
		if back.UID == node.UID || !whole(&back) {
			return fmt.Errorf("the Node is not back: %s, %v", back.UID, back.Status.Conditions)
		}
		return nil
	})
	took := time.Since(gone)
	t.Logf("back %v after it was deleted", took.Round(100*time.Millisecond))
	if took > 15*time.Second {
		t.Errorf("it was away for %v", took)
	}
	k.until(ctx, func() error { return event(ctx, k, "RegisteredAgain", "label "+autonomyLabel) })
	// Kubernetes ends pods of nodes that are away for 40 s and more.
	later := time.NewTimer(70 * time.Second)
	defer later.Stop()
	<-later.C
	after, err := s.WaitPod(ctx, tour.Namespace, tour.App, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if after.UID != pod.UID {
		t.Errorf("pod %s was replaced by %s", pod.Name, after.Name)
	}
	restarted(t, before, processes(ctx, t, s))
}

// removed takes a connected node out with one command: its Node stays away while
// its edgecore runs, and with a new token it is back.
func removed(t *testing.T, s *site.Site) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	retire := func(more ...string) (string, error) {
		return s.Run(ctx, "edgectl", append([]string{"--kubeconfig", s.Kubeconfig(), "node", "retire", tour.Node}, more...)...)
	}
	if out, err := retire(); err == nil || !strings.Contains(err.Error(), "--devices=unbind") {
		t.Fatalf("a node with devices was retired: %s, %v", out, err)
	}
	out, err := retire("--force", "--timeout=90s", "--devices=keep")
	if err != nil {
		t.Fatal(err)
	}
	t.Log(out)
	steady := time.NewTimer(15 * time.Second)
	defer steady.Stop()
	<-steady.C
	if names := newKube(t, s).run(ctx, "", "get", "nodes", "-o", "name"); strings.Contains(names, tour.Node) {
		t.Errorf("the Node is back: %s", names)
	}
	if r, err := s.Processes().Lookup("edgecore"); err != nil || !r.Alive() {
		t.Errorf("edgecore ended: %v", err)
	}
	token, err := s.Token(ctx, tour.Node)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.StopEdge(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RunOnNode(ctx, "edgecore", "join", "--replace", "--cloud", s.CloudAddress(), "--token", token, "--node", tour.Node, "--data-dir", s.DataDir(tour.Node)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.StartEdge(tour.Node); err != nil {
		t.Fatal(err)
	}
	if _, err := s.WaitNode(ctx, tour.Node, corev1.ConditionTrue, time.Minute); err != nil {
		t.Error(err)
	}
}
