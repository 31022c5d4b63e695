package runtimetest

import (
	"context"
	"fmt"

	"github.com/edgekit/edgekit/edged/runtime"
)

var (
	_ runtime.LogReopener = (*Runtime)(nil)
	_ runtime.ImageStore  = (*Runtime)(nil)
)

// SetImage puts an image on the node as it is given, or replaces the one whose id it
// has. It is found by its first tag.
func (r *Runtime) SetImage(image runtime.Image) {
	key := image.ID
	if len(image.Tags) > 0 {
		key = image.Tags[0]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, old := range r.images {
		if old.ID == image.ID {
			delete(r.images, k)
		}
	}
	r.images[key] = image
}

// SetImageFilesystems sets what ImageFilesystems answers, for images and for what
// containers write alike, and what SandboxImage does.
func (r *Runtime) SetImageFilesystems(sandboxImage string, all ...runtime.Filesystem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.filesystems, r.sandboxImage = all, sandboxImage
}

// ReopenWith makes fn stand for what the runtime does with the log file of a
// container. Without it nothing happens. fn is called without locks held.
func (r *Runtime) ReopenWith(fn func(c runtime.Container) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reopen = fn
}

// ReopenContainerLog does what ReopenWith said, for a container that runs.
func (r *Runtime) ReopenContainerLog(ctx context.Context, id string) error {
	if err := r.begin(ctx, "ReopenContainerLog", r.containerName(id)); err != nil {
		return err
	}
	r.mu.Lock()
	c, fn := r.containers[id], r.reopen
	var now runtime.Container
	if c != nil {
		now = c.Container
	}
	r.mu.Unlock()
	switch {
	case c == nil:
		return gone(id)
	case now.State != runtime.ContainerRunning:
		return fmt.Errorf("runtimetest: container %s is %s", id, now.State)
	case fn == nil:
		return nil
	}
	return fn(now)
}

// ImageFilesystems is what SetImageFilesystems said.
func (r *Runtime) ImageFilesystems(context.Context) (images, containers []runtime.Filesystem, err error) {
	if err := r.look("ImageFilesystems"); err != nil {
		return nil, nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.filesystems, r.filesystems, nil
}

// SandboxImage is what SetImageFilesystems said.
func (r *Runtime) SandboxImage(context.Context) (string, error) {
	if err := r.look("SandboxImage"); err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sandboxImage, nil
}

// ForgetSandbox makes a sandbox disappear while its containers stay, as a crash of a
// runtime can.
func (r *Runtime) ForgetSandbox(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sandboxes, id)
}
