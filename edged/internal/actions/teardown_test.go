package actions

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/cgroup"
	"github.com/edgekit/edgekit/edged/internal/imagepull"
	"github.com/edgekit/edgekit/edged/internal/podcgroups"
	"github.com/edgekit/edgekit/edged/internal/podtest"
	"github.com/edgekit/edgekit/edged/volume"
)

// nothing is an Objects of which no method is called.
type nothing struct{ volume.Source }

// owner is an Owner that keeps the memory.
type owner struct {
	mu       sync.Mutex
	mem      Memory
	pulls    imagepull.BackOffs
	rejected error
}

func (o *owner) Update(fn func(*Memory)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fn(&o.mem)
}

func (o *owner) Pulls() *imagepull.BackOffs { return &o.pulls }
func (o *owner) RejectDevices(err error)    { o.rejected = err }

// TestTearDownWaitsForBusyCgroups: a pod whose cgroup cannot be removed yet is
// not torn down; the next try removes it. A plain folder stands in for a
// version 1 hierarchy, and a file in it for a process.
func TestTearDownWaitsForBusyCgroups(t *testing.T) {
	root, mount := t.TempDir(), t.TempDir()
	volumes, err := volume.New(volume.Config{Root: root, Source: nothing{}})
	if err != nil {
		t.Fatal(err)
	}
	groups := podcgroups.New(true)
	groups.Set(cgroup.New(cgroup.Config{Mount: mount}), true)
	p := New(Config{Volumes: volumes, Groups: groups, Logger: slog.New(slog.DiscardHandler)})
	pod := podtest.New("Always", "c")
	pod.UID = "u"
	group := filepath.Join(mount, "cpu", groups.Load().Parent(corev1.PodQOSBestEffort, "u"))
	if err := os.MkdirAll(group, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(group, "busy"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w := &owner{mem: NewMemory()}
	r := &execution{p: p, owner: w, pod: pod}
	if err := r.tearDown(t.Context()); !errors.Is(err, cgroup.ErrBusy) || w.mem.TornDown {
		t.Errorf("with a busy cgroup: %v, torn down %t", err, w.mem.TornDown)
	}
	if err := os.Remove(filepath.Join(group, "busy")); err != nil {
		t.Fatal(err)
	}
	if err := r.tearDown(t.Context()); err != nil || !w.mem.TornDown {
		t.Errorf("with an empty cgroup: %v, torn down %t", err, w.mem.TornDown)
	}
	if _, err := os.Stat(group); err == nil {
		t.Error("the cgroup is left")
	}
}
