package install_test

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/install/apiservertest"
)

func TestCloudcoreRefuses(t *testing.T) {
	for want, c := range map[string]install.Cloudcore{
		"Cloudcore.Service":       {Service: "ExternalName"},
		"Cloudcore.Replicas":      {Replicas: -1},
		"Cloudcore.NodePort is":   {NodePort: 31000},
		"Cloudcore.NodePort 7000": {Service: corev1.ServiceTypeNodePort, NodePort: 70000},
		"Cloudcore.Image":         {Image: "edgekit/cloudcore:"},
		"Cloudcore.Advertise":     {Advertise: []string{"edge example:10000"}},
		"listen is decided":       {Settings: map[string]string{"listen": ":1"}},
		`"Keepalive" is not`:      {Settings: map[string]string{"Keepalive": "1m"}},
		`drain "long"`:            {Settings: map[string]string{"drain": "long"}},
	} {
		if _, err := install.Objects(install.Options{Cloudcore: &c}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want an error with %q", c, err, want)
		}
	}
	if _, err := install.Objects(install.Options{More: []byte("a: b\n")}); err == nil {
		t.Error("a document without a kind was taken")
	}
}

func TestImage(t *testing.T) {
	for image, want := range map[string]string{
		"edgekit/cloudcore:v1.2.3": "v1.2.3", "registry.example:5000/cloudcore": "", "registry.example:5000/cloudcore:v1@sha256:ab": "v1", "": "",
	} {
		d := &appsv1.Deployment{}
		d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "other", Image: "x:y"}, {Name: install.Name, Image: image}}
		if have, tag := install.Image(d); have != image || tag != want {
			t.Errorf("%q: tag %q, want %q (image %q)", image, tag, want, have)
		}
	}
}

// deployed applies all that there is to a real API server.
func deployed(t *testing.T, cfg *rest.Config, o install.Options, dryRun bool) map[install.Outcome]int {
	t.Helper()
	objects, err := install.Objects(o)
	if err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[install.Outcome]int)
	err = install.Apply(t.Context(), install.ApplyConfig{Client: client, Objects: objects, DryRun: dryRun, Report: func(r install.Result) { counts[r.Outcome]++ }})
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

