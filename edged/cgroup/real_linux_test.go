package cgroup_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/cgroup"
)

// realGroups are groups of this machine below a root of their own, which the test's
// end removes. It skips where the machine cannot have them.
func realGroups(t *testing.T, driver string) (*cgroup.Groups, string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("cgroups need root")
	}
	if _, err := os.Stat("/run/systemd/system"); driver == "systemd" && err != nil {
		t.Skip("systemd does not run this machine")
	}
	root := fmt.Sprintf("edgekittest%d%s", os.Getpid(), driver)
	g := cgroup.New(cgroup.Config{Root: "/" + root, Driver: driver})
	if err := g.SetUpNode(cgroup.Limits{}); err != nil {
		t.Skipf("this machine's cgroups cannot be written: %v", err)
	}
	t.Cleanup(func() {
		for _, top := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
			for _, below := range []string{"/kubepods/*", "/kubepods", ""} {
				dirs, _ := filepath.Glob(filepath.Join(top, root+below))
				for _, dir := range dirs {
					_ = os.Remove(dir)
				}
			}
		}
	})
	return g, root
}

// limitFile is a file of a group by the kernel's names in both versions.
func limitFile(g *cgroup.Groups, controller, group, v1, v2 string) string {
	if g.V2() {
		return filepath.Join("/sys/fs/cgroup", group, v2)
	}
	return filepath.Join("/sys/fs/cgroup", controller, group, v1)
}

func wantLimit(t *testing.T, file, want string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if got := strings.TrimSpace(string(text)); err != nil || got != want {
		t.Errorf("%s is %q, %v; want %q", file, got, err, want)
	}
}

// either picks what a file of version 1 or 2 has.
func either(g *cgroup.Groups, v1, v2 string) string {
	if g.V2() {
		return v2
	}
	return v1
}

// TestRealGroups makes the groups of a node and of a pod on this machine, changes
// and removes them, with each driver that the machine has. What is checked is read
// from the kernel.
func TestRealGroups(t *testing.T) {
	for _, driver := range []string{"cgroupfs", "systemd"} {
		t.Run(driver, func(t *testing.T) {
			g, root := realGroups(t, driver)
			node := root + "/kubepods"
			pod := node + "/burstable/podab-cd"
			tier := node + "/burstable"
			if driver == "systemd" {
				node = root + ".slice/" + root + "-kubepods.slice"
				tier = node + "/" + root + "-kubepods-burstable.slice"
				pod = tier + "/" + root + "-kubepods-burstable-podab_cd.slice"
			}
			if err := g.SetUpNode(cgroup.Limits{CPUShares: 2048, Memory: 512 << 20, Pids: 5000, HugePages: map[string]uint64{}}); err != nil {
				t.Fatal(err)
			}
			wantLimit(t, limitFile(g, "memory", node, "memory.limit_in_bytes", "memory.max"), fmt.Sprint(512<<20))
			wantLimit(t, limitFile(g, "cpu", node, "cpu.shares", "cpu.weight"), either(g, "2048", "79"))
			wantLimit(t, limitFile(g, "pids", node, "pids.max", "pids.max"), "5000")
			if err := g.SetUpTier(corev1.PodQOSBurstable, cgroup.Limits{CPUShares: 512}); err != nil {
				t.Fatal(err)
			}
			if err := g.SetUpTier(corev1.PodQOSBestEffort, cgroup.Limits{CPUShares: 2}); err != nil {
				t.Fatal(err)
			}
			wantLimit(t, limitFile(g, "cpu", tier, "cpu.shares", "cpu.weight"), either(g, "512", "20"))
			limits := cgroup.Limits{CPUShares: 256, CPUQuota: 20000, CPUPeriod: 100000, Memory: 64 << 20, Pids: 100, HugePages: map[string]uint64{}}
			if g.V2() {
				limits.Unified = map[string]string{"memory.high": fmt.Sprint(60 << 20), "memory.low": fmt.Sprint(16 << 20)}
			}
			if err := g.SetUp(corev1.PodQOSBurstable, "ab-cd", limits); err != nil {
				t.Fatal(err)
			}
			wantLimit(t, limitFile(g, "memory", pod, "memory.limit_in_bytes", "memory.max"), fmt.Sprint(64<<20))
			wantLimit(t, limitFile(g, "pids", pod, "pids.max", "pids.max"), "100")
			wantLimit(t, limitFile(g, "cpu", pod, "cpu.cfs_quota_us", "cpu.max"), either(g, "20000", "20000 100000"))
			if g.V2() {
				wantLimit(t, filepath.Join("/sys/fs/cgroup", pod, "memory.high"), fmt.Sprint(60<<20))
				wantLimit(t, filepath.Join("/sys/fs/cgroup", pod, "memory.low"), fmt.Sprint(16<<20))
			}
			got, err := g.Read(corev1.PodQOSBurstable, "ab-cd")
			if err != nil || got.Memory != 64<<20 || got.CPUQuota != 20000 || got.CPUPeriod != 100000 || got.CPUShares < 230 || got.CPUShares > 256 {
				t.Errorf("read back: %+v, %v", got, err)
			}
			if n, err := g.MemoryUsage(corev1.PodQOSBurstable, "ab-cd"); err != nil || n < 0 || n > 1<<20 {
				t.Errorf("an empty group uses %d bytes, %v", n, err)
			}
			if err := g.Update(corev1.PodQOSBurstable, "ab-cd", cgroup.Limits{Memory: 128 << 20, CPUQuota: -1, CPUPeriod: 100000}); err != nil {
				t.Fatal(err)
			}
			wantLimit(t, limitFile(g, "memory", pod, "memory.limit_in_bytes", "memory.max"), fmt.Sprint(128<<20))
			wantLimit(t, limitFile(g, "cpu", pod, "cpu.cfs_quota_us", "cpu.max"), either(g, "-1", "max 100000"))
			wantLimit(t, limitFile(g, "pids", pod, "pids.max", "pids.max"), "100")
			if err := g.UpdateGroup(map[string]string{"cgroupfs": "/" + node, "systemd": root + "-kubepods.slice"}[driver], cgroup.Limits{Memory: 256 << 20}); err != nil {
				t.Error(err)
			}
			wantLimit(t, limitFile(g, "memory", node, "memory.limit_in_bytes", "memory.max"), fmt.Sprint(256<<20))
			tearDown(t, g, limitFile(g, "memory", pod, "", ""))
		})
	}
}

// tearDown removes the pod of TestRealGroups. systemd may need a moment.
func tearDown(t *testing.T, g *cgroup.Groups, dir string) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		err := g.TearDown(corev1.PodQOSBurstable, "ab-cd")
		if err != nil && !errors.Is(err, cgroup.ErrBusy) {
			t.Fatal(err)
		}
		if _, left := os.Stat(dir); os.IsNotExist(left) {
			return
		}
		if n > 600 {
			t.Fatalf("%s is still there: %v", dir, err)
		}
		<-tick.C
	}
}
