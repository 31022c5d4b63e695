package topology

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/utils/cpuset"
)

// level is a kind of group of CPUs: it gives the group that a CPU is in.
type level func(CPU) int

func core(c CPU) int   { return c.Core }
func cache(c CPU) int  { return c.Cache }
func socket(c CPU) int { return c.Socket }
func node(c CPU) int   { return c.Node }

// outer are the levels above a core, the largest first: a NUMA node has one socket or
// more, or a socket has several NUMA nodes.
func (m *Machine) outer() []level {
	if m.count(socket) >= m.count(node) {
		return []level{node, socket}
	}
	return []level{socket, node}
}

// taker takes CPUs from those that are free, until it has as many as are needed.
type taker struct {
	m     *Machine
	free  cpuset.CPUSet
	need  int
	taken cpuset.CPUSet
}

func (t *taker) take(cpus cpuset.CPUSet) {
	t.taken, t.free, t.need = t.taken.Union(cpus), t.free.Difference(cpus), t.need-cpus.Size()
}

// ordered lists the free CPUs: groups with fewer free CPUs first, at each level, so
// that what is already broken up is used before what is whole.
func (t *taker) ordered(levels ...level) []int {
	counts := make([]map[int]int, len(levels))
	for i, of := range levels {
		counts[i] = make(map[int]int)
		for _, id := range t.free.UnsortedList() {
			counts[i][of(t.m.CPUs[id])]++
		}
	}
	ids := t.free.UnsortedList()
	slices.SortFunc(ids, func(a, b int) int {
		for i, of := range levels {
			x, y := of(t.m.CPUs[a]), of(t.m.CPUs[b])
			if c := cmp.Or(cmp.Compare(counts[i][x], counts[i][y]), cmp.Compare(x, y)); c != 0 {
				return c
			}
		}
		return cmp.Compare(a, b)
	})
	return ids
}

// groups lists the groups of the last level that have free CPUs, in the order of
// ordered.
func (t *taker) groups(levels ...level) []int {
	of := levels[len(levels)-1]
	var out []int
	for _, id := range t.ordered(levels...) {
		if g := of(t.m.CPUs[id]); !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	return out
}

// takeWhole takes groups of the last level of which all CPUs are free, as long as a
// whole one is needed. Where they differ in size (big.LITTLE) large ones come first.
func (t *taker) takeWhole(levels ...level) {
	of := levels[len(levels)-1]
	var whole []cpuset.CPUSet
	for _, g := range t.groups(levels...) {
		if all := t.m.where(func(c CPU) bool { return of(c) == g }); all.IsSubsetOf(t.free) {
			whole = append(whole, all)
		}
	}
	slices.SortStableFunc(whole, func(a, b cpuset.CPUSet) int { return cmp.Compare(b.Size(), a.Size()) })
	for _, all := range whole {
		if all.Size() <= t.need {
			t.take(all)
		}
	}
}

// takeCaches takes whole groups of CPUs that share a last-level cache, and then what
// is left from one such group if it has that (prefer-align-cpus-by-uncorecache).
func (t *taker) takeCaches() {
	size := len(t.m.CPUs) / t.m.count(cache)
	levels := []level{node, cache}
	if t.m.count(node) > t.m.count(socket) {
		levels = []level{socket, node, cache}
	}
	for _, g := range t.groups(levels...) {
		if t.need >= size {
			t.takeWhole(levels...)
		}
		if t.need > 0 {
			t.takeWithin(g)
		}
		if t.need == 0 {
			return
		}
	}
}

// takeWithin takes all that is needed from the cores of one cache, or nothing.
func (t *taker) takeWithin(group int) {
	threads := t.m.threads()
	cores := (t.need + threads - 1) / threads
	var seen, free []int
	for _, id := range t.free.List() {
		c := t.m.CPUs[id]
		if c.Cache == group && !slices.Contains(seen, c.Core) {
			seen = append(seen, c.Core)
		}
	}
	slices.Sort(seen)
	for _, id := range t.free.List() {
		if slices.Contains(seen[:min(cores, len(seen))], t.m.CPUs[id].Core) {
			free = append(free, id)
		}
	}
	// The last core is broken up where an odd number is needed.
	slices.SortStableFunc(free, func(a, b int) int { return cmp.Compare(t.m.CPUs[a].Core, t.m.CPUs[b].Core) })
	if t.need%2 != 0 && threads > 1 && len(free) > t.need {
		free = free[:len(free)-1]
	}
	if len(free) == t.need {
		t.take(cpuset.New(free...))
	}
}

// takePacked takes n of the CPUs that are free: whole sockets, NUMA nodes, caches and
// cores as far as so many are needed, and single CPUs from where fewest are free.
func takePacked(m *Machine, free cpuset.CPUSet, n int, byCache bool) (cpuset.CPUSet, error) {
	if n > free.Size() {
		return cpuset.New(), notEnough(n, free.Size())
	}
	t := &taker{m: m, free: free, need: max(n, 0)}
	levels := m.outer()
	t.takeWhole(levels[0])
	t.takeWhole(levels...)
	if byCache && t.need > 0 {
		t.takeCaches()
	}
	levels = append(levels, core)
	t.takeWhole(levels...)
	if rest := t.ordered(levels...); t.need > 0 {
		t.take(cpuset.New(rest[:t.need]...))
	}
	return t.taken, nil
}

// notEnough is the kubelet's text.
func notEnough(want, have int) error {
	return fmt.Errorf("not enough cpus available to satisfy request: requested=%d, available=%d", want, have)
}
