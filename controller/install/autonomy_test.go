package install_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/install/apiservertest"
)

// TestAutonomyLabelOnARealServer: with the policy a pod with KubeEdge's label tolerates a
// node that is away without a limit, whatever it or Kubernetes says; other tolerations and
// other pods stay as they are.
func TestAutonomyLabelOnARealServer(t *testing.T) {
	a := apiservertest.Start(t)
	client, err := dynamic.NewForConfig(a.Admin)
	if err != nil {
		t.Fatal(err)
	}
	for doc := range strings.SplitSeq(strings.TrimPrefix(string(install.AutonomyManifest()), "---\n"), "\n---\n") {
		obj := new(unstructured.Unstructured)
		if err := yaml.Unmarshal([]byte(doc), &obj.Object); err != nil {
			t.Fatal(err)
		}
		resource := map[string]string{"MutatingAdmissionPolicy": "mutatingadmissionpolicies", "MutatingAdmissionPolicyBinding": "mutatingadmissionpolicybindings"}[obj.GetKind()]
		if _, err := client.Resource(schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: resource}).Create(t.Context(), obj, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	pods := clientFor(t, a.Admin).CoreV1().Pods("default")
	create := func(label string, tolerations ...corev1.Toleration) []string {
		t.Helper()
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "p-"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}, Tolerations: tolerations}}
		if label != "" {
			p.Labels = map[string]string{"app-offline.kubeedge.io": label}
		}
		got, err := pods.Create(t.Context(), p, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, o := range got.Spec.Tolerations {
			limit := "ever"
			if o.TolerationSeconds != nil {
				limit = fmt.Sprint(*o.TolerationSeconds)
			}
			all = append(all, fmt.Sprintf("%s:%s for %s", o.Key, o.Effect, limit))
		}
		slices.Sort(all)
		return all
	}
	if _, err := clientFor(t, a.Admin).CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil {
		t.Log(err) // it is there
	}
	forever := []string{"node.kubernetes.io/not-ready:NoExecute for ever", "node.kubernetes.io/unreachable:NoExecute for ever"}
	until(t, func() string { // a new policy takes effect after a moment
		if got := create("autonomy"); !slices.Equal(got, forever) {
			return fmt.Sprintf("%q", got)
		}
		return ""
	})
	seconds := int64(5)
	got := create("autonomy", corev1.Toleration{Key: "a", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
		corev1.Toleration{Key: "node.kubernetes.io/unreachable", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds})
	if !slices.Equal(got, append([]string{"a:NoSchedule for ever"}, forever...)) {
		t.Errorf("with tolerations of its own: %q", got)
	}
	for _, label := range []string{"", "other"} {
		if got := create(label); slices.Equal(got, forever) {
			t.Errorf("label %q: %q", label, got)
		}
	}
}
