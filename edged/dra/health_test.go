package dra_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	drahealth "k8s.io/kubelet/pkg/apis/dra-health/v1"
	drapb "k8s.io/kubelet/pkg/apis/dra/v1"

	"github.com/edgekit/edgekit/edged/dra/dratest"
)

// TestHealth: the statuses of a container's claims follow what the driver says; without a
// driver the health is not known.
func TestHealth(t *testing.T) {
	m := newMachine(t)
	m.run(m.m.Run)
	d, stop := m.driver(dratest.Config{Health: true})
	m.claim("gpu", []string{driverName}, "a")
	d.SetDevices("uid-gpu", &drapb.Device{PoolName: "p", DeviceName: "d0", RequestNames: []string{"one"}, CdiDeviceIds: []string{"v/c=0", "v/c=x"}}, &drapb.Device{PoolName: "p", DeviceName: "d1", RequestNames: []string{"two"}})
	p := pod("a", "gpu")
	m.prepare(p)
	p.Spec.Containers[0].Resources.Claims = append(p.Spec.Containers[0].Resources.Claims, corev1.ResourceClaim{Name: "local-gpu", Request: "two/fast"}, corev1.ResourceClaim{Name: "no such"})
	statuses := func() string {
		var out []string
		for _, s := range m.m.ResourceStatuses(p, &p.Spec.Containers[0]) {
			for _, r := range s.Resources {
				text := fmt.Sprintf("%s %s %s", s.Name, r.ResourceID, r.Health)
				if r.Message != nil {
					text += " " + *r.Message
				}
				out = append(out, text)
			}
		}
		return strings.Join(out, ", ")
	}
	const second = driverName + "/p/d1"
	unknown := "claim:local-gpu v/c=0 Unknown, claim:local-gpu " + second + " Unknown, claim:local-gpu/two/fast " + second + " Unknown"
	if got := statuses(); got != unknown {
		t.Errorf("%s\nwant %s", got, unknown)
	}
	expect := func(want string) { // the next change, or one of those that follow
		t.Helper()
		for got := statuses(); got != want; got = statuses() {
			select {
			case <-m.health:
			case <-t.Context().Done():
				t.Fatalf("%s\nwant %s", got, want)
			}
		}
	}
	device := func(name string, status drahealth.HealthStatus, message string) *drahealth.DeviceHealth {
		return &drahealth.DeviceHealth{Device: &drahealth.DeviceIdentifier{PoolName: "p", DeviceName: name}, Health: status, Message: message, HealthCheckTimeoutSeconds: 3600}
	}
	d.SetHealth(device("d0", drahealth.HealthStatus_HEALTHY, ""), device("d1", drahealth.HealthStatus_UNHEALTHY, "hot"))
	expect("claim:local-gpu v/c=0 Healthy, claim:local-gpu " + second + " Unhealthy hot, claim:local-gpu/two/fast " + second + " Unhealthy hot")
	d.SetHealth(device("d0", drahealth.HealthStatus_HEALTHY, ""), device("d1", drahealth.HealthStatus_HEALTHY, ""))
	expect("claim:local-gpu v/c=0 Healthy, claim:local-gpu " + second + " Healthy, claim:local-gpu/two/fast " + second + " Healthy")
	m.mu.Lock()
	for _, uid := range m.sick {
		if uid != "a" {
			t.Errorf("pod %q is notified", uid)
		}
	}
	m.mu.Unlock()
	stop()
	expect(unknown)
}
