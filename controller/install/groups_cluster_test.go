package install_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/controller/edge"
	"github.com/edgekit/edgekit/controller/groups"
	"github.com/edgekit/edgekit/controller/groups/v1alpha1"
	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/install/apiservertest"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
)

// groupsWorld is a real API server with one cloudcore's controller of groups, which has the rights
// of the shipped role.
type groupsWorld struct {
	t     *testing.T
	admin *kubernetes.Clientset
	dyn   dynamic.Interface
	cfg   *rest.Config
	a     *apiservertest.Server
}

func newGroupsWorld(t *testing.T) *groupsWorld {
	t.Helper()
	a := apiservertest.Start(t)
	cfg := account(t, a)
	dyn, err := dynamic.NewForConfig(a.Admin)
	if err != nil {
		t.Fatal(err)
	}
	return &groupsWorld{t: t, admin: clientFor(t, a.Admin), dyn: dyn, cfg: cfg, a: a}
}

func (w *groupsWorld) start(id string) *groups.Controller {
	w.t.Helper()
	kube := clientFor(w.t, w.cfg)
	dyn, err := dynamic.NewForConfig(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	nodes, err := edge.NewNodeStore(kube, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := groups.New(groups.Config{Cloud: kube, Dynamic: dyn, Nodes: nodes, ID: id, Namespace: install.Namespace, Every: 50 * time.Millisecond, StatusEvery: 100 * time.Millisecond})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = nodes.Run(ctx) })
	wg.Go(func() { _ = c.Run(ctx) })
	w.t.Cleanup(func() { cancel(); wg.Wait() })
	return c
}

// apply applies YAML as the administrator.
func (w *groupsWorld) apply(text string) error { return applyAs(w.t.Context(), w.dyn, text) }

func applyAs(ctx context.Context, dyn dynamic.Interface, text string) error {
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		return err
	}
	body, err := json.Marshal(u.Object)
	if err != nil {
		return err
	}
	plural := map[string]string{"NodeGroup": v1alpha1.NodeGroups, "EdgeApplication": v1alpha1.EdgeApplications, "Deployment": "deployments"}[u.GetKind()]
	_, err = dyn.Resource(u.GroupVersionKind().GroupVersion().WithResource(plural)).Namespace(u.GetNamespace()).
		Patch(ctx, u.GetName(), types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: "kubectl", Force: new(true)})
	return err
}

func (w *groupsWorld) mustApply(text string) {
	w.t.Helper()
	if err := w.apply(text); err != nil {
		w.t.Fatal(err)
	}
}

// eventually waits until f finds nothing wrong.
func (w *groupsWorld) eventually(what string, f func() string) {
	w.t.Helper()
	wrong := ""
	err := wait.PollUntilContextTimeout(w.t.Context(), 50*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		wrong = f()
		return wrong == "", nil
	})
	if err != nil {
		w.t.Fatalf("%s: %s", what, wrong)
	}
}

func (w *groupsWorld) node(name string, labels map[string]string) {
	w.t.Helper()
	all := map[string]string{nodelifecycle.RoleLabel: ""}
	for k, v := range labels {
		all[k] = v
	}
	if _, err := w.admin.CoreV1().Nodes().Create(w.t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: all}}, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *groupsWorld) labels(name string) (group, zone string) {
	n, err := w.admin.CoreV1().Nodes().Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return n.Labels[v1alpha1.BelongingToLabel], n.Labels[corev1.LabelTopologyZone]
}

func (w *groupsWorld) wantLabels(node, group, zone string) {
	w.t.Helper()
	w.eventually("labels of "+node, func() string {
		if g, z := w.labels(node); g != group || z != zone {
			return fmt.Sprintf("group %q, zone %q", g, z)
		}
		return ""
	})
}

