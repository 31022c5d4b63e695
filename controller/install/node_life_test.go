package install_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/install/apiservertest"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/hub/join"
)

// applicant makes a machine that asks for a node's name.
func applicant(t *testing.T, node string) join.Applicant {
	t.Helper()
	must := mustDo(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must("key", err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	must("request", err)
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	must("public key", err)
	sum := sha256.Sum256(pub)
	return join.Applicant{
		Node: node, KeyHash: hex.EncodeToString(sum[:]), Address: "192.0.2.7", Machine: "serial 7", Token: "abc",
		CSR: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})),
	}
}

// person makes a user (a ServiceAccount) with a ClusterRole.
func person(t *testing.T, a *apiservertest.Server, name, role string) *rest.Config {
	t.Helper()
	must, admin := mustDo(t), clientFor(t, a.Admin)
	_, err := admin.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	must("account", err)
	_, err = admin.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: name}},
	}, metav1.CreateOptions{})
	must("binding", err)
	token, err := admin.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	must("token", err)
	cfg := a.As(token.Status.Token)
	granted(t, cfg, authorizationv1.ResourceAttributes{Group: "certificates.k8s.io", Verb: "list", Resource: "certificatesigningrequests"})
	return cfg
}

func identityStore(t *testing.T, client kubernetes.Interface) *nodeidentity.Store {
	t.Helper()
	s, err := nodeidentity.New(nodeidentity.Config{Client: client})
	mustDo(t)("store", err)
	return s
}

// TestWhoApproves uses a real kube-apiserver and the shipped roles: cloudcore records the
// machines that wait and cannot approve them; who has the role edgekit:node-approver can, and
// reads no Secret; who has no right to the signer edgekit.io/node cannot.
func TestWhoApproves(t *testing.T) {
	a := apiservertest.Start(t)
	cfg := account(t, a)
	must, admin, ctx := mustDo(t), clientFor(t, a.Admin), t.Context()
	granted(t, cfg, authorizationv1.ResourceAttributes{Group: "certificates.k8s.io", Verb: "create", Resource: "certificatesigningrequests"})
	cloud := identityStore(t, clientFor(t, cfg))
	for _, node := range []string{"new-1", "new-2"} {
		m := applicant(t, node)
		_, err := cloud.Claim(ctx, node, m.KeyHash)
		must("claim", err)
		for range 2 {
			if err := cloud.Approved(ctx, m); !errors.Is(err, join.ErrPending) {
				t.Fatal(err)
			}
		}
		if _, err := cloud.Decide(ctx, node, "", nodeidentity.Approve); !apierrors.IsForbidden(errors.Unwrap(err)) {
			t.Errorf("cloudcore approves %s itself: %v", node, err)
		}
		_, err = admin.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "half-" + node}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"certificates.k8s.io"}, Resources: []string{"certificatesigningrequests"}, Verbs: []string{"get", "list"}},
			{APIGroups: []string{"certificates.k8s.io"}, Resources: []string{"certificatesigningrequests/approval"}, Verbs: []string{"update"}},
		}}, metav1.CreateOptions{})
		must("role", err)
		half := identityStore(t, clientFor(t, person(t, a, "half-"+node, "half-"+node)))
		if _, err := half.Decide(ctx, node, "", nodeidentity.Approve); !apierrors.IsForbidden(errors.Unwrap(err)) {
			t.Errorf("approved without a right to the signer: %v", err)
		}
		approver := clientFor(t, person(t, a, "approver-"+node, "edgekit:node-approver"))
		if _, err := approver.CoreV1().Secrets(install.Namespace).List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("an approver reads Secrets: %v", err)
		}
		d := map[string]nodeidentity.Decision{"new-1": nodeidentity.Approve, "new-2": nodeidentity.Deny}[node]
		w, err := identityStore(t, approver).Decide(ctx, node, m.KeyHash[:12], d)
		must("decide", err)
		if w.Machine != "serial 7" || w.Address != "192.0.2.7" || time.Since(w.Since) > time.Hour {
			t.Errorf("the approver sees %+v", w)
		}
		must("keep decisions", cloud.KeepDecisions(ctx))
		err = cloud.Approved(ctx, m)
		if d == nodeidentity.Approve && err != nil || d == nodeidentity.Deny && (err == nil || errors.Is(err, join.ErrPending)) {
			t.Errorf("%s: %v", d, err)
		}
		if err := cloud.Revoked(ctx, m.KeyHash); (d == nodeidentity.Deny) != errors.Is(err, join.ErrDenied) {
			t.Errorf("%s: the key is revoked: %v", d, err)
		}
	}
}

