package controller_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/edge"
	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// copyOf runs a program with the node's identity.
func copyOf(t *testing.T, net *memconn.Network, instance string) (*hub.Client, *group) {
	t.Helper()
	up := &hubtest.AckedSource{}
	up.Put(hub.Key{Resource: "nodes", Name: "edge-7"}, 1, `{"metadata":{"name":"edge-7"},"status":{"phase":"Running"}}`)
	client, err := hub.NewClient(hub.ClientConfig{Dialer: net.Dialer("edge-7"), Node: "edge-7", Instance: instance, Down: &hubtest.Sink{}, Up: up})
	if err != nil {
		t.Fatal(err)
	}
	g := newGroup(t)
	g.run(client.Run)
	return client, g
}

// TestDuplicateIdentity: a disk is cloned, and two cloudcores share the claim on the
// node. The program that lost waits, an event names both, and it gets the node again when
// the other has been gone for a while, at either cloudcore.
func TestDuplicateIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kube := controllertest.NewClientset()
		nets := [...]*memconn.Network{memconn.New(memconn.Config{}), memconn.New(memconn.Config{})}
		one := cloudcore(t, kube, nets[0])
		time.Sleep(time.Second)
		two := cloudcore(t, kube, nets[1])
		honest, honestRun := copyOf(t, nets[0], "honest")
		time.Sleep(time.Minute)
		clone, cloneRun := copyOf(t, nets[1], "clone")
		connected := func(when string, want *hub.Client, other *hub.Client) {
			t.Helper()
			synctest.Wait()
			if !want.Info().Connected || want.Fenced() != nil || other.Info().Connected || other.Fenced() == nil {
				t.Fatalf("%s: %+v, %v; the other: %+v, %v", when, want.Info(), want.Fenced(), other.Info(), other.Fenced())
			}
			node, err := kube.CoreV1().Nodes().Get(t.Context(), "edge-7", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range node.Status.Conditions {
				if c.Type == nodelifecycle.ConditionConnected && c.Status != corev1.ConditionTrue {
					t.Errorf("%s: the node is not connected: %s", when, c.Message)
				}
			}
		}
		for range 30 { // the one that lost asks again and again
			time.Sleep(time.Minute)
			connected("the clone has taken over", clone, honest)
		}
		events, err := kube.CoreV1().Events("").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(events.Items) != 1 {
			t.Fatalf("%d events in half an hour", len(events.Items))
		}
		e := events.Items[0]
		if e.Reason != edge.ReasonDuplicateIdentity || e.InvolvedObject.Name != "edge-7" || e.Namespace != metav1.NamespaceDefault ||
			!strings.Contains(e.Message, "instance clone") || !strings.Contains(e.Message, "instance honest") || !strings.Contains(e.Message, "edgecore join --replace") || len(e.Message) > 1024 {
			t.Errorf("event %s on %s: %s", e.Reason, e.InvolvedObject.Name, e.Message)
		}
		// The record with the claim and the Lease are deleted while both run.
		record := [...]string{install.Namespace, "edgekit-node-edge-7"}
		lease := [...]string{corev1.NamespaceNodeLease, "edge-7"}
		for _, of := range [...][2]string{record, lease, record} {
			if err := kube.CoordinationV1().Leases(of[0]).Delete(t.Context(), of[1], metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(15 * time.Minute)
			connected("deleted in "+of[0], clone, honest)
		}
		cloneRun.stop(t)
		time.Sleep(3 * time.Minute)
		if honest.Info().Connected {
			t.Error("the clone may only have been restarted, and its place is taken")
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if !honest.Info().Connected || honest.Fenced() != nil {
			t.Errorf("the clone is gone: %+v, %v", honest.Info(), honest.Fenced())
		}
		honestRun.stop(t)
		two.stop(t)
		one.stop(t)
	})
}

// TestRestartIsNoDuplicate: the program is restarted again and again, also while the
// server still believes its earlier session to be alive. It connects at once, and no
// duplicate is reported.
func TestRestartIsNoDuplicate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kube := controllertest.NewClientset()
		net := memconn.New(memconn.Config{})
		cloud := cloudcore(t, kube, net)
		for _, instance := range strings.Fields("a b c d e f g h i j k l") {
			client, run := copyOf(t, net, instance)
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if !client.Info().Connected {
				t.Errorf("%s is not connected", instance)
			}
			net.Stall("edge-7", true) // the power is cut: the session ends without a GOAWAY
			run.stop(t)
			net.Stall("edge-7", false)
		}
		if events, err := kube.CoreV1().Events("").List(t.Context(), metav1.ListOptions{}); err != nil || len(events.Items) > 0 {
			t.Errorf("events %v, %v", events.Items, err)
		}
		cloud.stop(t)
	})
}
