// Package cgroup names and keeps the control groups of pods: the group that a
// runtime puts a pod's containers under, with limits for the pod as a whole.
// It works on cgroup v1 and v2.
//
//	groups := cgroup.New(cgroup.Config{Driver: "cgroupfs"})
//	parent := groups.Parent(corev1.PodQOSBurstable, uid) // "/kubepods/burstable/pod<uid>"
//	err := groups.SetUp(corev1.PodQOSBurstable, uid, cgroup.Limits{CPUShares: 512})
//	...
//	err = groups.TearDown(corev1.PodQOSBurstable, uid) // again while it is ErrBusy
//
// With the systemd driver, systemd makes the slices: SetUp does nothing, and
// TearDown has systemd remove them. The names are those of the kubelet, so that tools
// that know a node's cgroups find them.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Config sets up Groups. Every field may be left zero.
type Config struct {
	Driver string // "cgroupfs" or "systemd"; "" means cgroupfs
	Root   string // group that "kubepods" is made in; "" means the root group
	Mount  string // where the cgroup file systems are; "" means /sys/fs/cgroup
}

// Groups names and keeps pods' cgroups. It may be used by several goroutines.
type Groups struct {
	cfg  Config
	v2   bool
	stop func(unit string) error // has systemd stop a unit; tests replace it
}

// Limits bound a pod as a whole; zero fields are not set.
type Limits struct {
	CPUShares           int64 // relative weight, 1024 for one cpu
	CPUQuota, CPUPeriod int64 // microseconds
	Memory              int64 // bytes
}

// New makes Groups. It looks which version of cgroups the machine has.
func New(cfg Config) *Groups {
	if cfg.Driver == "" {
		cfg.Driver = "cgroupfs"
	}
	if cfg.Mount == "" {
		cfg.Mount = "/sys/fs/cgroup"
	}
	return &Groups{cfg: cfg, v2: unified(cfg.Mount), stop: systemctlStop}
}

// V2 reports whether the machine has unified (version 2) cgroups.
func (g *Groups) V2() bool { return g.v2 }

// Parent is the group of a pod in the form that the runtime wants it.
func (g *Groups) Parent(class corev1.PodQOSClass, uid string) string {
	tier := map[corev1.PodQOSClass]string{corev1.PodQOSBurstable: "burstable", corev1.PodQOSBestEffort: "besteffort"}[class]
	if g.cfg.Driver == "systemd" {
		name := "kubepods"
		if tier != "" {
			name += "-" + tier
		}
		slice := name + "-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice"
		return path.Join("/", g.cfg.Root, slice)
	}
	return path.Join("/", g.cfg.Root, "kubepods", tier, "pod"+uid)
}

// SetUp makes the pod's group and sets its limits.
func (g *Groups) SetUp(class corev1.PodQOSClass, uid string, l Limits) error {
	if g.cfg.Driver == "systemd" {
		return nil
	}
	parent := g.Parent(class, uid)
	if g.v2 {
		return g.setUpUnified(parent, l)
	}
	cpu, memory := filepath.Join(g.cfg.Mount, "cpu", parent), filepath.Join(g.cfg.Mount, "memory", parent)
	for _, dir := range []string{cpu, memory} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("cgroup: %w", err)
		}
	}
	return errors.Join(
		write(cpu, "cpu.shares", l.CPUShares, strconv.FormatInt(l.CPUShares, 10)),
		write(cpu, "cpu.cfs_period_us", l.CPUPeriod, strconv.FormatInt(l.CPUPeriod, 10)),
		write(cpu, "cpu.cfs_quota_us", l.CPUQuota, strconv.FormatInt(l.CPUQuota, 10)),
		write(memory, "memory.limit_in_bytes", l.Memory, strconv.FormatInt(l.Memory, 10)),
	)
}

// setUpUnified makes a group of version 2, with the controllers that its limits
// need in every group above it.
func (g *Groups) setUpUnified(parent string, l Limits) error {
	dir := g.cfg.Mount
	for part := range strings.SplitSeq(strings.Trim(parent, "/"), "/") {
		have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		if err != nil {
			return fmt.Errorf("cgroup: %w", err)
		}
		for c := range strings.FieldsSeq(string(have)) {
			// A controller that cannot be passed on is one that the pod goes without.
			_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644)
		}
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("cgroup: %w", err)
		}
	}
	weight := int64(0)
	if l.CPUShares > 0 { // shares 2 to 262144 become weights 1 to 10000
		weight = 1 + (max(l.CPUShares, 2)-2)*9999/262142
	}
	return errors.Join(
		write(dir, "cpu.weight", weight, strconv.FormatInt(weight, 10)),
		write(dir, "cpu.max", l.CPUQuota, fmt.Sprintf("%d %d", l.CPUQuota, max(l.CPUPeriod, 1000))),
		write(dir, "memory.max", l.Memory, strconv.FormatInt(l.Memory, 10)),
	)
}

// write sets a limit unless its value is zero.
func write(dir, name string, value int64, text string) error {
	if value == 0 {
		return nil
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	return nil
}
