package cgroup_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/cgroup"
)

func TestParent(t *testing.T) {
	for _, tt := range []struct {
		driver, root, want string
		class              corev1.PodQOSClass
	}{
		{"cgroupfs", "", "/kubepods/poda-b", corev1.PodQOSGuaranteed},
		{"cgroupfs", "/edge", "/edge/kubepods/burstable/poda-b", corev1.PodQOSBurstable},
		{"systemd", "", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-poda_b.slice", corev1.PodQOSBestEffort},
		{"systemd", "", "/kubepods.slice/kubepods-poda_b.slice", corev1.PodQOSGuaranteed},
		{"systemd", "/edge-1", "/edge_1.slice/edge_1-kubepods.slice/edge_1-kubepods-burstable.slice/edge_1-kubepods-burstable-poda_b.slice", corev1.PodQOSBurstable},
	} {
		if got := cgroup.New(cgroup.Config{Driver: tt.driver, Root: tt.root}).Parent(tt.class, "a-b"); got != tt.want {
			t.Errorf("%s %s: %s, want %s", tt.driver, tt.class, got, tt.want)
		}
	}
}

// TestTearDown removes a pod's groups from all hierarchies. Plain folders stand in
// for those of version 1.
func TestTearDown(t *testing.T) {
	mount := t.TempDir()
	for _, c := range []string{"cpu", "memory", "pids"} {
		if err := os.MkdirAll(filepath.Join(mount, c, "kubepods/burstable/podu/container"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	g := cgroup.New(cgroup.Config{Mount: mount})
	for range 2 {
		if err := g.TearDown(corev1.PodQOSBurstable, "u"); err != nil {
			t.Fatal(err)
		}
	}
	if left, _ := filepath.Glob(mount + "/*/kubepods/burstable/*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestRead reads the limits of a pod as the kernel of version 1 shows them.
func TestRead(t *testing.T) {
	mount := t.TempDir()
	g := cgroup.New(cgroup.Config{Mount: mount})
	if _, err := g.Read(corev1.PodQOSBurstable, "u"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a group that is not there: %v", err)
	}
	write := func(file, text string) {
		t.Helper()
		file = filepath.Join(mount, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("cpu/kubepods/burstable/podu/cpu.shares", "512")
	write("cpu/kubepods/burstable/podu/cpu.cfs_quota_us", "-1")
	write("cpu/kubepods/burstable/podu/cpu.cfs_period_us", "100000")
	write("memory/kubepods/burstable/podu/memory.limit_in_bytes", "9223372036854771712")
	write("memory/kubepods/burstable/podu/memory.usage_in_bytes", "4096")
	if l, err := g.Read(corev1.PodQOSBurstable, "u"); err != nil || l.CPUShares != 512 || l.CPUQuota != -1 || l.CPUPeriod != 100000 || l.Memory != -1 {
		t.Errorf("%+v, %v", l, err)
	}
	if n, err := g.MemoryUsage(corev1.PodQOSBurstable, "u"); err != nil || n != 4096 {
		t.Errorf("usage %d, %v", n, err)
	}
	write("memory/kubepods/burstable/podu/memory.limit_in_bytes", "lots")
	if _, err := g.Read(corev1.PodQOSBurstable, "u"); err == nil {
		t.Error("nonsense is taken")
	}
}

// TestUpdateGroupRefuses does not limit what is not the group of a daemon.
func TestUpdateGroupRefuses(t *testing.T) {
	for _, driver := range []string{"cgroupfs", "systemd"} {
		g := cgroup.New(cgroup.Config{Driver: driver, Mount: t.TempDir()})
		for _, group := range []string{"", "/", "/absent"} {
			if err := g.UpdateGroup(group, cgroup.Limits{Memory: 1 << 20}); err == nil {
				t.Errorf("%s: the group %q is limited", driver, group)
			}
		}
	}
	if err := cgroup.New(cgroup.Config{Mount: t.TempDir()}).UpdateGroup("/../x", cgroup.Limits{}); err == nil {
		t.Error("a group outside is limited")
	}
}

func ExampleGroups_Parent() {
	fmt.Println(cgroup.New(cgroup.Config{Driver: "cgroupfs"}).Parent(corev1.PodQOSBurstable, "1234"))
	// Output: /kubepods/burstable/pod1234
}
