package edged_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/edged/cri"
)

// realLimit is long enough for an emulated machine.
const realLimit = 3 * time.Minute

// podGroups lists the cgroups of pods in the way of a driver.
func podGroups(t *testing.T, driver string) []string {
	t.Helper()
	patterns := map[string]string{
		cri.DriverSystemd:  "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod*.slice",
		cri.DriverCgroupfs: "kubepods/besteffort/pod*",
	}
	var out []string
	for _, top := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} { // version 2 and 1
		found, err := filepath.Glob(filepath.Join(top, os.Getenv("EDGEKIT_CRI_CGROUP_ROOT"), patterns[driver]))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, found...)
	}
	return out
}

// driverOfMachine is the cgroup driver that the runtime is configured for. It
// skips where EDGEKIT_CRI_CGROUP_DRIVER does not say.
func driverOfMachine(t *testing.T) string {
	t.Helper()
	driver := os.Getenv("EDGEKIT_CRI_CGROUP_DRIVER")
	if driver == "" {
		t.Skip("EDGEKIT_CRI_CGROUP_DRIVER does not say how the container runtime makes cgroups")
	}
	return driver
}

// TestRealCgroupDriver runs a pod without a configured cgroup driver: the pod's cgroup is
// of the runtime's driver, and is removed with the pod.
func TestRealCgroupDriver(t *testing.T) {
	driver := driverOfMachine(t)
	r := startReal(t)
	if got, err := r.runtime.CgroupDriver(t.Context()); err != nil || got != driver {
		t.Fatalf("driver %q, %v; the machine's is %q", got, err, driver)
	}
	p := newPod("stock", busybox("trap 'exit 0' TERM; sleep 1000 & wait"))
	r.put(p)
	r.wait(t, "ready", realLimit, func() bool { return r.isReady(p.UID) })
	if len(podGroups(t, driver)) == 0 {
		t.Errorf("the pod has no cgroup of the kind of %s", driver)
	}
	r.del(p, 5)
	r.wait(t, "gone", realLimit, func() bool { return r.gone[p.UID] })
	ctx, cancel := context.WithTimeout(t.Context(), realLimit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond) // systemd removes a slice in its own time
	defer tick.Stop()
	for len(podGroups(t, driver)) > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("cgroups are left: %q", podGroups(t, driver))
		}
	}
}

// TestRealWrongCgroupDriver sets the other driver: with cgroupfs on a runtime that uses
// systemd no pod starts, and the event says what to do; the other way round a pod runs,
// and an event of the node says that the drivers differ.
func TestRealWrongCgroupDriver(t *testing.T) {
	wrong := map[string]string{cri.DriverSystemd: cri.DriverCgroupfs, cri.DriverCgroupfs: cri.DriverSystemd}[driverOfMachine(t)]
	r := startRealWith(t, cri.Config{CgroupDriver: wrong})
	p := newPod("wrong", busybox("trap 'exit 0' TERM; sleep 1000 & wait"))
	r.put(p)
	r.wait(t, "an event with the remedy", realLimit, func() bool {
		for _, e := range r.events {
			if wrong == cri.DriverSystemd && r.isReady(p.UID) && strings.HasPrefix(e, "WrongCgroupDriver: ") && strings.Contains(e, "--cgroup-driver cgroupfs") {
				return true
			}
			if strings.HasPrefix(e, "FailedCreatePodSandBox: ") && strings.Contains(e, "--cgroup-driver systemd") {
				return true
			}
		}
		return false
	})
	r.del(p, 1)
	r.wait(t, "gone", realLimit, func() bool { return r.gone[p.UID] })
}
