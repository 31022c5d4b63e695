package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
)

// ErrBusy says that processes are left in a pod's group. They were killed; call
// TearDown again when they had time to exit.
var ErrBusy = errors.New("processes are left in the group")

// TearDown removes the pod's group with the groups in it. The pod's containers
// must be stopped by now: a process that is left is killed, and the error then
// matches ErrBusy. A group that is not there is no error.
func (g *Groups) TearDown(class corev1.PodQOSClass, uid string) error {
	if g.cfg.Driver == "systemd" {
		return nil
	}
	if uid == "" || !filepath.IsLocal(uid) || filepath.Base(uid) != uid {
		return fmt.Errorf("cgroup: pod uid %q is no file name", uid)
	}
	tops := []string{g.cfg.Mount}
	if !g.v2 {
		entries, err := os.ReadDir(g.cfg.Mount)
		if err != nil {
			return fmt.Errorf("cgroup: %w", err)
		}
		tops = nil
		for _, e := range entries {
			tops = append(tops, filepath.Join(g.cfg.Mount, e.Name()))
		}
	}
	var errs []error
	for _, top := range tops {
		dir := filepath.Join(top, g.Parent(class, uid))
		err := remove(dir)
		if errors.Is(err, ErrBusy) {
			err = errors.Join(err, kill(dir))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("cgroup: %w", err))
		}
	}
	return errors.Join(errs...)
}

// remove deletes a group and those in it, innermost first. Only folders can be
// deleted there; the kernel's files go with them.
func remove(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENODEV) {
		return nil // ENODEV: it went meanwhile
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	err = syscall.Rmdir(dir)
	switch {
	case err == nil || errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, syscall.EBUSY), errors.Is(err, syscall.ENOTEMPTY):
		return fmt.Errorf("rmdir %s: %w: %w", dir, ErrBusy, err)
	}
	return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
}

// kill kills all processes in a group and in those below it, at once where the
// kernel does it (version 2, since Linux 5.14), else one by one.
func kill(dir string) error {
	if f, err := os.OpenFile(filepath.Join(dir, "cgroup.kill"), os.O_WRONLY, 0); err == nil {
		_, err = f.WriteString("1")
		return errors.Join(err, f.Close())
	}
	var errs []error
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "cgroup.procs" {
			return nil // a group that went meanwhile has no processes
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		for field := range strings.FieldsSeq(string(text)) {
			// 0 is a process that this one cannot see, and would be its own group.
			pid, err := strconv.Atoi(field)
			if err != nil || pid <= 1 || pid == os.Getpid() {
				continue
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				errs = append(errs, fmt.Errorf("kill %d: %w", pid, err))
			}
		}
		return nil
	})
	return errors.Join(append(errs, err)...)
}
