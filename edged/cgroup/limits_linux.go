package cgroup

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/cgroups/fs2"
	"github.com/opencontainers/cgroups/systemd"
)

// hasCgroups says that this is a system with cgroups.
const hasCgroups = true

// ensure makes a group that is not there, and sets its limits.
func (g *Groups) ensure(n name, l Limits) error {
	m, r, err := g.manager(n, l)
	if err != nil {
		return err
	}
	if g.missing(n) != "" {
		// No process is put into the group: -1 stands for none.
		if err := m.Apply(-1); err != nil {
			return fmt.Errorf("cgroup: make %s: %w", g.path(n), err)
		}
	}
	if err := m.Set(r); err != nil {
		return fmt.Errorf("cgroup: limit %s: %w", g.path(n), err)
	}
	return nil
}

// set sets the limits of a group that is there.
func (g *Groups) set(n name, l Limits) error {
	m, r, err := g.manager(n, l)
	if err != nil {
		return err
	}
	if err := m.Set(r); err != nil {
		return fmt.Errorf("cgroup: limit %s: %w", g.path(n), err)
	}
	return nil
}

// destroy has systemd stop a slice, which removes it. systemd keeps one that nothing
// is in for ever.
func (g *Groups) destroy(n name) error {
	m, _, err := g.manager(n, Limits{})
	if err != nil {
		return err
	}
	if err := m.Destroy(); err != nil {
		return fmt.Errorf("stop %s: %w", n.slice(), err)
	}
	return nil
}

// manager is what sets the limits of a group, and the limits in its form.
func (g *Groups) manager(n name, l Limits) (cgroups.Manager, *cgroups.Resources, error) {
	for _, part := range n {
		if strings.ContainsRune(part, 0) || part == ".." || part == "." {
			return nil, nil, fmt.Errorf("cgroup: %q is no name of a group", path.Join(n...))
		}
	}
	r := resources(l, g.v2, g.pageSizes())
	cfg := &cgroups.Cgroup{Resources: r, Systemd: g.cfg.Driver == driverSystemd}
	var m cgroups.Manager
	var err error
	if cfg.Systemd {
		cfg.Name, cfg.Parent = n.slice(), "-.slice"
		if len(n) > 1 {
			cfg.Parent = n[:len(n)-1].slice()
		}
		if g.v2 {
			m, err = systemd.NewUnifiedManager(cfg, "")
		} else {
			m, err = systemd.NewLegacyManager(cfg, nil)
		}
	} else {
		cfg.Path = path.Join("/", path.Join(n...))
		if g.v2 {
			m, err = fs2.NewManager(cfg, filepath.Join(g.cfg.Mount, cfg.Path))
		} else {
			m, err = fs.NewManager(cfg, nil)
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cgroup: %w", err)
	}
	return m, r, nil
}

// resources are limits in the form of the library. The devices that containers may
// use are the runtime's to say. The sizes are those of the machine's huge pages;
// none if the kernel does not count them by group.
func resources(l Limits, v2 bool, sizes []string) *cgroups.Resources {
	r := &cgroups.Resources{
		SkipDevices: true, SkipFreezeOnSet: true,
		Memory: l.Memory, CpuQuota: l.CPUQuota, CpuPeriod: uint64(max(l.CPUPeriod, 0)),
	}
	if l.CPUShares > 0 {
		if v2 {
			r.CpuWeight = sharesToWeight(l.CPUShares)
		} else {
			r.CpuShares = uint64(min(max(l.CPUShares, minShares), maxShares))
		}
	}
	if l.Pids != 0 {
		r.PidsLimit = &l.Pids
	}
	if l.HugePages != nil {
		for _, size := range sizes {
			r.HugetlbLimit = append(r.HugetlbLimit, &cgroups.HugepageLimit{Pagesize: size, Limit: l.HugePages[size]})
		}
	}
	if v2 && len(l.Unified) > 0 {
		r.Unified = maps.Clone(l.Unified)
	}
	return r
}

// pageSizes are the sizes of huge pages that the kernel counts by group.
func (g *Groups) pageSizes() []string {
	if g.v2 {
		text, err := os.ReadFile(filepath.Join(g.cfg.Mount, "cgroup.controllers"))
		if err != nil || !slices.Contains(strings.Fields(string(text)), "hugetlb") {
			return nil
		}
	} else if _, err := os.Stat(filepath.Join(g.cfg.Mount, "hugetlb")); err != nil {
		return nil
	}
	return cgroups.HugePageSizes()
}

// HugePageSizes are the sizes of huge pages that the machine has and the kernel
// counts by group, as the kernel writes them ("2MB").
func (g *Groups) HugePageSizes() []string { return slices.Clone(g.pageSizes()) }
