package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/edgekit/edgekit/controller/install/apiservertest"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
)

// addEdgeNode registers an edge node that cloudcore cc looks after.
func addEdgeNode(t *testing.T, client kubernetes.Interface, name string, connected bool, cc string) {
	t.Helper()
	ctx := t.Context()
	status := map[bool]corev1.ConditionStatus{true: corev1.ConditionTrue, false: corev1.ConditionFalse}[connected]
	want := edgeNode(name, status, corev1.ConditionTrue, time.Now().Add(-time.Hour))
	node, err := client.CoreV1().Nodes().Create(ctx, &want, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node.Status = want.Status
	if _, err := client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	holder := record(name, cc)
	renewed := nodeLease(name, time.Now().Add(time.Hour)) // however long the test takes
	for _, lease := range []coordinationv1.Lease{holder, renewed} {
		if _, err := client.CoordinationV1().Leases(lease.Namespace).Create(ctx, &lease, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	e := nodeEvent(name, "Rebooted", time.Now())
	e.Name, e.Namespace, e.ResourceVersion = "reboot-"+name, "shop", ""
	if _, err := client.CoreV1().Events("shop").Create(ctx, &e, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestFleetOfARealCluster reads a fleet from a real API server, with the commands that an operator
// types, and page after page.
func TestFleetOfARealCluster(t *testing.T) {
	server := apiservertest.Start(t)
	client, err := kubernetes.NewForConfig(server.Admin)
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := server.Kubeconfig(t)
	ctx := t.Context()
	for _, name := range []string{"edgekit-system", "kube-node-lease", "shop"} {
		if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil && !strings.Contains(err.Error(), "exists") {
			t.Fatal(err)
		}
	}
	identities, err := nodeidentity.New(nodeidentity.Config{Client: client, Namespace: "edgekit-system"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := identities.Claim(ctx, "edge-new", "hash"); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		addEdgeNode(t, client, fmt.Sprintf("edge-%d", i), i != 0, "cc-a")
	}
	code, out, errs := command(t, "--kubeconfig", kubeconfig, "status", "--output", "json")
	var got fleetStatus
	if err := json.Unmarshal([]byte(out), &got); code != 0 || err != nil {
		t.Fatalf("exit %d, %v: %s %s", code, err, out, errs)
	}
	if got.Nodes.Total != 5 || got.Nodes.Connected != 4 || got.Nodes.Disconnected != 1 || got.Nodes.Unregistered != 1 || len(got.Cloudcores) != 1 || got.Cloudcores[0].Nodes != 5 || !got.Cloudcores[0].Running ||
		len(got.Problems) != 2 || got.Problems[0].Object != "node/edge-0" || len(got.Unknown) != 1 {
		t.Errorf("%+v", got)
	}
	if code, out, errs := command(t, "--kubeconfig", kubeconfig, "status", "--exit-code"); code != 1 || !strings.HasPrefix(out, "SEVERITY") || !strings.Contains(errs, "1 problems") {
		t.Errorf("exit %d: %s %s", code, out, errs)
	}
	if code, out, errs := command(t, "--kubeconfig", kubeconfig, "describe", "node", "edge-0"); code != 0 || !strings.Contains(out, "away Disconnected") || !strings.Contains(out, "cc-a") {
		t.Errorf("exit %d: %s %s", code, out, errs)
	}
	if code, out, errs := command(t, "--kubeconfig", kubeconfig, "events", "--node", "edge-1", "--output", "name"); code != 0 || out != "Pod/web\n" {
		t.Errorf("exit %d: %q %s", code, out, errs)
	}
	if code, out, errs := command(t, "--kubeconfig", kubeconfig, "node", "list", "-o", "name", "--no-headers"); code != 0 || out != "node/edge-new\n" {
		t.Errorf("exit %d: %q %s", code, out, errs)
	}
	f, err := newFleet(&rest.Config{Host: hostOf(t, kubeconfig), BearerToken: "admin-token", TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: -1}, "edgekit-system")
	if err != nil {
		t.Fatal(err)
	}
	f.page = 2
	seen := make(map[string]bool)
	if err := f.nodes(ctx, nil, func(n fleetNode) {
		seen[n.name] = n.link == corev1.ConditionTrue || n.reason == nodelifecycle.ReasonDisconnected
	}); err != nil || len(seen) != 5 || !seen["edge-4"] || !seen["edge-0"] {
		t.Errorf("%v, in pages of two: %v", err, seen)
	}
}

func hostOf(t *testing.T, kubeconfig string) string {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Host
}
