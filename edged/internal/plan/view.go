package plan

import (
	"cmp"
	"slices"
	"time"

	"github.com/edgekit/edgekit/edged/runtime"
)

// sandboxYoung is the age below which the death of a sandbox counts as a crash of
// the containers in it.
const sandboxYoung = 10 * time.Second

// View is what the runtime has of one pod.
type View struct {
	Sandboxes  []runtime.Sandbox   // newest first
	Containers []runtime.Container // of each name, newest first
}

// NewView sorts what a runtime listed, the newest first. The attempt counts before
// the time: a machine without a clock battery wakes up in 1970, and its next
// sandbox would look older than the last.
func NewView(sandboxes []runtime.Sandbox, containers []runtime.Container) View {
	slices.SortStableFunc(sandboxes, func(a, b runtime.Sandbox) int {
		return cmp.Or(cmp.Compare(b.Attempt, a.Attempt), b.Created.Compare(a.Created))
	})
	slices.SortStableFunc(containers, func(a, b runtime.Container) int {
		return cmp.Or(cmp.Compare(b.Attempt, a.Attempt), b.Created.Compare(a.Created))
	})
	return View{sandboxes, containers}
}

// Sandbox is the pod's newest sandbox; nil if it has none.
func (v View) Sandbox() *runtime.Sandbox {
	if len(v.Sandboxes) == 0 {
		return nil
	}
	return &v.Sandboxes[0]
}

// SandboxByID finds a sandbox; nil if the runtime does not have it.
func (v View) SandboxByID(id string) *runtime.Sandbox {
	if i := slices.IndexFunc(v.Sandboxes, func(s runtime.Sandbox) bool { return s.ID == id }); i >= 0 {
		return &v.Sandboxes[i]
	}
	return nil
}

// Latest is the newest container of that name, in any sandbox; nil if there is
// none.
func (v View) Latest(name string) *runtime.Container {
	if i := slices.IndexFunc(v.Containers, func(c runtime.Container) bool { return c.Name == name }); i >= 0 {
		return &v.Containers[i]
	}
	return nil
}

// latestIn is the newest container of that name if it is in the given sandbox;
// else nil.
func (v View) latestIn(sandbox, name string) *runtime.Container {
	if c := v.Latest(name); c != nil && c.SandboxID == sandbox {
		return c
	}
	return nil
}

// before is the newest exited container of the same name that is older than c: the
// one that kubectl logs --previous shows.
func (v View) before(c *runtime.Container) *runtime.Container {
	seen := false
	for i := range v.Containers {
		o := &v.Containers[i]
		switch {
		case o.ID == c.ID:
			seen = true
		case seen && o.Name == c.Name && o.State == runtime.ContainerExited:
			return o
		}
	}
	return nil
}

// lost reports whether c ended, or will never start, because its sandbox died.
// That is not a crash of the container, so that it restarts without a back-off. A
// container that goes down with a young sandbox counts as crashed all the same: a
// pod that brings its own sandboxes down must be slowed.
func (v View) lost(c *runtime.Container) bool {
	box := v.SandboxByID(c.SandboxID)
	if box != nil && box.Ready {
		return false
	}
	if c.State == runtime.ContainerCreated {
		return true
	}
	if c.State != runtime.ContainerExited || box == nil {
		return false
	}
	age := c.Finished.Sub(box.Created) // negative when the clock was set back in between
	return age >= sandboxYoung || age < 0
}

// Running lists the containers that run or may run. One in an unknown state may.
func (v View) Running() []runtime.Container {
	var out []runtime.Container
	for _, c := range v.Containers {
		if c.State == runtime.ContainerRunning || c.State == runtime.ContainerUnknown {
			out = append(out, c)
		}
	}
	return out
}

// Alive reports whether any process of the pod, or its network, may still be
// there.
func (v View) Alive() bool {
	return len(v.Running()) > 0 || slices.ContainsFunc(v.Sandboxes, func(s runtime.Sandbox) bool { return s.Ready })
}
