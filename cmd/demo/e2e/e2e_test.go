package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

func TestEndToEnd(t *testing.T) {
	s := newSite(t)
	story(t, s)
	if t.Failed() {
		return
	}
	t.Run("budgets", func(t *testing.T) { budgets(t, s) })
	t.Run("bad input", func(t *testing.T) { badInput(t, s) })
	t.Run("streams", func(t *testing.T) { streams(t, s) })
	t.Run("MQTT for pods", func(t *testing.T) { mqttForPods(t, s) })
	t.Run("Modbus", func(t *testing.T) { modbusDevice(t, s) })
	t.Run("rules", func(t *testing.T) { rulePairs(t, s) })
	t.Run("pipelines", func(t *testing.T) { pipelines(t, s) })
	t.Run("node API", func(t *testing.T) { nodeAPI(t, s) })
	t.Run("admission", func(t *testing.T) { admission(t, s.Kube()) })
	t.Run("udp blocked", func(t *testing.T) { udpBlocked(t, s) })
	t.Run("two cloudcores", func(t *testing.T) { twoClouds(t, s) })
	t.Run("one identity twice", func(t *testing.T) { twice(t, s) })
	t.Run("node deleted", func(t *testing.T) { nodeDeleted(t, s) })
	t.Run("revoked", func(t *testing.T) { revoked(t, s) })
	t.Run("long cut", func(t *testing.T) { longCut(t, s) })
	t.Run("crashes", func(t *testing.T) { crashes(t, s) })
	t.Run("autonomy", func(t *testing.T) { autonomy(t, s, fewKills) })
	t.Run("power cut", func(t *testing.T) { powerCut(t, s) })
	t.Run("given up", func(t *testing.T) { givenUp(t, s) })
	t.Run("pods", func(t *testing.T) { pods(t, s) })
	t.Run("volumes", func(t *testing.T) { volumes(t, s) })
	t.Run("taken out", func(t *testing.T) { removed(t, s) })
	t.Run("delete", func(t *testing.T) { deleteAll(t, s) })
	t.Run("down leaves nothing", func(t *testing.T) { leavesNothing(t, s) })
}

// newSite makes the scene, with everything that an earlier run left removed,
// and removes it all again at the end.
func newSite(t *testing.T) *site.Site {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux: containers and network namespaces")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: containers and network namespaces")
	}
	s, err := site.InCache("e2e", testWriter{t})
	if err != nil {
		t.Fatal(err)
	}
	alone(t, s.Dir()+".running")
	down := func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		defer cancel()
		if err := s.Remove(ctx); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	down()
	t.Cleanup(func() {
		if t.Failed() {
			showLogs(t, s)
		}
		down()
	})
	return s
}

// alone fails the test if another run is at it.
func alone(t *testing.T, lock string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(lock), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(lock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = os.Remove(lock) // the next one makes it again
		f.Close()
	})
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatalf("another end to end test runs on this machine (%s): %v", lock, err)
	}
}

// deviceSite makes the scene and runs the demo's steps up to that with the device.
func deviceSite(t *testing.T) *site.Site {
	t.Helper()
	return siteAfter(t, 5)
}

// siteAfter makes the scene and runs the first steps of the demo.
func siteAfter(t *testing.T, steps int) *site.Site {
	t.Helper()
	s := newSite(t)
	for _, step := range tour.New(s).Steps()[:steps] {
		seen, err := step.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Log(seen)
	}
	return s
}

// story runs the demo's steps as subtests; the first failure ends it.
func story(t *testing.T, s *site.Site) {
	for i, step := range tour.New(s).Steps() {
		ok := t.Run(fmt.Sprintf("step %d", i+1), func(t *testing.T) {
			t.Log(step.Title)
			began := time.Now()
			seen, err := step.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s\n%v", seen, time.Since(began).Round(time.Millisecond))
		})
		if !ok {
			return
		}
	}
}

// leavesNothing takes the site down and looks at all places where something
// of it was.
func leavesNothing(t *testing.T, s *site.Site) {
	cgroups, cable, dir, netns := s.CgroupRoot(), s.Network().Cable, s.Dir(), s.Network().File
	if err := s.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Dir(netns)} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}
	// The name of the cgroup root, /edgekit-ID, is that of the CNI network too.
	for _, pattern := range []string{"/sys/fs/cgroup" + cgroups, "/sys/fs/cgroup/*" + cgroups, "/var/lib/cni/results" + cgroups + "-*"} {
		if left, err := filepath.Glob(pattern); len(left) > 0 || err != nil {
			t.Errorf("left: %v %v", left, err)
		}
	}
	if _, err := net.InterfaceByName(cable); err == nil {
		t.Errorf("link %s is left", cable)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, dir+"/") || strings.Contains(line, filepath.Dir(netns)+"/") {
			t.Errorf("mount is left: %s", line)
		}
	}
	environments, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range environments {
		if env, err := os.ReadFile(file); err == nil && strings.Contains(string(env), "EDGEKIT_CLUSTER="+dir+"\x00") {
			t.Errorf("process of %s is left", file)
		}
	}
}

// showLogs prints the ends of edgekit's own logs.
func showLogs(t *testing.T, s *site.Site) {
	for _, name := range []string{"cloudcore", "edgecore", "thermometer", "modbus-mapper"} {
		if text, err := s.Processes().Tail(name, 30); err == nil {
			t.Logf("--- the end of %s's log\n%s", name, text)
		}
	}
}

// testWriter writes progress to the test's log, line by line.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}
