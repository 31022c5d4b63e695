package edged_test

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

// addresses counts the addresses that the network plugin of the tests' runtime has given
// away: host-local keeps a file named after each. Its folder is beside the runtime's socket.
func addresses(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(filepath.Dir(os.Getenv("EDGEKIT_CRI_SOCKET")), "ipam", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		if _, err := netip.ParseAddr(filepath.Base(f)); err == nil {
			n++
		}
	}
	return n
}

// killPodProcesses kills processes of a pod: those with the given name, or all if it is
// empty. It returns how many.
func killPodProcesses(t *testing.T, p *corev1.Pod, name string) int {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, dir := range dirs {
		groups, _ := os.ReadFile(dir + "/cgroup") // a process may have ended since
		comm, _ := os.ReadFile(dir + "/comm")
		if !strings.Contains(string(groups), string(p.UID)+"/") || name != "" && strings.TrimSpace(string(comm)) != name {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil {
			n++
		}
	}
	return n
}

// waitNotReady waits until the runtime has seen that the pod's sandbox is dead.
func (r *realNode) waitNotReady(p *corev1.Pod) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), realLimit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		all, err := r.runtime.ListSandboxes(ctx, string(p.UID))
		if err == nil && !slices.ContainsFunc(all, func(s runtime.Sandbox) bool { return s.Ready }) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			r.t.Fatalf("sandboxes are still ready: %+v, %v", all, err)
		}
	}
}

// TestRealSandboxDies kills the processes of a pod from outside. The pod gets a new
// sandbox, and the address of the old one is released, though the old sandbox stays for
// the containers in it.
func TestRealSandboxDies(t *testing.T) {
	for _, tt := range []struct {
		name    string
		away    bool   // the agent is not there meanwhile, as in a power cut
		process string // "" kills all
	}{
		{"power cut", true, ""},
		{"all die", false, ""},
		{"the sandbox's own process dies", false, "pause"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := startReal(t)
			before := addresses(t)
			p := newPod("dies", busybox(waits))
			r.put(p)
			r.wait(t, "ready", realLimit, func() bool { return r.isReady(p.UID) })
			if n := addresses(t); n != before+1 {
				t.Fatalf("%d addresses are reserved before, %d with the pod", before, n)
			}
			if tt.away {
				r.stop()
			}
			if killPodProcesses(t, p, tt.process) == 0 {
				t.Fatal("no process of the pod was found")
			}
			if tt.away {
				r.waitNotReady(p)
				r.start()
			}
			r.wait(t, "ready again", realLimit, func() bool {
				st := r.status[p.UID]
				return r.isReady(p.UID) && len(st.ContainerStatuses) > 0 && st.ContainerStatuses[0].RestartCount > 0
			})
			if n := addresses(t); n != before+1 {
				t.Errorf("%d addresses are reserved for one pod", n-before)
			}
			sandboxes, err := r.runtime.ListSandboxes(t.Context(), string(p.UID))
			if err != nil || len(sandboxes) != 2 {
				t.Errorf("sandboxes: %+v, %v; want the old one, with the last container, and the new one", sandboxes, err)
			}
			r.del(p, 1)
			r.wait(t, "gone", realLimit, func() bool { return r.gone[p.UID] })
			if n := addresses(t); n != before {
				t.Errorf("%d addresses are reserved, %d were before the pod", n, before)
			}
		})
	}
}
