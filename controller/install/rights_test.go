package install_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/install/apiservertest"
	"github.com/edgekit/edgekit/controller/internal/impersonate"
	"github.com/edgekit/edgekit/controller/kubeletproxy"
)

// account installs the shipped role and returns the configuration of its ServiceAccount.
func account(t *testing.T, a *apiservertest.Server) *rest.Config {
	t.Helper()
	if err := install.Ensure(t.Context(), install.Config{REST: a.Admin}); err != nil {
		t.Fatal(err)
	}
	admin := clientFor(t, a.Admin)
	for _, name := range []string{"edge-1", "edge-2"} {
		if _, err := admin.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := admin.CoreV1().ServiceAccounts(install.Namespace).CreateToken(t.Context(), install.ServiceAccount, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := a.As(got.Status.Token)
	granted(t, cfg, authorizationv1.ResourceAttributes{Verb: "list", Resource: "pods"})
	return cfg
}

func clientFor(t *testing.T, cfg *rest.Config) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// legacy applies the role for older Kubernetes.
func legacy(t *testing.T, a *apiservertest.Server) {
	t.Helper()
	text, err := install.LegacyManifest("")
	if err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(a.Admin)
	if err != nil {
		t.Fatal(err)
	}
	for doc := range strings.SplitSeq(string(text), "\n---\n") {
		var obj unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(strings.TrimPrefix(doc, "---\n")), &obj.Object); err != nil {
			t.Fatal(err)
		}
		resource := rbacv1.SchemeGroupVersion.WithResource(strings.ToLower(obj.GetKind()) + "s")
		if _, err := client.Resource(resource).Create(t.Context(), &obj, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// granted waits until the API server allows this to the holder of cfg: its authorizer
// learns of roles with a delay.
func granted(t *testing.T, cfg *rest.Config, attributes authorizationv1.ResourceAttributes) {
	t.Helper()
	reviews := clientFor(t, cfg).AuthorizationV1().SelfSubjectAccessReviews()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &attributes}}
		answer, err := reviews.Create(ctx, review, metav1.CreateOptions{})
		return err == nil && answer.Status.Allowed, nil
	})
	if err != nil {
		t.Fatalf("%s %s is never granted: %v", attributes.Verb, attributes.Resource, err)
	}
}

// escalation is something by which the holder of a role gets more than the role.
type escalation struct {
	name string
	try  func(ctx context.Context, c *kubernetes.Clientset) error
}

// reached lists which of the escalations succeed.
func reached(t *testing.T, cfg *rest.Config) []string {
	t.Helper()
	var all []string
	for _, e := range escalations() {
		if err := e.try(t.Context(), clientFor(t, cfg)); err == nil {
			all = append(all, e.name)
		} else if !apierrors.IsForbidden(err) {
			t.Errorf("%s: not refused but failed: %v", e.name, err)
		}
	}
	for _, who := range powerful() {
		as := rest.CopyConfig(cfg)
		as.Impersonate = who
		client := clientFor(t, as)
		for what, try := range map[string]func() error{
			"list secrets": func() error {
				_, err := client.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{})
				return err
			},
			"say who it is": func() error {
				_, err := client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
				return err
			},
		} {
			err := try()
			if err == nil {
				all = append(all, fmt.Sprintf("%s as %s %v", what, who.UserName, who.Groups))
			} else if !apierrors.IsForbidden(err) {
				t.Errorf("%s as %+v: not refused but failed: %v", what, who, err)
			}
		}
	}
	all = append(all, can(t, cfg)...)
	slices.Sort(all)
	return all
}

// powerful are users whose rights are not cloudcore's.
func powerful() []rest.ImpersonationConfig {
	return []rest.ImpersonationConfig{
		{UserName: "system:kube-controller-manager"}, {UserName: "system:kube-scheduler"}, {UserName: "system:apiserver"}, {UserName: "system:admin"}, {UserName: "admin"},
		{UserName: "anybody", Groups: []string{"system:masters"}},
		{UserName: "system:node:edge-1", Groups: []string{"system:masters"}},
		{UserName: "system:node:edge-1", Groups: []string{"system:nodes", "system:masters"}},
		{UserName: "system:node:edge-1", UID: "1"},
		{UserName: "system:node:edge-1", Extra: map[string][]string{"scopes": {"all"}}},
		{UserName: "system:serviceaccount:kube-system:clusterrole-aggregation-controller"},
		{UserName: "system:serviceaccount:kube-system:default"},
		{UserName: "system:anonymous"},
	}
}