// makeEdge creates an edge node with what an operator and others have set on it.
func makeEdge(t *testing.T, admin kubernetes.Interface, name string, labels map[string]string, taints ...corev1.Taint) {
	t.Helper()
	all := map[string]string{nodelifecycle.RoleLabel: "", corev1.LabelHostname: name}
	for k, v := range labels {
		all[k] = v
	}
	_, err := admin.CoreV1().Nodes().Create(t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: all, Annotations: map[string]string{"example.com/contact": name, "node.alpha.kubernetes.io/ttl": "0"}},
		Spec:       corev1.NodeSpec{Taints: taints},
	}, metav1.CreateOptions{})
	mustDo(t)("node "+name, err)
}

// makePod creates a pod that is bound to a node; one with an owner is replaced elsewhere.
func makePod(t *testing.T, admin kubernetes.Interface, name, node string, owned bool) {
	t.Helper()
	must := mustDo(t)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}}, Spec: corev1.PodSpec{
		NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "i"}},
	}}
	if owned {
		yes := true
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "r", UID: "r", Controller: &yes}}
	}
	made, err := admin.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{})
	must("pod "+name, err)
	made.Status.Phase = corev1.PodRunning
	made.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	_, err = admin.CoreV1().Pods("default").UpdateStatus(t.Context(), made, metav1.UpdateOptions{})
	must("status of pod "+name, err)
}

// bound creates a Device of a node.
func bound(t *testing.T, dyn dynamic.Interface, name, node string) {
	t.Helper()
	_, err := dyn.Resource(v1beta1.GroupVersion().WithResource("devices")).Namespace("default").Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1beta1.GroupVersion().String(), "kind": "Device", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"nodeName": node, "deviceModelRef": map[string]any{"name": "m"}, "protocol": map[string]any{"protocolName": "modbus"}},
	}}, metav1.CreateOptions{})
	mustDo(t)("device "+name, err)
}

func nodeOf(t *testing.T, dyn dynamic.Interface, device string) string {
	t.Helper()
	d, err := dyn.Resource(v1beta1.GroupVersion().WithResource("devices")).Namespace("default").Get(t.Context(), device, metav1.GetOptions{})
	mustDo(t)("device "+device, err)
	node, _, _ := unstructured.NestedString(d.Object, "spec", "nodeName")
	return node
}

// TestRetireAndReplace uses a real kube-apiserver: a node is drained as its disruption budget
// allows, and retired; another takes a node's place with all that was set on it.
func TestRetireAndReplace(t *testing.T) {
	a := apiservertest.Start(t)
	account(t, a)
	must, admin, ctx := mustDo(t), clientFor(t, a.Admin), t.Context()
	dyn, err := dynamic.NewForConfig(a.Admin)
	must("dynamic client", err)
	_, err = admin.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	must("service account", err)
	t.Run("retire", func(t *testing.T) { retire(t, admin, dyn) })
	t.Run("replace", func(t *testing.T) { replace(t, admin, dyn) })
}

func retire(t *testing.T, admin *kubernetes.Clientset, dyn dynamic.Interface) {
	must, ctx := mustDo(t), t.Context()
	makeEdge(t, admin, "old", nil)
	makePod(t, admin, "web", "old", true)
	bound(t, dyn, "lamp", "old")
	budget, err := admin.PolicyV1().PodDisruptionBudgets("default").Create(ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: new(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
	}, metav1.CreateOptions{})
	must("budget", err)
	allow := func(n int32) { // what the disruption controller does
		budget.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: budget.Generation, DisruptionsAllowed: n, CurrentHealthy: 1 + n, DesiredHealthy: 1, ExpectedPods: 1 + n}
		budget, err = admin.PolicyV1().PodDisruptionBudgets("default").UpdateStatus(ctx, budget, metav1.UpdateOptions{})
		must("status of the budget", err)
	}
	allow(0)
	revoked := 0
	cfg := nodelifecycle.RetireConfig{Client: admin, Dynamic: dyn, Node: "old", Timeout: time.Nanosecond, RevokeIdentity: func(context.Context) error { revoked++; return nil }}
	if _, err := nodelifecycle.Retire(ctx, cfg); !isA[*nodelifecycle.DevicesError](err) {
		t.Fatal("a node with devices:", err)
	}
	cfg.Devices = nodelifecycle.UnbindDevices
	if _, err := nodelifecycle.Retire(ctx, cfg); !isA[*nodelifecycle.TimeoutError](err) || !strings.Contains(err.Error(), "default/web") {
		t.Fatal("a budget that allows nothing:", err)
	}
	if node, err := admin.CoreV1().Nodes().Get(ctx, "old", metav1.GetOptions{}); err != nil || !node.Spec.Unschedulable || revoked != 0 || nodeOf(t, dyn, "lamp") != "old" {
		t.Errorf("a node that was not drained: %v; revoked %d times", err, revoked)
	}
	allow(1)
	done, err := nodelifecycle.Retire(ctx, cfg)
	if err != nil || !slices.Equal(done.Evicted, []string{"default/web"}) || !slices.Equal(done.Devices, []string{"default/lamp"}) || revoked != 1 {
		t.Errorf("%+v, %v; revoked %d times", done, err, revoked)
	}
	if _, err := admin.CoreV1().Nodes().Get(ctx, "old", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Error("the Node is there:", err)
	}
	if _, err := admin.CoreV1().Pods("default").Get(ctx, "web", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Error("its pod is there:", err)
	}
	if node := nodeOf(t, dyn, "lamp"); node != "" {
		t.Errorf("the device is bound to %q", node)
	}
	if done, err = nodelifecycle.Retire(ctx, cfg); err != nil || len(done.Evicted)+len(done.Pods)+len(done.Devices) != 0 {
		t.Errorf("again: %+v, %v", done, err)
	}
}

