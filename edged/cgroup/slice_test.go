package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestSlicePath(t *testing.T) {
	for slice, want := range map[string]string{
		"kubepods-besteffort-poda_b.slice": "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-poda_b.slice",
		"kubepods-poda_b.slice":            "kubepods.slice/kubepods-poda_b.slice",
		"kubepods.slice":                   "kubepods.slice",
	} {
		if got := slicePath(slice); got != want {
			t.Errorf("%s: %s, want %s", slice, got, want)
		}
	}
}

// TestTearDownStopsTheSlice: systemd keeps a pod's slice until a caller stops
// it. Plain folders stand in for a version 1 hierarchy.
func TestTearDownStopsTheSlice(t *testing.T) {
	mount := t.TempDir()
	var stopped []string
	g := New(Config{Driver: "systemd", Mount: mount})
	g.stop = func(n name) error { stopped = append(stopped, n.slice()); return nil }
	if err := g.TearDown(corev1.PodQOSBurstable, "a-b"); err != nil || len(stopped) > 0 {
		t.Errorf("a pod without a slice: %v, stopped %q", err, stopped)
	}
	for _, hierarchy := range []string{"cpu", "systemd"} {
		if err := os.MkdirAll(filepath.Join(mount, hierarchy, slicePath("kubepods-burstable-poda_b.slice"), "x.scope"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, class := range []corev1.PodQOSClass{corev1.PodQOSGuaranteed, corev1.PodQOSBurstable, corev1.PodQOSBestEffort} {
		if err := g.TearDown(class, "a-b"); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"kubepods-burstable-poda_b.slice"}; !slices.Equal(stopped, want) {
		t.Errorf("stopped %q, want %q", stopped, want)
	}
	procs := filepath.Join(mount, "cpu", slicePath("kubepods-burstable-poda_b.slice"), "x.scope", "cgroup.procs")
	if err := os.WriteFile(procs, []byte("0\n"), 0o600); err != nil { // a process that cannot be seen
		t.Fatal(err)
	}
	stopped = nil
	if err := g.TearDown(corev1.PodQOSBurstable, "a-b"); !errors.Is(err, ErrBusy) || len(stopped) > 0 {
		t.Errorf("a slice with a process: %v, stopped %q", err, stopped)
	}
}

// TestMisplaced tells a slice in which something runs from one that a runtime does
// not use.
func TestMisplaced(t *testing.T) {
	mount := t.TempDir()
	g := New(Config{Driver: "systemd", Mount: mount})
	slice := filepath.Join(mount, "cpu", slicePath("kubepods-burstable-poda_b.slice"))
	if !g.Misplaced(corev1.PodQOSBurstable, "a-b") {
		t.Error("no slice, and nothing is wrong")
	}
	if err := os.MkdirAll(slice, 0o755); err != nil {
		t.Fatal(err)
	}
	if !g.Misplaced(corev1.PodQOSBurstable, "a-b") {
		t.Error("an empty slice, and nothing is wrong")
	}
	if err := os.Mkdir(filepath.Join(slice, "cri-containerd-1.scope"), 0o755); err != nil {
		t.Fatal(err)
	}
	if g.Misplaced(corev1.PodQOSBurstable, "a-b") || New(Config{Mount: mount}).Misplaced(corev1.PodQOSBurstable, "a-b") {
		t.Error("all is well, and something is wrong")
	}
}
