package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
)

// ErrBusy says that processes are left in a pod's group. They were killed; call
// TearDown again when they had time to exit.
var ErrBusy = errors.New("processes are left in the group")

// TearDown removes the pod's group with the groups in it. The pod's containers
// must be stopped: a process that is left is killed, and the error then matches
// ErrBusy. A group that does not exist is no error.
func (g *Groups) TearDown(class corev1.PodQOSClass, uid string) error {
	if err := checkUID(uid); err != nil {
		return err
	}
	defer g.measure("destroy")()
	tops, err := g.hierarchies()
	if err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	if n := g.pod(class, uid); g.cfg.Driver == driverSystemd {
		err = g.stopSlice(tops, n)
	} else {
		err = removeAll(tops, g.path(n))
	}
	if err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	return nil
}

// Misplaced reports whether what runs of a pod is not in its slice: the runtime does
// not have systemd make its groups, and the limits of the slice do not bind. It is
// asked while something of the pod runs.
func (g *Groups) Misplaced(class corev1.PodQOSClass, uid string) bool {
	if g.cfg.Driver != driverSystemd || checkUID(uid) != nil {
		return false
	}
	tops, err := g.hierarchies()
	if err != nil {
		return false
	}
	for _, top := range tops {
		entries, err := os.ReadDir(filepath.Join(top, g.path(g.pod(class, uid))))
		if err == nil && slices.ContainsFunc(entries, fs.DirEntry.IsDir) {
			return false
		}
	}
	return true
}

// hierarchies lists the folders that groups are below.
func (g *Groups) hierarchies() ([]string, error) {
	if g.v2 {
		return []string{g.cfg.Mount}, nil
	}
	entries, err := os.ReadDir(g.cfg.Mount)
	if err != nil {
		return nil, err
	}
	var tops []string
	for _, e := range entries {
		tops = append(tops, filepath.Join(g.cfg.Mount, e.Name()))
	}
	return tops, nil
}

// removeAll removes a group from all hierarchies.
func removeAll(tops []string, group string) error {
	var errs []error
	for _, top := range tops {
		dir := filepath.Join(top, group)
		err := remove(dir)
		if errors.Is(err, ErrBusy) {
			err = errors.Join(err, kill(dir))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// stopSlice has systemd remove the slice of a pod, once nothing runs in it.
func (g *Groups) stopSlice(tops []string, n name) error {
	found := false
	for _, top := range tops {
		dir := filepath.Join(top, g.path(n))
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		if busy(dir) {
			return errors.Join(fmt.Errorf("stop %s: %w", n.slice(), ErrBusy), kill(dir))
		}
		found = true
	}
	if !found {
		return nil
	}
	return g.stop(n)
}

// busy reports whether a process is in a group or in one below it.
func busy(dir string) bool { return len(processes(dir)) > 0 }

// processes lists the processes in a group and in those below it.
func processes(dir string) []int {
	var out []int
	_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "cgroup.procs" {
			return nil // a group that went meanwhile has no processes
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return nil
		}
		for field := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				out = append(out, pid)
			}
		}
		return nil
	})
	return out
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
	for _, pid := range processes(dir) {
		// 0 is a process that this one cannot see, and would be its own group.
		if pid <= 1 || pid == os.Getpid() {
			continue
		}
		p, err := os.FindProcess(pid)
		if err == nil {
			err = p.Kill()
		}
		if err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, fmt.Errorf("kill %d: %w", pid, err))
		}
	}
	return errors.Join(errs...)
}