func replace(t *testing.T, admin *kubernetes.Clientset, dyn dynamic.Interface) {
	must, ctx := mustDo(t), t.Context()
	own := corev1.Taint{Key: "example.com/plant", Value: "3", Effect: corev1.TaintEffectNoSchedule}
	makeEdge(t, admin, "broken", map[string]string{
		"site": "west", "example.com/line": "7", nodelifecycle.AutonomyLabel: "72h", "edgekit.node-restriction.kubernetes.io/kubelet": "30150", "feature.node.kubernetes.io/cpu": "x",
	}, own, corev1.Taint{Key: nodelifecycle.DisconnectedTaint, Effect: corev1.TaintEffectNoSchedule}, corev1.Taint{Key: "node.kubernetes.io/unreachable", Effect: corev1.TaintEffectNoSchedule})
	makeEdge(t, admin, "fresh", map[string]string{"example.com/line": "8"})
	makePod(t, admin, "app", "broken", true)
	makePod(t, admin, "bare", "broken", false)
	bound(t, dyn, "pump", "broken")
	bound(t, dyn, "other", "elsewhere")
	_, err := admin.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "disk"}, Spec: corev1.PersistentVolumeSpec{
		Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/data"}},
		ClaimRef:               &corev1.ObjectReference{Namespace: "default", Name: "data"},
		NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{"broken"}}},
		}}}},
	}}, metav1.CreateOptions{})
	must("volume", err)
	revoked := 0
	cfg := nodelifecycle.ReplaceConfig{Client: admin, Dynamic: dyn, Old: "broken", New: "absent", RevokeIdentity: func(context.Context) error { revoked++; return nil }}
	if _, err := nodelifecycle.Replace(ctx, cfg); !errors.Is(err, nodelifecycle.ErrNoNode) {
		t.Fatal("by a node that has not joined:", err)
	}
	cfg.New = "fresh"
	if _, err := nodelifecycle.Replace(ctx, cfg); !isA[*nodelifecycle.BarePodsError](err) || revoked != 0 {
		t.Fatal("a pod that nobody replaces:", err)
	}
	cfg.Force = true
	done, err := nodelifecycle.Replace(ctx, cfg)
	if err != nil || revoked != 1 || !slices.Equal(done.Devices, []string{"default/pump"}) || !slices.Equal(done.Pods, []string{"default/app", "default/bare"}) ||
		len(done.Volumes) != 1 || done.Volumes[0].String() != "disk (claim default/data)" {
		t.Errorf("%+v, %v", done, err)
	}
	node, err := admin.CoreV1().Nodes().Get(ctx, "fresh", metav1.GetOptions{})
	must("node", err)
	for key, want := range map[string]string{"site": "west", "example.com/line": "8", nodelifecycle.AutonomyLabel: "72h", corev1.LabelHostname: "fresh", "edgekit.node-restriction.kubernetes.io/kubelet": "", "feature.node.kubernetes.io/cpu": ""} {
		if node.Labels[key] != want {
			t.Errorf("label %s=%q, want %q", key, node.Labels[key], want)
		}
	}
	if node.Annotations["example.com/contact"] != "fresh" || !slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&own) && t.Value == "3" }) ||
		slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == nodelifecycle.DisconnectedTaint }) {
		t.Errorf("annotations %v, taints %v", node.Annotations, node.Spec.Taints)
	}
	if a, b := nodeOf(t, dyn, "pump"), nodeOf(t, dyn, "other"); a != "fresh" || b != "elsewhere" {
		t.Errorf("the devices are bound to %q and %q", a, b)
	}
	if _, err := admin.CoreV1().Nodes().Get(ctx, "broken", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Error("the old Node is there:", err)
	}
	if again, err := nodelifecycle.Replace(ctx, cfg); err != nil || len(again.Devices)+len(again.Pods) != 0 {
		t.Errorf("again: %+v, %v", again, err)
	}
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
