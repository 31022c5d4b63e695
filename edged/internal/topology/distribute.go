package topology

import (
	"math"
	"slices"

	"k8s.io/utils/cpuset"
)

// takeDistributed takes n of the CPUs that are free, evenly from as few NUMA nodes as
// can give that, in units of so many CPUs (distribute-cpus-across-numa, KEP-2902).
// Where that is not possible it packs them.
func takeDistributed(m *Machine, free cpuset.CPUSet, n, unit int) (cpuset.CPUSet, error) {
	if n > free.Size() {
		return cpuset.New(), notEnough(n, free.Size())
	}
	if n <= 0 || n%unit != 0 {
		return takePacked(m, free, n, false)
	}
	t := &taker{m: m, free: free, need: n}
	counts := make(map[int]int)
	for _, id := range free.UnsortedList() {
		counts[m.CPUs[id].Node]++
	}
	levels := []level{node}
	if m.count(node) > m.count(socket) {
		levels = m.outer()
	}
	nodes := t.groups(levels...)
	units := func(cpus int) int { return (cpus + unit - 1) / unit }
	perNode := (units(len(m.CPUs)) + m.count(node) - 1) / m.count(node)
	for k := (n/unit + perNode - 1) / perNode; k <= min(n/unit, len(nodes)); k++ {
		best := spread{balance: math.MaxFloat64}
		combinations(nodes, k, func(chosen []int) {
			if s, ok := spreadOver(counts, chosen, n, unit); ok && s.balance < best.balance {
				best = s
			}
		})
		if best.shares == nil {
			continue
		}
		for id, share := range best.shares {
			// The even part is packed as a whole, and the rest unit by unit.
			for part := n / k / unit * unit; share > 0; part = unit {
				some, err := takePacked(m, t.free.Intersection(m.onNodes(MaskOf(id))), min(max(part, unit), share), false)
				if err != nil {
					return cpuset.New(), err
				}
				t.take(some)
				share -= some.Size()
			}
		}
		return t.taken, nil
	}
	return takePacked(m, free, n, false)
}

// spread is how many CPUs are taken from each NUMA node.
type spread struct {
	shares  map[int]int
	balance float64 // the deviation of what is then left on the nodes; less is better
}

// spreadOver divides n CPUs evenly among nodes. What is left over goes to those of them
// that then leave the machine most balanced. It is false where the nodes have not
// enough.
func spreadOver(free map[int]int, nodes []int, n, unit int) (spread, bool) {
	even, have := n/len(nodes)/unit*unit, 0
	for _, id := range nodes {
		if free[id] < even {
			return spread{}, false
		}
		have += free[id] / unit * unit
	}
	if have < n {
		return spread{}, false
	}
	shares := make(map[int]int)
	var roomy []int
	for _, id := range nodes {
		shares[id] = even
		if free[id]-even >= unit {
			roomy = append(roomy, id)
		}
	}
	rest := n - even*len(nodes)
	if rest == 0 {
		return spread{shares, deviation(free, shares)}, true
	}
	best := spread{balance: math.MaxFloat64}
	for k := len(roomy); k >= 1; k-- {
		combinations(roomy, k, func(some []int) {
			if try, ok := addRest(free, shares, some, rest, unit); ok && try.balance < best.balance {
				best = try
			}
		})
	}
	return best, best.shares != nil
}

// addRest gives what is left over to some nodes, unit by unit in turn.
func addRest(free, shares map[int]int, nodes []int, rest, unit int) (spread, bool) {
	out := make(map[int]int, len(shares))
	for id, n := range shares {
		out[id] = n
	}
	for rest > 0 {
		before := rest
		for _, id := range nodes {
			if rest > 0 && free[id]-out[id] >= unit {
				out[id] += unit
				rest -= unit
			}
		}
		if rest == before {
			return spread{}, false
		}
	}
	return spread{out, deviation(free, out)}, true
}

// deviation is the standard deviation of what is left on each node, to three places
// as in a kubelet, so that equal spreads compare equal.
func deviation(free, taken map[int]int) float64 {
	mean := 0.0
	ids := sortedKeys(free)
	for _, id := range ids {
		mean += float64(free[id] - taken[id])
	}
	mean = math.Round(mean/float64(len(ids))*1000) / 1000
	sum := 0.0
	for _, id := range ids {
		d := float64(free[id]-taken[id]) - mean
		sum += d * d
	}
	return math.Round(math.Sqrt(sum/float64(len(ids)))*1000) / 1000
}

// combinations calls fn with each choice of k of the values, in their order.
func combinations(values []int, k int, fn func([]int)) {
	var choose func(from int, chosen []int)
	choose = func(from int, chosen []int) {
		if len(chosen) == k {
			fn(slices.Clone(chosen))
			return
		}
		for i := from; i <= len(values)-(k-len(chosen)); i++ {
			choose(i+1, append(chosen, values[i]))
		}
	}
	choose(0, make([]int, 0, k))
}
