package cgroup_test

import (
	"fmt"
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
		{"systemd", "", "/kubepods-besteffort-poda_b.slice", corev1.PodQOSBestEffort},
		{"systemd", "", "/kubepods-poda_b.slice", corev1.PodQOSGuaranteed},
	} {
		if got := cgroup.New(cgroup.Config{Driver: tt.driver, Root: tt.root}).Parent(tt.class, "a-b"); got != tt.want {
			t.Errorf("%s %s: %s, want %s", tt.driver, tt.class, got, tt.want)
		}
	}
}

// A plain folder stands in for a version 1 hierarchy.
func TestSetUpAndTearDown(t *testing.T) {
	mount := t.TempDir()
	for _, c := range []string{"cpu", "memory", "pids"} {
		if err := os.MkdirAll(filepath.Join(mount, c, "kubepods/burstable/podu"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	g := cgroup.New(cgroup.Config{Mount: mount})
	if err := g.SetUp(corev1.PodQOSBurstable, "u", cgroup.Limits{CPUShares: 512, Memory: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	shares := filepath.Join(mount, "cpu/kubepods/burstable/podu/cpu.shares")
	if b, err := os.ReadFile(shares); err != nil || string(b) != "512" {
		t.Fatalf("%q, %v", b, err)
	}
	for _, f := range []string{shares, filepath.Join(mount, "memory/kubepods/burstable/podu/memory.limit_in_bytes")} {
		if err := os.Remove(f); err != nil { // the kernel's files go with the folder
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := g.TearDown(corev1.PodQOSBurstable, "u"); err != nil {
			t.Fatal(err)
		}
	}
	if left, _ := filepath.Glob(mount + "/*/kubepods/burstable/*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func ExampleGroups_Parent() {
	fmt.Println(cgroup.New(cgroup.Config{Driver: "cgroupfs"}).Parent(corev1.PodQOSBurstable, "1234"))
	// Output: /kubepods/burstable/pod1234
}