// TestDeployment applies cloudcore to a real API server: again nothing changes, a new version
// changes the Deployment alone, what the operator set stays, and the pods keep to the Pod
// Security Standard "restricted", which the namespace demands.
func TestDeployment(t *testing.T) {
	a := apiservertest.Start(t)
	admin := clientFor(t, a.Admin)
	if version, err := install.ClusterVersion(admin); err != nil || version == "" {
		t.Fatal(version, err)
	}
	options := install.Options{Legacy: true, Cloudcore: &install.Cloudcore{
		Image: "edgekit/cloudcore:v1.0.0", Advertise: []string{"edge.example.com:10000"}, Settings: map[string]string{"keepalive": "1m"},
	}}
	if missing, err := install.MissingRights(t.Context(), admin, mustObjects(t, options)); err != nil || len(missing) != 0 {
		t.Errorf("an administrator lacks %v, %v", missing, err)
	}
	all := len(mustObjects(t, options))
	if counts := deployed(t, a.Admin, options, true); counts[install.Created] != all {
		t.Errorf("dry run: %v, want %d created", counts, all)
	}
	if counts := deployed(t, a.Admin, options, false); counts[install.Created] != all {
		t.Errorf("first: %v, want %d created", counts, all)
	}
	if counts := deployed(t, a.Admin, options, false); counts[install.Unchanged] != all {
		t.Errorf("again: %v, want %d unchanged", counts, all)
	}
	pod := podOf(t, admin)
	created, err := admin.CoreV1().Pods(install.Namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		t.Fatal("admission refuses cloudcore's pod:", err)
	}
	created = created.DeepCopy()
	root := pod.DeepCopy()
	root.Spec.Containers[0].SecurityContext.AllowPrivilegeEscalation = new(true)
	if _, err := admin.CoreV1().Pods(install.Namespace).Create(t.Context(), root, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err == nil {
		t.Error("admission takes a pod with privileges: the namespace does not demand the standard")
	}
	if len(created.Spec.ImagePullSecrets) != 0 || created.Spec.Containers[0].Image != "edgekit/cloudcore:v1.0.0" {
		t.Errorf("pod %+v", created.Spec)
	}
	service, err := admin.CoreV1().Services(install.Namespace).Get(t.Context(), install.Name, metav1.GetOptions{})
	if err != nil || len(service.Spec.Ports) != 2 || service.Spec.Type != corev1.ServiceTypeLoadBalancer || service.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		t.Errorf("service %+v, %v", service.Spec, err)
	}
	if _, err := admin.NetworkingV1().NetworkPolicies(install.Namespace).Get(t.Context(), install.Name, metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if budget, err := admin.PolicyV1().PodDisruptionBudgets(install.Namespace).Get(t.Context(), install.Name, metav1.GetOptions{}); err != nil || *budget.Spec.UnhealthyPodEvictionPolicy != policyv1.AlwaysAllow {
		t.Error(err)
	}
	upgraded(t, a, admin, options)
	restricted(t, a, options)
}

// upgraded applies another version.
func upgraded(t *testing.T, a *apiservertest.Server, admin kubernetes.Interface, options install.Options) {
	t.Helper()
	deployments := admin.AppsV1().Deployments(install.Namespace)
	d, err := deployments.Get(t.Context(), install.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	metav1.SetMetaDataAnnotation(&d.ObjectMeta, "example.com/team", "plant")
	if d, err = deployments.Update(t.Context(), d, metav1.UpdateOptions{FieldManager: "kubectl"}); err != nil {
		t.Fatal(err)
	}
	next := *options.Cloudcore
	next.Image, next.Service, next.NodePort = "edgekit/cloudcore:v1.1.0", corev1.ServiceTypeNodePort, 31000
	options.Cloudcore = &next
	if counts := deployed(t, a.Admin, options, true); counts[install.Configured] != 2 || counts[install.Created] != 0 {
		t.Errorf("plan: %v, want the Deployment and the Service configured", counts)
	}
	if now, err := deployments.Get(t.Context(), install.Name, metav1.GetOptions{}); err != nil || now.ResourceVersion != d.ResourceVersion {
		t.Errorf("a dry run changed the Deployment: %v", err)
	}
	if counts := deployed(t, a.Admin, options, false); counts[install.Configured] != 2 {
		t.Errorf("upgrade: %v, want the Deployment and the Service configured", counts)
	}
	now, err := deployments.Get(t.Context(), install.Name, metav1.GetOptions{})
	if err != nil || now.Annotations["example.com/team"] != "plant" {
		t.Errorf("what the operator set is gone: %v, %v", now.Annotations, err)
	}
	if _, tag := install.Image(now); tag != "v1.1.0" {
		t.Errorf("tag %q", tag)
	}
}

// restricted looks at what a caller without rights hears.
func restricted(t *testing.T, a *apiservertest.Server, options install.Options) {
	t.Helper()
	nobody := rest.CopyConfig(a.Admin)
	nobody.Impersonate.UserName = "nobody"
	missing, err := install.MissingRights(t.Context(), clientFor(t, nobody), mustObjects(t, options))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(missing, "\n")
	for _, want := range []string{"patch deployments.apps in edgekit-system", "create namespaces", "create clusterroles.rbac.authorization.k8s.io"} {
		if !strings.Contains(text, want) {
			t.Errorf("missing rights %v, want %q among them", missing, want)
		}
	}
}

// podOf makes the pod that the Deployment would make.
func podOf(t *testing.T, client kubernetes.Interface) *corev1.Pod {
	t.Helper()
	d, err := client.AppsV1().Deployments(install.Namespace).Get(t.Context(), install.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "cloudcore-", Labels: d.Spec.Template.Labels, Annotations: d.Spec.Template.Annotations},
		Spec:       d.Spec.Template.Spec,
	}
}

func mustObjects(t *testing.T, o install.Options) []*unstructured.Unstructured {
	t.Helper()
	objects, err := install.Objects(o)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}
