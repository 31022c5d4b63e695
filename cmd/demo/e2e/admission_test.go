package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/demo/kubectl"
)

// admissionNamespace is where the Devices of this test are.
const admissionNamespace = "plant"

// admission holds the API server to the policy of controller/devices/admission.yaml: which
// namespaces may have Devices at which nodes.
func admission(t *testing.T, kube kubectl.Client) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	c := admissionClient{t: t, kube: kube, policy: filepath.Join("..", "..", "..", "controller", "devices", "admission.yaml")}
	c.run(ctx, "", "create", "namespace", admissionNamespace)
	t.Cleanup(c.clear)
	c.run(ctx, "", "apply", "-f", c.policy)
	c.takesEffect(ctx)

	for _, tt := range []struct {
		name    string
		nodes   string // the namespace's annotation; - is none
		node    string // of the Device; - is none
		refused bool
	}{
		{"no annotation", "-", "edge-7", true},
		{"no annotation, no node", "-", "-", false},
		{"an empty annotation", "", "edge-7", true},
		{"an empty annotation, no node", "", "-", false},
		{"a name", "edge-7", "edge-7", false},
		{"the first of two names, with a blank", "edge-7, edge-8", "edge-7", false},
		{"the second of two names, with a blank", "edge-7, edge-8", "edge-8", false},
		{"a longer name", "edge-7", "edge-70", true},
		{"a shorter name", "edge-7", "edge", true},
		{"a beginning", "edge-7,gate-*", "gate-12", false},
		{"all of the beginning but its end", "edge-7,gate-*", "gate", true},
		{"a beginning that is elsewhere", "gate-*", "old-gate-1", true},
		{"a star that is not at the end", "gate-*-a", "gate-1-a", true},
		{"every node", "*", "edge-7", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := c.with(t)
			c.annotate(ctx, tt.nodes)
			refused := c.refused(c.device(ctx, "case", tt.node))
			if refused != tt.refused {
				t.Errorf("annotation %q, node %q: refused %t, want %t", tt.nodes, tt.node, refused, tt.refused)
			}
			c.run(ctx, "", "-n", admissionNamespace, "delete", "device", "case", "--ignore-not-found")
		})
	}
	t.Run("changes", func(t *testing.T) { c.with(t).changes(ctx) })
}

// admissionClient tries what the policy takes and what not.
type admissionClient struct {
	t      *testing.T
	kube   kubectl.Client
	policy string // the file
}

func (c admissionClient) with(t *testing.T) admissionClient {
	c.t = t
	return c
}

// changes tries what may be done to a Device whose node is on the list, and once
// it is not any more.
func (c admissionClient) changes(ctx context.Context) {
	t := c.t
	c.annotate(ctx, "edge-7")
	if err := c.device(ctx, "moving", "edge-7"); err != nil {
		t.Fatal(err)
	}
	if !c.refused(c.patch(ctx, `{"spec":{"nodeName":"edge-8"}}`)) {
		t.Error("a Device moves to a node that is not on the list")
	}
	if err := c.patch(ctx, `{"metadata":{"finalizers":["example.com/test"]},"spec":{"properties":[{"name":"target","desired":{"value":"1"}}]}}`); err != nil {
		t.Error(err)
	}
	c.annotate(ctx, "edge-8")
	if !c.refused(c.patch(ctx, `{"spec":{"properties":[{"name":"target","desired":{"value":"2"}}]}}`)) {
		t.Error("a Device drives a node that was taken off the list")
	}
	if err := c.patch(ctx, `{"metadata":{"labels":{"shift":"night"}}}`); err != nil {
		t.Errorf("a label of a Device whose node was taken off the list: %v", err)
	}
	c.run(ctx, "", "-n", admissionNamespace, "delete", "device", "moving", "--wait=false")
	if !c.refused(c.patch(ctx, `{"spec":{"nodeName":"edge-9"}}`)) {
		t.Error("a Device that is being deleted moves to a node that is not on the list")
	}
	if err := c.patch(ctx, `{"metadata":{"finalizers":null}}`); err != nil {
		t.Errorf("the finalizer of a Device whose node was taken off the list: %v", err)
	}
	c.run(ctx, "", "-n", admissionNamespace, "wait", "--for=delete", "device/moving", "--timeout=30s")
}

// takesEffect waits until the API server refuses by the policy.
func (c admissionClient) takesEffect(ctx context.Context) {
	c.t.Helper()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for !c.refused(c.device(ctx, "early", "edge-7", "--dry-run=server")) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatal("the API server does not act upon the policy")
		}
	}
}

// device applies a Device at the node.
func (c admissionClient) device(ctx context.Context, name, node string, args ...string) error {
	manifest := fmt.Sprintf("apiVersion: devices.kubeedge.io/v1beta1\nkind: Device\nmetadata: {name: %s, namespace: %s}\n"+
		"spec: {deviceModelRef: {name: any}, protocol: {protocolName: any}, nodeName: %q}\n", name, admissionNamespace, node)
	if node == "-" {
		manifest = strings.Replace(manifest, `, nodeName: "-"`, "", 1)
	}
	_, err := c.kube.Run(ctx, manifest, append([]string{"apply", "-f", "-"}, args...)...)
	return err
}

func (c admissionClient) patch(ctx context.Context, patch string) error {
	_, err := c.kube.Run(ctx, "", "-n", admissionNamespace, "patch", "device", "moving", "--type=merge", "-p", patch)
	return err
}

// annotate sets the nodes of the namespace. The policy's own cache of namespaces
// may be behind for a moment, so it waits until that shows.
func (c admissionClient) annotate(ctx context.Context, nodes string) {
	c.t.Helper()
	list, probe := "edgekit.io/device-nodes="+nodes, nodes+",probe"
	if nodes == "-" {
		list, probe = "edgekit.io/device-nodes-", "probe"
	}
	for _, step := range []struct {
		list    string
		refused bool
	}{{"edgekit.io/device-nodes=" + probe, false}, {list, nodes != "*"}} {
		c.run(ctx, "", "annotate", "--overwrite", "namespace", admissionNamespace, step.list)
		tick := time.NewTicker(200 * time.Millisecond)
		for c.refused(c.device(ctx, "probe", "probe", "--dry-run=server")) != step.refused {
			select {
			case <-tick.C:
			case <-ctx.Done():
				tick.Stop()
				c.t.Fatalf("annotation %q does not show", step.list)
			}
		}
		tick.Stop()
	}
}

// refused reports whether the policy refused, in words that say what to do. Any
// other error fails the test.
func (c admissionClient) refused(err error) bool {
	c.t.Helper()
	if err == nil {
		return false
	}
	if !strings.Contains(err.Error(), "namespace "+admissionNamespace+" may have no devices at node") ||
		!strings.Contains(err.Error(), "add it to the annotation edgekit.io/device-nodes of the namespace") {
		c.t.Errorf("refused for another reason: %v", err)
	}
	return true
}

func (c admissionClient) run(ctx context.Context, input string, args ...string) {
	c.t.Helper()
	if _, err := c.kube.Run(ctx, input, args...); err != nil {
		c.t.Fatal(err)
	}
}

// clear removes the policy first: it must not keep anything else from working.
func (c admissionClient) clear() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), time.Minute)
	defer cancel()
	for _, args := range [][]string{{"-f", c.policy}, {"namespace", admissionNamespace, "--wait=false"}} {
		if _, err := c.kube.Run(ctx, "", append([]string{"delete", "--ignore-not-found"}, args...)...); err != nil {
			c.t.Error(err)
		}
	}
}

// examplesFile finds a file of the repository's folder examples, upwards from the
