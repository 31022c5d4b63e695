//go:build !linux

package cgroup

// hasCgroups says that this system has no cgroups.
const hasCgroups = false

func (g *Groups) ensure(name, Limits) error { return ErrUnsupported }

func (g *Groups) set(name, Limits) error { return ErrUnsupported }

func (g *Groups) destroy(name) error { return ErrUnsupported }

// HugePageSizes are the sizes of huge pages that the kernel counts by group: none
// where there are no groups.
func (g *Groups) HugePageSizes() []string { return nil }
