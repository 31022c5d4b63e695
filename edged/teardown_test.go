package edged

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/cgroup"
	"github.com/edgekit/edgekit/edged/internal/podtest"
	"github.com/edgekit/edgekit/edged/internal/prober"
	"github.com/edgekit/edgekit/edged/volume"
)

// nothing is an Objects of which no method is called.
type nothing struct{ Objects }

// TestTearDownWaitsForBusyCgroups: a pod whose cgroup cannot be removed yet is
// not torn down; the next try removes it. A plain folder stands in for a
// version 1 hierarchy, and a file in it for a process.
func TestTearDownWaitsForBusyCgroups(t *testing.T) {
	root, mount := t.TempDir(), t.TempDir()
	volumes, err := volume.New(volume.Config{Root: root, Source: nothing{}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{NodeName: "n", Root: root}.withDefaults()
	a := &Agent{cfg: cfg, log: cfg.Logger, volumes: volumes, prober: prober.New(prober.Config{})}
	a.ownGroups.Store(true)
	a.groups.Store(cgroup.New(cgroup.Config{Mount: mount}))
	pod := podtest.New("Always", "c")
	pod.UID = "u"
	group := filepath.Join(mount, "cpu", a.groups.Load().Parent(corev1.PodQOSBestEffort, "u"))
	if err := os.MkdirAll(group, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(group, "busy"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorker(a, pod)
	r := &execution{w: w, pod: pod}
	if err := r.tearDown(t.Context()); !errors.Is(err, cgroup.ErrBusy) || w.mem.tornDown {
		t.Errorf("with a busy cgroup: %v, torn down %t", err, w.mem.tornDown)
	}
	if err := os.Remove(filepath.Join(group, "busy")); err != nil {
		t.Fatal(err)
	}
	if err := r.tearDown(t.Context()); err != nil || !w.mem.tornDown {
		t.Errorf("with an empty cgroup: %v, torn down %t", err, w.mem.tornDown)
	}
	if _, err := os.Stat(group); err == nil {
		t.Error("the cgroup is left")
	}
}
