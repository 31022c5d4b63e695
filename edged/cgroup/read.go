package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Read reads the shares, the quota and the memory limit of a pod's group. Where no
// quota or memory limit is set it is -1. The error for a group that is not there
// matches fs.ErrNotExist.
func (g *Groups) Read(class corev1.PodQOSClass, uid string) (Limits, error) {
	if err := checkUID(uid); err != nil {
		return Limits{}, err
	}
	group := g.path(g.pod(class, uid))
	if g.v2 {
		return readUnified(filepath.Join(g.cfg.Mount, group))
	}
	cpu, memory := g.controller("cpu", group), g.controller("memory", group)
	var l Limits
	var err error
	for _, f := range []struct {
		dir, file string
		to        *int64
	}{{cpu, "cpu.shares", &l.CPUShares}, {cpu, "cpu.cfs_quota_us", &l.CPUQuota}, {cpu, "cpu.cfs_period_us", &l.CPUPeriod}, {memory, "memory.limit_in_bytes", &l.Memory}} {
		if *f.to, err = readNumber(filepath.Join(f.dir, f.file)); err != nil {
			return Limits{}, err
		}
	}
	// The kernel shows "no limit" as the largest number of pages.
	if l.Memory >= math.MaxInt64>>12<<12-1<<20 {
		l.Memory = -1
	}
	return l, nil
}

// readUnified reads the limits of a group of version 2.
func readUnified(dir string) (Limits, error) {
	weight, err := readNumber(filepath.Join(dir, "cpu.weight"))
	if err != nil {
		return Limits{}, err
	}
	l := Limits{CPUShares: weightToShares(weight)}
	text, err := readText(filepath.Join(dir, "cpu.max"))
	if err != nil {
		return Limits{}, err
	}
	quota, period, _ := strings.Cut(text, " ")
	if l.CPUQuota, err = parseNumber(quota); err == nil {
		l.CPUPeriod, err = parseNumber(period)
	}
	if err != nil {
		return Limits{}, fmt.Errorf("cgroup: cpu.max is %q: %w", text, err)
	}
	l.Memory, err = readNumber(filepath.Join(dir, "memory.max"))
	return l, err
}

// MemoryUsage is the memory in bytes that the processes of a pod use, caches
// included.
func (g *Groups) MemoryUsage(class corev1.PodQOSClass, uid string) (int64, error) {
	if err := checkUID(uid); err != nil {
		return 0, err
	}
	group := g.path(g.pod(class, uid))
	if g.v2 {
		return readNumber(filepath.Join(g.cfg.Mount, group, "memory.current"))
	}
	return readNumber(filepath.Join(g.controller("memory", group), "memory.usage_in_bytes"))
}

// SwapLimited reports whether the kernel counts swap by group, so that it can be
// limited. The root group of version 2 has no such file: it is looked for in the
// group of this program.
func (g *Groups) SwapLimited() bool {
	file := filepath.Join(g.cfg.Mount, "memory", "memory.memsw.limit_in_bytes")
	if g.v2 {
		text, err := os.ReadFile("/proc/self/cgroup")
		if err != nil {
			return false
		}
		_, own, _ := strings.Cut(strings.TrimSpace(string(text)), "::")
		file = filepath.Join(g.cfg.Mount, own, "memory.swap.max")
	}
	_, err := os.Stat(file)
	return err == nil
}

// controller is the folder of a group in the hierarchy of a controller of version 1.
func (g *Groups) controller(controller, group string) string {
	return filepath.Join(g.cfg.Mount, controller, group)
}

// missing is the folder of a group that is not there; "" if the group exists. A
// group of version 1 exists where the controllers are that limit it.
func (g *Groups) missing(n name) string {
	dirs := []string{filepath.Join(g.cfg.Mount, g.path(n))}
	if !g.v2 {
		dirs = []string{g.controller("cpu", g.path(n)), g.controller("memory", g.path(n)), g.controller("pids", g.path(n))}
	}
	for _, dir := range dirs {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return dir
		}
	}
	return ""
}

// sharesToWeight turns CPU shares, 2 to 262144, into a weight of version 2, 1 to
// 10000 (KEP-2254).
func sharesToWeight(shares int64) uint64 {
	return uint64(1 + (min(max(shares, minShares), maxShares)-minShares)*9999/(maxShares-minShares))
}

// weightToShares is the least number of CPU shares with that weight.
func weightToShares(weight int64) int64 {
	return minShares + ((weight-1)*(maxShares-minShares)+9998)/9999
}

// The kernel's bounds of CPU shares.
const (
	minShares = 2
	maxShares = 262_144
)

func readText(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("cgroup: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// readNumber reads a file that holds a number, or "max", which is -1.
func readNumber(file string) (int64, error) {
	text, err := readText(file)
	if err != nil {
		return 0, err
	}
	n, err := parseNumber(text)
	if err != nil {
		return 0, fmt.Errorf("cgroup: %s: %w", file, err)
	}
	return n, nil
}

func parseNumber(text string) (int64, error) {
	if text == "max" {
		return -1, nil
	}
	return strconv.ParseInt(text, 10, 64)
}
