package nodeusage

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/edgekit/edgekit/edged/internal/eviction"
	"github.com/edgekit/edgekit/edged/internal/hostinfo"
)

// readMemory measures the node's memory and that of all pods. What is available is the
// capacity less the working set, which is what is in use without file pages that the
// kernel gives up first (inactive_file):
// https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#eviction-signals
func (m *Meter) readMemory(seen eviction.Observations) {
	info, err := hostinfo.Fields(filepath.Join(m.cfg.Proc, "meminfo"))
	if err != nil {
		m.cfg.Logger.Debug("cannot read the node's memory", "err", err)
		return
	}
	capacity := info["MemTotal:"] << 10
	set, err := m.workingSet("/")
	if err != nil {
		// A machine without the controller, or a container that does not show it.
		set = max(info["MemTotal:"]-info["MemFree:"]-info["Inactive(file):"], 0) << 10
	}
	seen[eviction.MemoryAvailable] = eviction.Observation{Available: max(capacity-set, 0), Capacity: capacity}

	group := m.cfg.PodsGroup()
	if group == "" {
		return
	}
	limit, err := m.memoryLimit(group)
	if err != nil || limit <= 0 {
		return
	}
	// A limit beyond the machine is none.
	if set, err := m.workingSet(group); err == nil && limit <= capacity {
		seen[eviction.AllocatableMemoryAvailable] = eviction.Observation{Available: max(limit-set, 0), Capacity: limit}
	}
}

// workingSet is the working set of a cgroup, of version 1 or 2.
func (m *Meter) workingSet(group string) (int64, error) {
	v1 := filepath.Join(m.cfg.Cgroups, "memory", group)
	used, err := number(filepath.Join(v1, "memory.usage_in_bytes"))
	if err == nil {
		stat, err := hostinfo.Fields(filepath.Join(v1, "memory.stat"))
		return max(used-stat["total_inactive_file"], 0), err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	v2 := filepath.Join(m.cfg.Cgroups, group)
	stat, err := hostinfo.Fields(filepath.Join(v2, "memory.stat"))
	if err != nil {
		return 0, err
	}
	used, err = number(filepath.Join(v2, "memory.current"))
	if errors.Is(err, fs.ErrNotExist) { // the root group has none: the same sum as in version 1
		used, err = stat["anon"]+stat["file"], nil
	}
	return max(used-stat["inactive_file"], 0), err
}

// memoryLimit is the limit of a cgroup's memory, of version 1 or 2.
func (m *Meter) memoryLimit(group string) (int64, error) {
	limit, err := number(filepath.Join(m.cfg.Cgroups, "memory", group, "memory.limit_in_bytes"))
	if errors.Is(err, fs.ErrNotExist) {
		return number(filepath.Join(m.cfg.Cgroups, group, "memory.max"))
	}
	return limit, err
}

// readProcesses counts the processes and threads of the machine, as the kubelet does.
func (m *Meter) readProcesses(seen eviction.Observations) {
	most, err := number(filepath.Join(m.cfg.Proc, "sys/kernel/pid_max"))
	threads, err2 := number(filepath.Join(m.cfg.Proc, "sys/kernel/threads-max"))
	load, err3 := os.ReadFile(filepath.Join(m.cfg.Proc, "loadavg"))
	f := strings.Fields(string(load)) // 0.20 0.18 0.12 1/80 11206; see proc_loadavg(5)
	if err := errors.Join(err, err2, err3); err != nil || len(f) < 4 {
		m.cfg.Logger.Debug("cannot count the processes", "err", err)
		return
	}
	_, all, _ := strings.Cut(f[3], "/")
	running, err := strconv.ParseInt(all, 10, 64)
	if err != nil {
		return
	}
	most = min(most, threads)
	seen[eviction.PIDAvailable] = eviction.Observation{Available: max(most-running, 0), Capacity: most}
}

// number reads a file of one number. "max" is more than any number.
func number(file string) (int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	word := strings.TrimSpace(string(text))
	if word == "max" {
		return math.MaxInt64, nil
	}
	return strconv.ParseInt(word, 10, 64)
}
