package cgroup_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/cgroup"
)

// TestTearDownOfABusyGroup leaves a process in a group inside a pod's, as a
// runtime does that was killed while it stopped a container.
func TestTearDownOfABusyGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("cgroups need root")
	}
	g := cgroup.New(cgroup.Config{Root: fmt.Sprintf("/edgekit-test-%d", os.Getpid())})
	if err := g.SetUp(corev1.PodQOSBurstable, "u", cgroup.Limits{CPUShares: 512}); err != nil {
		t.Skipf("this machine's cgroups cannot be written: %v", err)
	}
	parent := filepath.Join("/sys/fs/cgroup/cpu", g.Parent(corev1.PodQOSBurstable, "u"))
	if g.V2() {
		parent = filepath.Join("/sys/fs/cgroup", g.Parent(corev1.PodQOSBurstable, "u"))
	}
	t.Cleanup(func() { // the groups above the pod's
		for _, hierarchy := range []string{"", "cpu", "memory"} {
			top := filepath.Join("/sys/fs/cgroup", hierarchy, g.Parent(corev1.PodQOSBurstable, "u"))
			for range 3 {
				top = filepath.Dir(top)
				_ = os.Remove(top)
			}
		}
	})
	inner := filepath.Join(parent, "container")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	left := exec.Command("sleep", "1000")
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- left.Wait() }()
	if err := os.WriteFile(filepath.Join(inner, "cgroup.procs"), []byte(strconv.Itoa(left.Process.Pid)), 0o644); err != nil {
		_ = left.Process.Kill()
		<-ended
		t.Fatal(err)
	}
	if err := g.TearDown(corev1.PodQOSBurstable, "u"); !errors.Is(err, cgroup.ErrBusy) {
		t.Errorf("TearDown of a busy group: %v", err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the process was not killed")
		}
	case <-t.Context().Done():
		t.Fatal("the process lives on")
	}
	for n := 0; ; n++ {
		err := g.TearDown(corev1.PodQOSBurstable, "u")
		if err == nil {
			break
		}
		if !errors.Is(err, cgroup.ErrBusy) || n > 6000 {
			t.Fatal(err)
		}
		<-tick.C
	}
	if _, err := os.Stat(parent); err == nil {
		t.Error("the group is still there")
	}
}

func TestTearDownRefuses(t *testing.T) {
	g := cgroup.New(cgroup.Config{Mount: t.TempDir()})
	for _, uid := range []string{"", "..", "a/b", "../../x"} {
		if err := g.TearDown(corev1.PodQOSBurstable, uid); err == nil {
			t.Errorf("uid %q is taken", uid)
		}
	}
}