func (w *groupsWorld) get(gvr schema.GroupVersionResource, namespace, name string) *unstructured.Unstructured {
	u, err := w.dyn.Resource(gvr).Namespace(namespace).Get(w.t.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

var (
	deployments = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	services    = schema.GroupVersionResource{Version: "v1", Resource: "services"}
)

// condition returns status, reason and message of a condition.
func (w *groupsWorld) condition(resource, namespace, name, kind string) string {
	u := w.get(v1alpha1.GroupVersion().WithResource(resource), namespace, name)
	if u == nil {
		return "gone"
	}
	all, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range all {
		if m, ok := c.(map[string]any); ok && m["type"] == kind {
			return fmt.Sprintf("%v %v %v", m["status"], m["reason"], m["message"])
		}
	}
	return "none"
}

func (w *groupsWorld) wantCondition(resource, namespace, name, kind string, parts ...string) {
	w.t.Helper()
	w.eventually(kind+" of "+name, func() string {
		have := w.condition(resource, namespace, name, kind)
		for _, part := range parts {
			if !strings.Contains(have, part) {
				return have
			}
		}
		return ""
	})
}

const ng = "apiVersion: apps.kubeedge.io/v1alpha1\nkind: NodeGroup\n"

// TestNodeGroupsCluster: labels, zones of users, conflicts, evictions with a budget and the end of
// a group, at a real API server and with the shipped role.
func TestNodeGroupsCluster(t *testing.T) {
	w := newGroupsWorld(t)
	w.node("n1", map[string]string{"site": "a"})
	w.node("n2", map[string]string{"site": "a", corev1.LabelTopologyZone: "mine"})
	w.node("n3", nil)
	w.mustApply(ng + "metadata: {name: a}\nspec: {matchLabels: {site: a}, topologyEnabled: true}")
	w.mustApply(ng + "metadata: {name: empty}\nspec: {nodes: []}")
	if err := w.apply(ng + "metadata: {name: bad}\nspec: {matchLabels: {apps.kubeedge.io/belonging-to: a}}"); !apierrors.IsInvalid(err) {
		t.Errorf("a group that selects by its own label: %v", err)
	}
	w.start("cloudcore-1")
	w.start("cloudcore-2")
	w.wantLabels("n1", "a", "a")
	w.wantLabels("n2", "a", "mine")
	w.wantLabels("n3", "", "")
	w.wantCondition(v1alpha1.NodeGroups, "", "a", "Conflict", "True ZoneOfOthers", "n2")

	// A younger group wants n1 too. The name decides between groups of the same second.
	w.mustApply(ng + "metadata: {name: b}\nspec: {nodes: [n1, n3, none]}")
	w.wantLabels("n3", "b", "")
	w.wantCondition(v1alpha1.NodeGroups, "", "b", "Conflict", "True TwoGroups", "n1", "older NodeGroup a")
	w.wantCondition(v1alpha1.NodeGroups, "", "a", "Conflict", "True TwoGroups", "n1", "younger NodeGroup b")
	u := w.get(v1alpha1.GroupVersion().WithResource(v1alpha1.NodeGroups), "", "b")
	text, _ := json.Marshal(u.Object["status"])
	for _, want := range []string{"node does not exist", "node n1 has already belonged to NodeGroup a", `"failed":2`, `"total":1`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("status of b has no %q: %s", want, text)
		}
	}

	// n1 leaves a: its zone goes, its pod of a is evicted when the budget allows, others stay.
	w.pod("of-a", "n1", map[string]string{v1alpha1.BelongingToLabel: "a"})
	w.pod("other", "n1", nil)
	budget, err := w.admin.PolicyV1().PodDisruptionBudgets("default").Create(t.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "keep"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: new(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"pod": "of-a"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.admin.CoreV1().Nodes().Patch(t.Context(), "n1", types.MergePatchType, []byte(`{"metadata":{"labels":{"site":null}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	w.wantLabels("n1", "b", "")
	w.eventually("the mark of n1", func() string {
		n, err := w.admin.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
		if err != nil || n.Annotations[v1alpha1.LeftGroupAnnotation] != "a" {
			return fmt.Sprint(err, n.Annotations)
		}
		return ""
	})
	if p, err := w.admin.CoreV1().Pods("default").Get(t.Context(), "of-a", metav1.GetOptions{}); err != nil || p.DeletionTimestamp != nil {
		t.Errorf("the pod went though its budget does not allow it: %v", err)
	}
	if err := w.admin.PolicyV1().PodDisruptionBudgets("default").Delete(t.Context(), budget.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("eviction", func() string {
		p, err := w.admin.CoreV1().Pods("default").Get(t.Context(), "of-a", metav1.GetOptions{})
		if err == nil && p.DeletionTimestamp == nil {
			return "the pod is still there"
		}
		n, err := w.admin.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
		if err != nil || n.Annotations[v1alpha1.LeftGroupAnnotation] != "" {
			return "the mark is still there"
		}
		return ""
	})
	if p, err := w.admin.CoreV1().Pods("default").Get(t.Context(), "other", metav1.GetOptions{}); err != nil || p.DeletionTimestamp != nil {
		t.Errorf("a pod of no group went too: %v", err)
	}

	// A group that is deleted leaves no labels; a user's zone stays.
	if err := w.dyn.Resource(v1alpha1.GroupVersion().WithResource(v1alpha1.NodeGroups)).Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.wantLabels("n2", "", "mine")
	w.eventually("the group a", func() string {
		if w.get(v1alpha1.GroupVersion().WithResource(v1alpha1.NodeGroups), "", "a") != nil {
			return "still there"
		}
		return ""
	})
}

func (w *groupsWorld) pod(name, node string, selector map[string]string) {
	w.t.Helper()
	_, err := w.admin.CoreV1().ServiceAccounts("default").Create(w.t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		w.t.Fatal(err)
	}
	p, err := w.admin.CoreV1().Pods("default").Create(w.t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pod": name}},
		Spec:       corev1.PodSpec{NodeName: node, NodeSelector: selector, Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	if _, err := w.admin.CoreV1().Pods("default").UpdateStatus(w.t.Context(), p, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

const shop = `apiVersion: apps.kubeedge.io/v1alpha1
kind: EdgeApplication
metadata: {name: shop, namespace: default}
spec:
  workloadTemplate:
    manifests:
    - apiVersion: apps/v1
      kind: Deployment
      metadata: {name: web}
      spec:
        selector: {matchLabels: {app: web}}
        template:
          metadata: {labels: {app: web}}
          spec: {containers: [{name: c, image: "registry.example.com/web:1"}]}
    - apiVersion: v1
      kind: Service
      metadata: {name: web}
      spec: {selector: {app: web}, ports: [{port: 80}]}
  workloadScope:
    targetNodeGroups:
    - name: a
    - name: b
      overriders: {replicas: 3, imageOverriders: [{component: Tag, operator: replace, value: "2"}]}
`

// bind binds a ClusterRole in the namespace default.
func (w *groupsWorld) bind(role string, subject rbacv1.Subject) {
	w.t.Helper()
	_, err := w.admin.RbacV1().RoleBindings("default").Create(w.t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}, Subjects: []rbacv1.Subject{subject},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestApplicationsCluster: rights, copies, drift, prune, objects of others, and the end, at a real
// API server.
func TestApplicationsCluster(t *testing.T) {
	w := newGroupsWorld(t)
	w.start("cloudcore-1")
	w.mustApply(shop)
	// Without a binding cloudcore makes nothing, and the condition says what to do.
	w.wantCondition(v1alpha1.EdgeApplications, "default", "shop", "Applied", "False Forbidden", "kubectl create rolebinding", "-n default")
	w.bind("edgekit:cloudcore-applications", rbacv1.Subject{Kind: "ServiceAccount", Name: install.ServiceAccount, Namespace: install.Namespace})
	w.wantCondition(v1alpha1.EdgeApplications, "default", "shop", "Applied", "True Applied")
	b := w.get(deployments, "default", "web-b")
	image, _, _ := unstructured.NestedSlice(b.Object, "spec", "template", "spec", "containers")
	selector, _, _ := unstructured.NestedStringMap(b.Object, "spec", "template", "spec", "nodeSelector")
	match, _, _ := unstructured.NestedStringMap(b.Object, "spec", "selector", "matchLabels")
	replicas, _, _ := unstructured.NestedInt64(b.Object, "spec", "replicas")
	if image[0].(map[string]any)["image"] != "registry.example.com/web:2" || selector[v1alpha1.BelongingToLabel] != "b" || match[v1alpha1.SiteLabel] != "b" || match["app"] != "web" || replicas != 3 {
		t.Errorf("web-b: %v %v %v %d", image, selector, match, replicas)
	}
	if s := w.get(services, "default", "web"); s.GetAnnotations()[v1alpha1.ServiceTopologyAnnotation] != v1alpha1.ServiceTopologyNodeGroup {
		t.Errorf("the Service: %v", s.GetAnnotations())
	}

	// A copy becomes ready: one site of two.
	w.ready("web-b", 3)
	w.eventually("summary", func() string {
		u := w.get(v1alpha1.GroupVersion().WithResource(v1alpha1.EdgeApplications), "default", "shop")
		if s, _, _ := unstructured.NestedString(u.Object, "status", "summary"); s != "1/2 sites" {
			return s
		}
		return ""
	})
	// Somebody changes what the template says: it is set again; what it does not say stays.
	if _, err := w.dyn.Resource(deployments).Namespace("default").Patch(t.Context(), "web-b", types.MergePatchType, []byte(`{"spec":{"replicas":7,"minReadySeconds":4}}`), metav1.PatchOptions{FieldManager: "someone"}); err != nil {
		t.Fatal(err)
	}
	w.eventually("drift", func() string {
		u := w.get(deployments, "default", "web-b")
		n, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
		m, _, _ := unstructured.NestedInt64(u.Object, "spec", "minReadySeconds")
		if n != 3 || m != 4 {
			return fmt.Sprint(n, m)
		}
		return ""
	})

	// A site and the Service leave; a copy whose name is taken is not touched.
	w.mustApply(`apiVersion: apps/v1
kind: Deployment
metadata: {name: web-taken, namespace: default, labels: {mine: "yes"}}
spec: {selector: {matchLabels: {x: v}}, template: {metadata: {labels: {x: v}}, spec: {containers: [{name: c, image: i}]}}}`)
	without := shop[:strings.Index(shop, "    - apiVersion: v1\n")] + "  workloadScope: {targetNodeGroups: [{name: b}, {name: taken}]}\n"
	w.mustApply(without)
	w.wantCondition(v1alpha1.EdgeApplications, "default", "shop", "Applied", "False AlreadyExists", "web-taken")
	if w.get(services, "default", "web") == nil || w.get(deployments, "default", "web-a") == nil {
		t.Error("objects were deleted though others could not be applied")
	}
	w.mustApply(strings.Replace(without, ", {name: taken}", "", 1))
	w.eventually("prune", func() string {
		if w.get(services, "default", "web") != nil || w.get(deployments, "default", "web-a") != nil {
			return "not all gone"
		}
		return ""
	})
	if u := w.get(deployments, "default", "web-taken"); u == nil || len(u.GetOwnerReferences()) > 0 {
		t.Error("the Deployment of somebody else was touched")
	}
	if refs := w.get(deployments, "default", "web-b").GetOwnerReferences(); len(refs) != 1 || refs[0].Kind != "EdgeApplication" || !*refs[0].Controller {
		t.Errorf("owners %v", refs)
	}

	// A copy from before, without the site in its selector, keeps its selector.
	uid := w.get(v1alpha1.GroupVersion().WithResource(v1alpha1.EdgeApplications), "default", "shop").GetUID()
	w.mustApply(fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: web-old
  namespace: default
  ownerReferences: [{apiVersion: apps.kubeedge.io/v1alpha1, kind: EdgeApplication, name: shop, uid: %s, controller: true, blockOwnerDeletion: true}]
spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: i}]}}}`, uid))
	w.mustApply(strings.Replace(without, "{name: taken}", "{name: old}", 1))
	w.eventually("the copy from before", func() string {
		old, _, _ := unstructured.NestedStringMap(w.get(deployments, "default", "web-old").Object, "spec", "template", "spec", "nodeSelector")
		if old[v1alpha1.BelongingToLabel] != "old" {
			return fmt.Sprint("not applied: ", old, w.condition(v1alpha1.EdgeApplications, "default", "shop", "Applied"))
		}
		return ""
	})

	// Bad templates are conditions; the copies stay.
	for _, bad := range []struct{ manifest, want string }{
		{"{apiVersion: v1, kind: Secret, metadata: {name: x}}", "may not have v1 Secret"},
		{"{apiVersion: v1, kind: Namespace, metadata: {name: x}}", "may not have v1 Namespace"},
		{"{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: kube-system}}", "its own namespace default only"},
		{"{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: []}", "spec.template is missing"},
		{"{apiVersion: apps/v1, kind: Deployment, metadata: {name: X_}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}", "InvalidTemplate"},
		{"{kind: 7}", "InvalidTemplate"},
	} {
		w.mustApply(fmt.Sprintf("apiVersion: apps.kubeedge.io/v1alpha1\nkind: EdgeApplication\nmetadata: {name: shop, namespace: default}\nspec: {workloadTemplate: {manifests: [%s]}, workloadScope: {targetNodeGroups: [{name: b}]}}", bad.manifest))
		w.wantCondition(v1alpha1.EdgeApplications, "default", "shop", "Applied", "False InvalidTemplate", bad.want)
	}
	if w.get(deployments, "default", "web-b") == nil {
		t.Error("a bad template deleted what ran")
	}
}

// ready sets the status that the controllers of a cluster would.
func (w *groupsWorld) ready(name string, n int) {
	w.t.Helper()
	u := w.get(deployments, "default", name)
	status := fmt.Sprintf(`{"status":{"observedGeneration":%d,"replicas":%d,"updatedReplicas":%d,"readyReplicas":%d,"availableReplicas":%d}}`, u.GetGeneration(), n, n, n, n)
	if _, err := w.dyn.Resource(deployments).Namespace("default").Patch(w.t.Context(), name, types.MergePatchType, []byte(status), metav1.PatchOptions{}, "status"); err != nil {
		w.t.Fatal(err)
	}
}

// TestApplicationAuthors: nobody has objects made that he may not make himself.
func TestApplicationAuthors(t *testing.T) {
	w := newGroupsWorld(t)
	for _, file := range []string{"groups.yaml", "application.yaml"} { // no controller runs
		text, err := os.ReadFile(filepath.Join("../../examples/sites", file))
		if err != nil {
			t.Fatal(err)
		}
		for doc := range strings.SplitSeq(string(text), "\n---\n") {
			w.mustApply(doc)
		}
	}
	if err := w.dyn.Resource(v1alpha1.GroupVersion().WithResource(v1alpha1.EdgeApplications)).Namespace("default").Delete(t.Context(), "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	// One may make applications only, the other has the role edit.
	_, err := w.admin.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "only-applications"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{v1alpha1.Group}, Resources: []string{v1alpha1.EdgeApplications}, Verbs: []string{"*"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	as := func(role string) dynamic.Interface {
		t.Helper()
		name := "author-" + strings.ReplaceAll(role, ":", "-")
		if _, err := w.admin.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if w.bind(role, rbacv1.Subject{Kind: "ServiceAccount", Name: name, Namespace: "default"}); role == "system:aggregate-to-edit" { // no controller is here to aggregate roles
			w.bind("edgekit:applications-edit", rbacv1.Subject{Kind: "ServiceAccount", Name: name, Namespace: "default"})
		}
		token, err := w.admin.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		cfg := w.a.As(token.Status.Token)
		granted(t, cfg, authorizationv1.ResourceAttributes{Namespace: "default", Verb: "patch", Group: v1alpha1.Group, Resource: v1alpha1.EdgeApplications})
		dyn, err := dynamic.NewForConfig(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return dyn
	}
	weak := as("only-applications")
	w.eventually("the policy", func() string {
		err := applyAs(t.Context(), weak, shop)
		if err == nil {
			_ = w.dyn.Resource(v1alpha1.GroupVersion().WithResource(v1alpha1.EdgeApplications)).Namespace("default").Delete(t.Context(), "shop", metav1.DeleteOptions{})
			return "not in force"
		}
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "you may not create and patch deployments") {
			return err.Error()
		}
		return ""
	})
	edit := as("system:aggregate-to-edit")
	w.eventually("the role edit", func() string { // the authorizer learns of bindings with a delay
		if err := applyAs(t.Context(), edit, shop); err != nil {
			return err.Error()
		}
		return ""
	})
	// The weak one may change what is no spec, and not the spec.
	client := weak.Resource(v1alpha1.GroupVersion().WithResource(v1alpha1.EdgeApplications)).Namespace("default")
	if _, err := client.Patch(t.Context(), "shop", types.MergePatchType, []byte(`{"metadata":{"labels":{"x":"y"}}}`), metav1.PatchOptions{}); err != nil {
		t.Errorf("a label: %v", err)
	}
	if _, err := client.Patch(t.Context(), "shop", types.MergePatchType, []byte(`{"spec":{"workloadScope":{"targetNodeGroups":[{"name":"c"}]}}}`), metav1.PatchOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("another target: %v", err)
	}
}
