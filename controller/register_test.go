package controller_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/dynamic"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"

	pipelinesv1alpha1 "github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	rulesv1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/controller"
	"github.com/edgekit/edgekit/controller/controllertest"
	groupsv1alpha1 "github.com/edgekit/edgekit/controller/groups/v1alpha1"
	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	sitesv1alpha1 "github.com/edgekit/edgekit/controller/sites/v1alpha1"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/memconn"
	"github.com/edgekit/edgekit/meta/kube"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

// group runs things until it is stopped.
type group struct {
	cancel context.CancelFunc
	ctx    context.Context
	done   chan error
	n      int
}

func newGroup(t *testing.T) *group {
	g := &group{done: make(chan error, 8)}
	g.ctx, g.cancel = context.WithCancel(t.Context())
	return g
}

func (g *group) run(f func(context.Context) error) {
	g.n++
	go func() { g.done <- f(g.ctx) }()
}

func (g *group) stop(t *testing.T) {
	t.Helper()
	g.cancel()
	for range g.n {
		if err := <-g.done; err != nil {
			t.Error(err)
		}
	}
}

func noDevices() dynamic.Interface {
	scheme := runtime.NewScheme()
	utilruntime.Must(v1beta1.AddToScheme(scheme))
	utilruntime.Must(rulesv1.AddToScheme(scheme))
	utilruntime.Must(v1alpha2.AddToScheme(scheme))
	utilruntime.Must(groupsv1alpha1.AddToScheme(scheme))
	utilruntime.Must(sitesv1alpha1.AddToScheme(scheme))
	utilruntime.Must(pipelinesv1alpha1.AddToScheme(scheme))
	utilruntime.Must(appsv1.AddToScheme(scheme))
	utilruntime.Must(batchv1.AddToScheme(scheme))
	return dynamicfake.NewSimpleDynamicClient(scheme)
}

// cloudcore runs a controller and a server for the edges of net.
func cloudcore(t *testing.T, kube *fake.Clientset, net *memconn.Network) *group {
	t.Helper()
	c, err := controller.New(controller.Config{
		Cloud: kube, NodeClient: kube, Dynamic: noDevices(), ID: "cloudcore-" + time.Now().Format("150405"),
	})
	if err != nil {
		t.Fatal(err)
	}
	var mux hub.Mux
	c.Handle(&mux)
	server, err := hub.NewServer(hub.ServerConfig{Listener: net, Directory: c, Mux: &mux})
	if err != nil {
		t.Fatal(err)
	}
	g := newGroup(t)
	g.run(func(ctx context.Context) error { return c.Run(ctx, server) })
	<-c.Ready()
	g.run(server.Run)
	return g
}

// edgeNode is a node's store and link, and what reports the node: on change
// only, as edged does.
func edgeNode(t *testing.T, net *memconn.Network) *group {
	t.Helper()
	store := memstore.New()
	mgr, err := manager.New(manager.Config{Store: store, Node: "edge-7"})
	if err != nil {
		t.Fatal(err)
	}
	objects, err := kube.New(kube.Config{Store: store, Manager: mgr, Node: "edge-7"})
	if err != nil {
		t.Fatal(err)
	}
	link, err := hub.NewClient(hub.ClientConfig{Dialer: net.Dialer("edge-7"), Node: "edge-7", Down: mgr.Down(), Up: mgr.StateOutbox(), Outbox: mgr.EventOutbox()})
	if err != nil {
		t.Fatal(err)
	}
	g := newGroup(t)
	g.run(mgr.Run)
	g.run(objects.Run)
	g.run(link.Run)
	g.run(func(ctx context.Context) error {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "edge-7", Labels: map[string]string{"site": "berlin"}}}
		node.Spec.Taints = []corev1.Taint{{Key: "edge", Effect: corev1.TaintEffectNoSchedule}}
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		deleted := objects.NodeDeleted(ctx)
		for {
			if err := objects.Node(ctx, node); err != nil && ctx.Err() == nil {
				return err
			}
			if _, ok := <-deleted; !ok {
				return nil
			}
		}
	})
	return g
}

// TestRegistersAgain: a Node is deleted while its node is connected, and while it is
// offline and no cloudcore runs, as after a restore of etcd.
func TestRegistersAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kube := controllertest.NewClientset()
		net := memconn.New(memconn.Config{})
		cloud := cloudcore(t, kube, net)
		edge := edgeNode(t, net)
		check := func(when string) {
			t.Helper()
			time.Sleep(3 * time.Second)
			synctest.Wait()
			node, err := kube.CoreV1().Nodes().Get(t.Context(), "edge-7", metav1.GetOptions{})
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			_, role := node.Labels[nodelifecycle.RoleLabel]
			conditions := make(map[corev1.NodeConditionType]corev1.ConditionStatus)
			for _, c := range node.Status.Conditions {
				conditions[c.Type] = c.Status
			}
			if !role || node.Labels["site"] != "berlin" || len(node.Spec.Taints) != 1 || conditions[corev1.NodeReady] != corev1.ConditionTrue ||
				conditions[nodelifecycle.ConditionConnected] != corev1.ConditionTrue {
				t.Errorf("%s: labels %v, taints %v, conditions %v", when, node.Labels, node.Spec.Taints, conditions)
			}
		}
		forget := func() {
			t.Helper()
			if err := kube.CoreV1().Nodes().Delete(t.Context(), "edge-7", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		check("at first")
		for range 3 {
			forget()
			check("deleted while connected")
		}
		cloud.stop(t)
		forget()
		_ = kube.CoordinationV1().Leases(corev1.NamespaceNodeLease).Delete(t.Context(), "edge-7", metav1.DeleteOptions{})
		cloud = cloudcore(t, kube, net)
		time.Sleep(30 * time.Second) // the edge's back-off
		check("absent when cloudcore starts")
		edge.stop(t)
		cloud.stop(t)
	})
}

// TestLeaseDeleted: somebody deletes the Lease of a connected node, and its record. Both
// are written again, with the holder of the node, so that a fenced program stays fenced.
func TestLeaseDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kube := controllertest.NewClientset()
		net := memconn.New(memconn.Config{})
		cloud := cloudcore(t, kube, net)
		edge := edgeNode(t, net)
		get := func(namespace, name string) *coordinationv1.Lease {
			t.Helper()
			time.Sleep(time.Minute + 2*nodelifecycle.RenewEvery)
			synctest.Wait()
			lease, err := kube.CoordinationV1().Leases(namespace).Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return lease
		}
		for _, at := range []struct{ namespace, name, annotation string }{
			{corev1.NamespaceNodeLease, "edge-7", nodelifecycle.HolderAnnotation},
			{install.Namespace, "edgekit-node-edge-7", nodelifecycle.HolderAnnotation},
			{install.Namespace, "edgekit-node-edge-7", nodelifecycle.ClaimAnnotation},
		} {
			before := get(at.namespace, at.name).Annotations[at.annotation]
			if err := kube.CoordinationV1().Leases(at.namespace).Delete(t.Context(), at.name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			if after := get(at.namespace, at.name).Annotations[at.annotation]; before == "" || after != before {
				t.Errorf("%s/%s: %s is %q, it was %q", at.namespace, at.name, at.annotation, after, before)
			}
		}
		edge.stop(t)
		cloud.stop(t)
	})
}
