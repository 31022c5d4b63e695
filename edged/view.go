package edged

import (
	"cmp"
	"slices"
	"time"

	"github.com/edgekit/edgekit/edged/runtime"
)

// sandboxYoung is the age under which a sandbox that dies counts as a crash of
// the containers in it.
const sandboxYoung = 10 * time.Second

// view is what the runtime has of one pod.
type view struct {
	sandboxes  []runtime.Sandbox   // newest first
	containers []runtime.Container // of each name, newest first
}

// newView sorts what a runtime listed. Attempts come before times: a machine
// without a clock battery makes its next sandbox in 1970.
func newView(sandboxes []runtime.Sandbox, containers []runtime.Container) view {
	slices.SortStableFunc(sandboxes, func(a, b runtime.Sandbox) int {
		return cmp.Or(cmp.Compare(b.Attempt, a.Attempt), b.Created.Compare(a.Created))
	})
	slices.SortStableFunc(containers, func(a, b runtime.Container) int {
		return cmp.Or(cmp.Compare(b.Attempt, a.Attempt), b.Created.Compare(a.Created))
	})
	return view{sandboxes, containers}
}

// sandbox is the pod's newest sandbox, nil if it has none.
func (v view) sandbox() *runtime.Sandbox {
	if len(v.sandboxes) == 0 {
		return nil
	}
	return &v.sandboxes[0]
}

// sandboxByID finds a sandbox.
func (v view) sandboxByID(id string) *runtime.Sandbox {
	if i := slices.IndexFunc(v.sandboxes, func(s runtime.Sandbox) bool { return s.ID == id }); i >= 0 {
		return &v.sandboxes[i]
	}
	return nil
}

// latest is the newest container of that name, in whatever sandbox.
func (v view) latest(name string) *runtime.Container {
	if i := slices.IndexFunc(v.containers, func(c runtime.Container) bool { return c.Name == name }); i >= 0 {
		return &v.containers[i]
	}
	return nil
}

// latestIn is the newest container of that name in one sandbox.
func (v view) latestIn(sandbox, name string) *runtime.Container {
	if c := v.latest(name); c != nil && c.SandboxID == sandbox {
		return c
	}
	return nil
}

// before is the newest exited container of c's name that is older than c.
func (v view) before(c *runtime.Container) *runtime.Container {
	seen := false
	for i := range v.containers {
		o := &v.containers[i]
		switch {
		case o.ID == c.ID:
			seen = true
		case seen && o.Name == c.Name && o.State == runtime.ContainerExited:
			return o
		}
	}
	return nil
}

// lost reports whether c ended, or will never start, because its sandbox died:
// that is no crash of the container. What goes down with a sandbox that was
// young still counts, so that a pod that brings its sandboxes down is slowed.
func (v view) lost(c *runtime.Container) bool {
	box := v.sandboxByID(c.SandboxID)
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

// running lists what runs or may run.
func (v view) running() []runtime.Container {
	var out []runtime.Container
	for _, c := range v.containers {
		if c.State == runtime.ContainerRunning || c.State == runtime.ContainerUnknown {
			out = append(out, c)
		}
	}
	return out
}

// alive reports whether any process or network of the pod may be there.
func (v view) alive() bool {
	return len(v.running()) > 0 || slices.ContainsFunc(v.sandboxes, func(s runtime.Sandbox) bool { return s.Ready })
}