// escalations are the ways that Kubernetes documents (RBAC good practices), and some of
// this project.
func escalations() []escalation {
	all := rbacv1.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}
	const account = "system:serviceaccount:" + install.Namespace + ":" + install.ServiceAccount
	rewrite, _ := json.Marshal(map[string]any{"rules": []rbacv1.PolicyRule{all}})
	return []escalation{
		{"rewrite its own role", func(ctx context.Context, c *kubernetes.Clientset) error {
			_, err := c.RbacV1().ClusterRoles().Patch(ctx, "edgekit:cloudcore", types.MergePatchType, rewrite, metav1.PatchOptions{})
			return err
		}},
		{"make a role", func(ctx context.Context, c *kubernetes.Clientset) error {
			_, err := c.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "all"}, Rules: []rbacv1.PolicyRule{all}}, metav1.CreateOptions{})
			return err
		}},
		{"bind cluster-admin", func(ctx context.Context, c *kubernetes.Clientset) error {
			_, err := c.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: "all"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
				Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: account}},
			}, metav1.CreateOptions{})
			return err
		}},
		{"a token of another account", func(ctx context.Context, c *kubernetes.Clientset) error {
			_, err := c.CoreV1().ServiceAccounts("kube-system").CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
			return err
		}},
		{"read secrets of kube-system", func(ctx context.Context, c *kubernetes.Clientset) error {
			_, err := c.CoreV1().Secrets("kube-system").List(ctx, metav1.ListOptions{})
			return err
		}},
		{"make a pod", func(ctx context.Context, c *kubernetes.Clientset) error {
			_, err := c.CoreV1().Pods("kube-system").Create(ctx, &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "x", Image: "x"}}},
			}, metav1.CreateOptions{})
			return err
		}},
		{"sign a certificate", func(ctx context.Context, c *kubernetes.Clientset) error {
			csr := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "any"}}
			_, err := c.CertificatesV1().CertificateSigningRequests().UpdateStatus(ctx, csr, metav1.UpdateOptions{})
			return err
		}},
		{"approve a certificate", func(ctx context.Context, c *kubernetes.Clientset) error {
			csr := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "any"}}
			_, err := c.CertificatesV1().CertificateSigningRequests().UpdateApproval(ctx, csr.Name, csr, metav1.UpdateOptions{})
			return err
		}},
		{"as a node, delete its Node", func(ctx context.Context, c *kubernetes.Clientset) error {
			return as(ctx, c, "system:node:edge-1", http.MethodDelete, "/api/v1/nodes/edge-1", "")
		}},
		{"as a node, write who holds it", func(ctx context.Context, c *kubernetes.Clientset) error {
			return as(ctx, c, "system:node:edge-1", http.MethodPost, "/apis/coordination.k8s.io/v1/namespaces/"+install.Namespace+"/leases", `{"metadata":{"name":"edge-1"}}`)
		}},
		{"delete a node", func(ctx context.Context, c *kubernetes.Clientset) error {
			return c.CoreV1().Nodes().Delete(ctx, "edge-1", metav1.DeleteOptions{})
		}},
		{"as a node, read a secret of no pod of it", func(ctx context.Context, c *kubernetes.Clientset) error {
			return as(ctx, c, "system:node:edge-1", http.MethodGet, "/api/v1/namespaces/kube-system/secrets/any", "")
		}},
		{"as a node, write another's status", func(ctx context.Context, c *kubernetes.Clientset) error {
			return as(ctx, c, "system:node:edge-1", http.MethodPatch, "/api/v1/nodes/edge-2/status", `{"status":{"phase":"Running"}}`)
		}},
		{"as a node, ask for a certificate", func(ctx context.Context, c *kubernetes.Clientset) error {
			return as(ctx, c, "system:node:edge-1", http.MethodPost, "/apis/certificates.k8s.io/v1/certificatesigningrequests", `{}`)
		}},
		{"as a node, ask for others' rights", func(ctx context.Context, c *kubernetes.Clientset) error {
			return as(ctx, c, "system:node:edge-1", http.MethodPost, "/apis/authorization.k8s.io/v1/subjectaccessreviews", `{}`)
		}},
		{"as a node, write its record", func(ctx context.Context, c *kubernetes.Clientset) error {
			return as(ctx, c, "system:node:edge-1", http.MethodPatch, "/api/v1/nodes/edge-1", `{"metadata":{"labels":{"`+kubeletproxy.RecordLabel+`":"10.0.0.1_20000"}}}`)
		}},
		{"as a node, write its record by its status", func(ctx context.Context, c *kubernetes.Clientset) error {
			return as(ctx, c, "system:node:edge-1", http.MethodPatch, "/api/v1/nodes/edge-1/status", `{"metadata":{"labels":{"`+kubeletproxy.RecordLabel+`":"10.0.0.1_20000"}}}`)
		}},
	}
}

