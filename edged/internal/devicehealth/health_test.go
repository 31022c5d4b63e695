package devicehealth_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/devicehealth"
	"github.com/edgekit/edgekit/edged/internal/podtest"
)

// claims has the same statuses for each container.
type claims []corev1.ResourceStatus

func (c claims) ResourceStatuses(*corev1.Pod, *corev1.Container) []corev1.ResourceStatus { return c }

func status(name corev1.ResourceName, health corev1.ResourceHealthStatus) corev1.ResourceStatus {
	return corev1.ResourceStatus{Name: name, Resources: []corev1.ResourceHealth{{ResourceID: "d", Health: health}}}
}

func pod() (*corev1.Pod, *corev1.PodStatus) {
	p := podtest.New(corev1.RestartPolicyAlways, "main")
	p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu"}}
	return p, &corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "main"}}}
}

// TestClaims: what is known now counts; a claim of which nothing is known has the health of before,
// in the order of before.
func TestClaims(t *testing.T) {
	p, st := pod()
	last := &corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "main", AllocatedResourcesStatus: []corev1.ResourceStatus{
		status("claim:b", corev1.ResourceHealthStatusHealthy), status("claim:a", corev1.ResourceHealthStatusHealthy), status("vendor.example/widget", corev1.ResourceHealthStatusHealthy),
	}}}}
	devicehealth.AddClaims(st, p, last, claims{status("claim:a", corev1.ResourceHealthStatusUnhealthy), status("claim:c", corev1.ResourceHealthStatusUnknown)})
	got := st.ContainerStatuses[0].AllocatedResourcesStatus
	want := claims{status("claim:b", corev1.ResourceHealthStatusHealthy), status("claim:a", corev1.ResourceHealthStatusUnhealthy), status("claim:c", corev1.ResourceHealthStatusUnknown)}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i].Name != want[i].Name || got[i].Resources[0].Health != want[i].Resources[0].Health {
			t.Errorf("%d: %+v, want %+v", i, got[i], want[i])
		}
	}
}

// TestNone: a node without claims and plugins adds nothing.
func TestNone(t *testing.T) {
	p, st := pod()
	devicehealth.AddClaims(st, p, nil, nil)
	devicehealth.AddDevices(st, string(p.UID), nil, nil)
	if list := st.ContainerStatuses[0].AllocatedResourcesStatus; list != nil {
		t.Errorf("%+v", list)
	}
}
