package topology

import (
	"cmp"
	"math/bits"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Mask is a set of NUMA nodes, by their numbers from 0 to 63.
type Mask uint64

// MaskOf is the set of some nodes.
func MaskOf(nodes ...int) Mask {
	var m Mask
	for _, n := range nodes {
		m |= 1 << n
	}
	return m
}

// Has reports whether a node is in the set.
func (m Mask) Has(node int) bool { return m>>node&1 == 1 }

// Count is how many nodes are in the set.
func (m Mask) Count() int { return bits.OnesCount64(uint64(m)) }

// Nodes lists the nodes of the set, lowest first.
func (m Mask) Nodes() []int {
	var out []int
	for n := range maxNodes {
		if m.Has(n) {
			out = append(out, n)
		}
	}
	return out
}

// narrower reports whether m has fewer nodes than another set, or as many with lower
// numbers.
func (m Mask) narrower(than Mask) bool {
	return cmp.Or(cmp.Compare(m.Count(), than.Count()), cmp.Compare(m, than)) < 0
}

// subsets calls fn with each set of some of the nodes, small ones first.
func subsets(nodes []int, fn func(Mask)) {
	for k := 1; k <= len(nodes); k++ {
		combinations(nodes, k, func(chosen []int) { fn(MaskOf(chosen...)) })
	}
}

// Hint is a set of NUMA nodes that can give what is asked for.
type Hint struct {
	Nodes     Mask // 0 means any
	Preferred bool // no smaller set could ever give it
}

// Provider gives out something that has a place in the machine. Its methods are called
// one at a time.
type Provider interface {
	// Hints lists, by resource, which NUMA nodes can give a container what it asks for.
	// No entry means that it does not matter; an empty list that none can.
	Hints(pod *corev1.Pod, c *corev1.Container) map[string][]Hint
	// PodHints is the same for a pod as a whole.
	PodHints(pod *corev1.Pod) map[string][]Hint
	// Allocate gives a container what it asks for, on the nodes of the hint as far as
	// they have it. What a container already has stays its own. An *Error is the
	// reason and the message of a rejection.
	Allocate(pod *corev1.Pod, c *corev1.Container, on Hint) error
	// Release takes back what Allocate gave to a pod that is then not admitted.
	Release(pod *corev1.Pod)
}

// Policy is the kubelet's topologyManagerPolicy.
type Policy string

// The values of a Policy.
const (
	PolicyNone       Policy = "none"             // hints are not asked for
	PolicyBestEffort Policy = "best-effort"      // a pod is admitted without alignment too
	PolicyRestricted Policy = "restricted"       // a pod without preferred nodes is refused
	PolicySingleNode Policy = "single-numa-node" // a pod that needs several nodes is refused
)

// merger finds the set of nodes that suits all providers.
type merger struct {
	policy  Policy
	closest bool // of sets of the same size the one whose nodes are close is preferred
	m       *Machine
}

// merge finds the best hint, and says whether the policy admits it. It tries each
// choice of one hint of each resource.
func (g merger) merge(all []map[string][]Hint) (Hint, bool) {
	lists := flatten(all)
	if g.policy == PolicySingleNode {
		for i, list := range lists {
			lists[i] = slices.DeleteFunc(slices.Clone(list), func(h Hint) bool { return !h.Preferred || h.Nodes.Count() > 1 })
		}
	}
	every := g.m.allNodes()
	most := widest(lists)
	best, found := Hint{}, false
	eachChoice(lists, func(choice []Hint) {
		if h, ok := combine(every, choice); ok && (!found || g.better(h, best, most)) {
			best, found = h, true
		}
	})
	if !found {
		best = Hint{Nodes: every}
	}
	if g.policy == PolicySingleNode && best.Nodes == every {
		best.Nodes = 0
	}
	return best, best.Preferred || g.policy == PolicyBestEffort
}

// flatten gives the hints of each resource of each provider. What does not matter is
// one hint of any node; what none can give is one that is not preferred.
func flatten(all []map[string][]Hint) [][]Hint {
	var out [][]Hint
	for _, hints := range all {
		if len(hints) == 0 {
			out = append(out, []Hint{{Preferred: true}})
		}
		names := make([]string, 0, len(hints))
		for name := range hints {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			switch list := hints[name]; {
			case list == nil:
				out = append(out, []Hint{{Preferred: true}})
			case len(list) == 0:
				out = append(out, []Hint{{}})
			default:
				out = append(out, list)
			}
		}
	}
	return out
}

// widest is how many nodes the resource needs at least that needs most.
func widest(lists [][]Hint) int {
	most := 0
	for _, list := range lists {
		least := 0
		for _, h := range list {
			if n := h.Nodes.Count(); n > 0 && (least == 0 || n < least) {
				least = n
			}
		}
		most = max(most, least)
	}
	return most
}

func eachChoice(lists [][]Hint, fn func([]Hint)) {
	var choose func(i int, chosen []Hint)
	choose = func(i int, chosen []Hint) {
		if i == len(lists) {
			fn(chosen)
			return
		}
		for _, h := range lists[i] {
			choose(i+1, append(chosen, h))
		}
	}
	choose(0, make([]Hint, 0, len(lists)))
}

// combine is the nodes that all hints of a choice have; false if there are none. It is
// preferred if each hint is, and all name the same nodes.
func combine(every Mask, choice []Hint) (Hint, bool) {
	out, first := Hint{Nodes: every, Preferred: true}, Mask(0)
	for _, h := range choice {
		out.Preferred = out.Preferred && h.Preferred
		if h.Nodes == 0 {
			continue
		}
		if first == 0 {
			first = h.Nodes
		}
		out.Preferred = out.Preferred && h.Nodes == first
		out.Nodes &= h.Nodes
	}
	return out, out.Nodes != 0
}

// better reports whether a hint is to be preferred to the best so far. Preferred hints
// come before others. Of those that are not preferred the best has as many nodes as
// the resource needs that needs most, or else comes closest to that from below.
func (g merger) better(h, best Hint, most int) bool {
	if h.Preferred != best.Preferred {
		return h.Preferred
	}
	n, bestN := h.Nodes.Count(), best.Nodes.Count()
	switch {
	case h.Preferred, bestN > most, n == bestN:
		return g.fitter(h.Nodes, best.Nodes)
	case bestN == most, n > most:
		return false
	}
	return n > bestN
}

// fitter compares two sets: the narrower one, or with prefer-closest-numa-nodes, of
// two of the same size, the one whose nodes are closer to each other.
func (g merger) fitter(a, b Mask) bool {
	if g.closest && g.policy != PolicySingleNode && a.Count() == b.Count() {
		if x, y := g.distance(a), g.distance(b); x != y {
			return x < y
		}
	}
	return a.narrower(b)
}

// distance is the mean distance between nodes of a set.
func (g merger) distance(of Mask) float64 {
	sum, count := 0.0, 0.0
	for _, a := range of.Nodes() {
		for _, b := range of.Nodes() {
			sum += float64(g.m.Nodes[a].Distances[b])
			count++
		}
	}
	return sum / max(count, 1)
}