// as makes a request as a user, named without groups.
func as(ctx context.Context, c *kubernetes.Clientset, user, method, path, body string) error {
	return c.CoreV1().RESTClient().Verb(method).AbsPath(path).SetHeader("Impersonate-User", user).
		SetHeader("Content-Type", map[string]string{http.MethodPatch: string(types.MergePatchType)}[method]).Body([]byte(body)).Do(ctx).Error()
}

// can asks the API server itself for the rights that would be too many.
func can(t *testing.T, cfg *rest.Config) []string {
	t.Helper()
	client := clientFor(t, cfg)
	var all []string
	for _, r := range []authorizationv1.ResourceAttributes{
		{Verb: "*", Group: "*", Resource: "*"}, {Verb: "impersonate", Resource: "users"}, {Verb: "impersonate", Resource: "groups", Name: "system:masters"},
		{Verb: "impersonate", Resource: "serviceaccounts"}, {Verb: "impersonate:user-info", Group: "authentication.k8s.io", Resource: "users"},
		{Verb: "impersonate:serviceaccount", Group: "authentication.k8s.io", Resource: "serviceaccounts"},
		{Verb: "escalate", Group: rbacv1.GroupName, Resource: "clusterroles"}, {Verb: "bind", Group: rbacv1.GroupName, Resource: "clusterroles"},
		{Verb: "get", Resource: "secrets"}, {Verb: "create", Resource: "nodes", Subresource: "proxy"}, {Verb: "create", Resource: "pods", Subresource: "exec"},
		{Verb: "create", Resource: "serviceaccounts", Subresource: "token"}, {Verb: "create", Group: "apps", Resource: "deployments"}, {Verb: "update", Group: "admissionregistration.k8s.io", Resource: "validatingwebhookconfigurations"},
	} {
		review, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(),
			&authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &r}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if review.Status.Allowed {
			all = append(all, fmt.Sprintf("may %s %s %s/%s", r.Verb, r.Group, r.Resource, r.Subresource))
		}
	}
	return all
}

