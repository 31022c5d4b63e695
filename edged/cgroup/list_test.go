package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestEmptyPods lists groups of plain folders, of both drivers and versions.
func TestEmptyPods(t *testing.T) {
	const a, b, c = "11111111-aaaa-4bbb-8ccc-000000000001", "22222222-aaaa-4bbb-8ccc-000000000002", "33333333-aaaa-4bbb-8ccc-000000000003"
	for _, driver := range []string{"cgroupfs", "systemd"} {
		for _, v2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %t", driver, v2), func(t *testing.T) {
				mount := t.TempDir()
				g := New(Config{Driver: driver, Mount: mount})
				g.v2 = v2
				if got := g.EmptyPods(); len(got) > 0 {
					t.Errorf("no groups: %q", got)
				}
				dir := func(hierarchy string, class corev1.PodQOSClass, uid string) string {
					path := g.Parent(class, uid)
					if driver == "systemd" {
						path = slicePath(filepath.Base(path))
					}
					if v2 {
						hierarchy = ""
					}
					path = filepath.Join(mount, hierarchy, path, "container")
					if err := os.MkdirAll(path, 0o755); err != nil {
						t.Fatal(err)
					}
					return path
				}
				dir("cpu", corev1.PodQOSBurstable, a)
				dir("memory", corev1.PodQOSBestEffort, b)
				dir("cpu", corev1.PodQOSGuaranteed, c)
				// One process in one hierarchy is enough.
				if err := os.WriteFile(filepath.Join(dir("memory", corev1.PodQOSGuaranteed, c), "cgroup.procs"), []byte("7\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				if got := g.EmptyPods(); !slices.Equal(got, []string{a, b}) {
					t.Errorf("%q", got)
				}
			})
		}
	}
}

// TestRealEmptyPods makes a group in the machine's own cgroups.
func TestRealEmptyPods(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("cgroups need root")
	}
	const uid = "11111111-aaaa-4bbb-8ccc-000000000001"
	root := fmt.Sprintf("/edgekit-empty-%d", os.Getpid())
	g := New(Config{Root: root})
	if err := g.SetUp(corev1.PodQOSBurstable, uid, Limits{CPUShares: 512}); err != nil {
		t.Skipf("this machine's cgroups cannot be written: %v", err)
	}
	t.Cleanup(func() {
		for _, hierarchy := range []string{"", "cpu", "memory"} {
			for _, dir := range []string{"kubepods/burstable", "kubepods", ""} {
				_ = os.Remove(filepath.Join("/sys/fs/cgroup", hierarchy, root, dir)) // those that are not there are no loss
			}
		}
	})
	if got := g.EmptyPods(); !slices.Equal(got, []string{uid}) {
		t.Errorf("%q", got)
	}
	if err := g.TearDown(corev1.PodQOSBurstable, uid); err != nil {
		t.Fatal(err)
	}
	if got := g.EmptyPods(); len(got) > 0 {
		t.Errorf("after TearDown: %q", got)
	}
}
