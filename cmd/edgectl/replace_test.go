package main

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/install/apiservertest"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/hub/join"
)

// localVolume is a PersistentVolume on the disk of a node.
func localVolume(name, node string) *corev1.PersistentVolume {
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}}
	pv.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	pv.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	pv.Spec.Local = &corev1.LocalVolumeSource{Path: "/data"}
	pv.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
	}}}}
	return pv
}

// TestReplaceSameName runs 'node replace NAME' against a real API server: the old machine's key is
// revoked, its Node stays, and another machine joins under the name with the token that is printed.
func TestReplaceSameName(t *testing.T) {
	server := apiservertest.Start(t)
	client, err := kubernetes.NewForConfig(server.Admin)
	if err != nil {
		t.Fatal(err)
	}
	ctx, kubeconfig := t.Context(), server.Kubeconfig(t)
	for _, name := range []string{"edgekit-system", "kube-node-lease", "shop"} {
		if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil && !strings.Contains(err.Error(), "exists") {
			t.Fatal(err)
		}
	}
	store, err := nodeidentity.New(nodeidentity.Config{Client: client, Namespace: "edgekit-system"})
	if err != nil {
		t.Fatal(err)
	}
	addEdgeNode(t, client, "edge-1", false, "cc-a")
	if _, err := client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "control"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	node, err := client.CoreV1().Nodes().Get(ctx, "edge-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node.Labels["team"], node.Labels[corev1.LabelHostname] = "blue", "edge-1"
	if node, err = client.CoreV1().Nodes().Update(ctx, node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().PersistentVolumes().Create(ctx, localVolume("disk-1", "edge-1"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	old, fresh, second := strings.Repeat("a", 64), strings.Repeat("b", 64), strings.Repeat("c", 64)
	// The Node of an edge node was claimed before it was registered.
	claimed := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "edgekit-node-edge-1", Labels: map[string]string{nodeidentity.KindLabel: nodeidentity.KindNode}},
		Type: "edgekit.io/node", StringData: map[string]string{"node": "edge-1", "keyHash": old}}
	if _, err := client.CoreV1().Secrets("edgekit-system").Create(ctx, claimed, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	replace := func(args ...string) join.Token {
		t.Helper()
		out := must(t, append([]string{"--kubeconfig", kubeconfig, "node", "replace"}, args...)...)
		line := regexp.MustCompile(`edgecore join --cloud HOST:PORT --node edge-1 --token (\S+)`).FindStringSubmatch(out)
		if line == nil || !strings.Contains(out, "volume disk-1 is on the disk of node edge-1") {
			t.Fatal(out)
		}
		token, err := join.ParseToken(line[1])
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	joins := func(token join.Token, key string) {
		t.Helper()
		if fresh, err := store.Claim(ctx, "edge-1", key); err != nil || !fresh {
			t.Fatal(fresh, err)
		}
		if err := store.Use(ctx, token.ID, "edge-1", key); err != nil {
			t.Fatal(err)
		}
	}

	refused(t, "want a time above zero", "--kubeconfig", kubeconfig, "node", "replace", "edge-1", "--ttl", "0s")
	refused(t, "not an edge node", "--kubeconfig", kubeconfig, "node", "replace", "control")
	refused(t, "token create --node edge-9", "--kubeconfig", kubeconfig, "node", "replace", "edge-9")
	if tokens, err := store.ListTokens(ctx); err != nil || len(tokens) != 0 {
		t.Errorf("%v, %v: a command that was refused made a token", tokens, err)
	}

	token := replace("edge-1")
	if err := store.Revoked(ctx, old); err == nil || err.Error() != join.ErrReplaced.Error() {
		t.Error("the old machine:", err)
	}
	if r, err := store.Token(ctx, token.ID); err != nil || r.Nodes != "edge-1" || r.Approve {
		t.Errorf("%+v, %v", r, err)
	}
	if kept, err := client.CoreV1().Nodes().Get(ctx, "edge-1", metav1.GetOptions{}); err != nil || kept.UID != node.UID || kept.Labels["team"] != "blue" {
		t.Errorf("the Node: %+v, %v", kept, err)
	}
	if freed, err := store.Freed(ctx, "edge-1"); err != nil || !freed {
		t.Error("only a token for the name may take it:", freed, err)
	}
	joins(token, fresh)

	// The command may be repeated for the next machine, also before that has joined.
	replace("edge-1")
	token = replace("edge-1", "--approve")
	if r, err := store.Token(ctx, token.ID); err != nil || !r.Approve {
		t.Errorf("%+v, %v", r, err)
	}
	joins(token, second)

	// Where no token can be made, the machine is not shut out.
	ca, err := client.CoreV1().Secrets("edgekit-system").Get(ctx, nodeidentity.CAName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ca.Data["tls.crt"] = []byte("damaged")
	if _, err := client.CoreV1().Secrets("edgekit-system").Update(ctx, ca, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	refused(t, "", "--kubeconfig", kubeconfig, "node", "replace", "edge-1")
	if holder, err := store.Holder(ctx, "edge-1"); err != nil || holder != second {
		t.Errorf("%q has the name, %v", holder, err)
	}
	if err := store.Revoked(ctx, second); errors.Is(err, join.ErrRevoked) {
		t.Error(err)
	}
}