// works makes the requests that cloudcore makes as nodes.
func works(t *testing.T, cfg *rest.Config, mode impersonate.Mode) {
	t.Helper()
	client, err := impersonate.Client(cfg, mode)
	if err != nil {
		t.Fatal(err)
	}
	own := clientFor(t, cfg)
	name := "edge-" + string(mode)
	ctx := impersonate.With(t.Context(), name)
	nodes := client.CoreV1().Nodes()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %s: %v", mode, what, err)
		}
	}
	_, err = nodes.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"shift": "early"}}}, metav1.CreateOptions{})
	must("register", err)
	_, err = nodes.Patch(ctx, name, types.MergePatchType, []byte(`{"metadata":{"labels":{"shift":"late"}}}`), metav1.PatchOptions{})
	must("label", err)
	_, err = nodes.Patch(ctx, name, types.StrategicMergePatchType, []byte(`{"status":{"phase":"Running"}}`), metav1.PatchOptions{}, "status")
	must("status", err)
	_, err = own.CoreV1().Nodes().Patch(t.Context(), name, types.MergePatchType, []byte(`{"metadata":{"labels":{"node-role.kubernetes.io/edge":"","`+kubeletproxy.RecordLabel+`":"10.0.0.1_20000"}},"spec":{"taints":[{"key":"edgekit.io/disconnected","effect":"NoSchedule"}]}}`), metav1.PatchOptions{})
	must("record, role and taint", err)
	_, err = client.CoreV1().Events("default").Create(ctx, &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: name}, InvolvedObject: corev1.ObjectReference{Kind: "Node", Name: name, Namespace: "default"}}, metav1.CreateOptions{})
	must("event", err)
	_, err = client.CoreV1().Pods("default").Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"}, OwnerReferences: []metav1.OwnerReference{nodeOwner(t, own, name)}},
		Spec:       corev1.PodSpec{NodeName: name, Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}, metav1.CreateOptions{})
	must("mirror pod", err)
	_, err = client.CoreV1().Pods("default").Patch(ctx, name, types.StrategicMergePatchType, []byte(`{"status":{"phase":"Running"}}`), metav1.PatchOptions{}, "status")
	must("pod status", err)
	_, err = client.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
	must("pod", err)
	must("delete pod", client.CoreV1().Pods("default").Delete(ctx, name, metav1.DeleteOptions{}))
	_, err = client.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	must("services", err)
	_, err = client.CoreV1().Secrets("default").Get(ctx, "none", metav1.GetOptions{})
	if !apierrors.IsForbidden(err) || strings.Contains(err.Error(), "impersonate") {
		t.Errorf("%s: a secret of no pod: %v", mode, err)
	}
	for _, namespace := range []string{install.Namespace} {
		_, err = own.CoordinationV1().Leases(namespace).Get(t.Context(), "none", metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			t.Errorf("%s: a record of who holds a node: %v", mode, err)
		}
	}
	if err := install.Ensure(t.Context(), install.Config{REST: cfg}); err != nil {
		t.Errorf("%s: cloudcore does not start: %v", mode, err)
	}
}

func nodeOwner(t *testing.T, c *kubernetes.Clientset, name string) metav1.OwnerReference {
	t.Helper()
	node, err := c.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	return metav1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: name, UID: node.UID, Controller: &yes}
}

// TestAttackRoleReach tries, at a real kube-apiserver, what the holder of cloudcore's
// token can do beyond the role: with the shipped role nothing. The role for older
// Kubernetes allows what its file says.
func TestAttackRoleReach(t *testing.T) {
	a := apiservertest.Start(t)
	cfg := account(t, a)
	mode, err := impersonate.Detect(t.Context(), cfg)
	if err != nil || mode != impersonate.Constrained {
		t.Fatalf("the shipped role is found to be %q, %v", mode, err)
	}
	works(t, cfg, impersonate.Constrained)
	beyond := reached(t, cfg)
	if len(beyond) > 0 {
		t.Errorf("the shipped role reaches\n%s", strings.Join(beyond, "\n"))
	}
	if mode, err := impersonate.Detect(t.Context(), a.Admin); err != nil || mode != impersonate.Constrained {
		t.Errorf("an administrator is found to be %q, %v", mode, err)
	}
	legacy(t, a)
	granted(t, cfg, authorizationv1.ResourceAttributes{Verb: "impersonate", Resource: "users", Name: "system:node:edge-legacy"})
	works(t, cfg, impersonate.Legacy)
	if more := reached(t, cfg); !slices.Contains(more, "list secrets as system:kube-controller-manager []") {
		t.Errorf("the warning of rbac-legacy.yaml is not true: it reaches %v", more)
	}
	t.Run("schema of rules", func(t *testing.T) { rulesSchema(t, a) })
	t.Run("schema of jobs", func(t *testing.T) { jobsSchema(t, a) })
	fmt.Println("RESULT attack_role_reach", len(beyond))
}
