package fieldref_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/fieldref"
)

func pod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b", UID: "u", Labels: map[string]string{"z": "1", "app/x": "two\n"}, Annotations: map[string]string{"k": "v"}},
		Spec:       corev1.PodSpec{NodeName: "n", ServiceAccountName: "sa"},
		Status:     corev1.PodStatus{HostIP: "10.0.0.1", PodIP: "10.1.0.1", PodIPs: []corev1.PodIP{{IP: "10.1.0.1"}, {IP: "fd00::1"}}, HostIPs: []corev1.HostIP{{IP: "10.0.0.1"}}},
	}
}

func TestField(t *testing.T) {
	for path, want := range map[string]string{
		"metadata.name": "b", "metadata.namespace": "a", "metadata.uid": "u", "spec.nodeName": "n", "spec.serviceAccountName": "sa",
		"status.hostIP": "10.0.0.1", "status.hostIPs": "10.0.0.1", "status.podIP": "10.1.0.1", "status.podIPs": "10.1.0.1,fd00::1",
		"metadata.labels": "app/x=\"two\\n\"\nz=\"1\"", "metadata.labels['z']": "1", "metadata.annotations['k']": "v", "metadata.annotations['no']": "",
		"metadata.annotations": `k="v"`,
	} {
		if got, err := fieldref.Field(pod(), path); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", path, got, err, want)
		}
	}
	for _, path := range []string{"", "spec.containers", "metadata.labels[z]", "status['x']", "metadata.name['x']"} {
		if got, err := fieldref.Field(pod(), path); err == nil {
			t.Errorf("%s: %q, want an error", path, got)
		}
	}
}

func TestResource(t *testing.T) {
	c := &corev1.Container{Resources: corev1.ResourceRequirements{
		Limits:   corev1.ResourceList{"cpu": resource.MustParse("1500m"), "memory": resource.MustParse("64Mi")},
		Requests: corev1.ResourceList{"cpu": resource.MustParse("250m"), "memory": resource.MustParse("32Mi")},
	}}
	node := corev1.ResourceList{"cpu": resource.MustParse("4"), "memory": resource.MustParse("1Gi"), "ephemeral-storage": resource.MustParse("10Gi")}
	for _, tt := range []struct {
		c                   *corev1.Container
		name, divisor, want string
	}{
		{c, "limits.cpu", "0", "2"}, {c, "limits.cpu", "1m", "1500"}, {c, "requests.cpu", "1", "1"}, {c, "requests.memory", "1Mi", "32"},
		{c, "limits.memory", "0", "67108864"}, {c, "limits.ephemeral-storage", "1Gi", "10"}, {&corev1.Container{}, "limits.cpu", "1", "4"},
		{&corev1.Container{}, "limits.memory", "1Mi", "1024"}, {&corev1.Container{}, "requests.cpu", "1m", "0"},
	} {
		if got, err := fieldref.Resource(tt.c, tt.name, resource.MustParse(tt.divisor), node); err != nil || got != tt.want {
			t.Errorf("%s/%s: %q, %v; want %q", tt.name, tt.divisor, got, err, tt.want)
		}
	}
	if _, err := fieldref.Resource(c, "limits.pods", resource.Quantity{}, node); err == nil {
		t.Error("limits.pods: want an error")
	}
}

func FuzzField(f *testing.F) {
	for _, s := range []string{"metadata.name", "metadata.labels['z']", "metadata.labels['", "['']", "status.podIPs"} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, path string) { fieldref.Field(pod(), path) })
}

func ExampleField() {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"app": "shop"}}}
	name, _ := fieldref.Field(p, "metadata.name")
	app, _ := fieldref.Field(p, "metadata.labels['app']")
	fmt.Println(name, app)
	// Output: web shop
}
