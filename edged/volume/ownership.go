package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// slowOwnership is after which time an event says that giving a volume to its group
// takes long.
const slowOwnership = 30 * time.Second

// What a group gets in a volume that it may write to: pkg/volume/volume_linux.go.
const (
	groupFile   fs.FileMode = 0o660
	groupFolder fs.FileMode = 0o770 | fs.ModeSetgid
)

// takeOwnership gives the files of a volume to the pod's group, so that the group may
// read and write them. With the policy OnRootMismatch nothing is done where the
// volume's root has the group and the mode already: it is changed last, so that this
// says that all below it was done.
func (s *setup) takeOwnership(ctx context.Context, dir string) error {
	gid := int(*s.group())
	if p := s.pod.Spec.SecurityContext.FSGroupChangePolicy; p != nil && *p == corev1.FSGroupChangeOnRootMismatch {
		have, err := groupOf(dir)
		if err != nil {
			return err
		}
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if have == int64(gid) && info.Mode()&groupFolder == groupFolder {
			return nil
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	o := ownership{root: root, gid: gid, started: time.Now(), slow: func() {
		s.m.cfg.Event(s.pod, "VolumePermissionChangeInProgress", fmt.Sprintf("Setting volume ownership for %s is taking longer than expected, consider using OnRootMismatch - https://kubernetes.io/docs/tasks/configure-pod-container/security-context/#configure-volume-permission-and-ownership-change-policy-for-pods", filepath.Base(dir)))
	}}
	return o.folder(ctx, ".")
}

// ownership is one pass over a volume. No link leads it out of the volume.
type ownership struct {
	root    *os.Root
	gid     int
	started time.Time
	slow    func() // called once when it takes long
}

// folder changes what is in a folder, and then the folder itself.
func (o *ownership) folder(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := o.root.Open(dir)
	if err != nil {
		return err
	}
	for {
		entries, readErr := f.ReadDir(256) // a folder may have millions
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			change := o.change
			if e.IsDir() {
				change = func(path string) error { return o.folder(ctx, path) }
			}
			if err := change(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // another pod removes it meanwhile
				return errors.Join(err, f.Close())
			}
		}
		if readErr != nil && !errors.Is(readErr, io.EOF) {
			return errors.Join(readErr, f.Close())
		}
		if o.slow != nil && time.Since(o.started) > slowOwnership {
			o.slow()
			o.slow = nil
		}
		if len(entries) == 0 {
			break
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	return o.change(dir)
}

func (o *ownership) change(path string) error {
	info, err := o.root.Lstat(path)
	if err != nil {
		return err
	}
	if err := o.root.Lchown(path, -1, o.gid); err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return nil // a link has no mode of its own
	}
	mode := info.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
	want := mode | groupFile
	if info.IsDir() {
		want = mode | groupFolder
	}
	if info.IsDir() || want != mode || mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 { // a change of owners clears these
		return o.root.Chmod(path, want)
	}
	return nil
}
