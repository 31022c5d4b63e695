package pipeline

import (
	"slices"
	"strings"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// graph finds out where events go.
func (c *compiler) graph() {
	var sources []int
	before := -1 // the step before
	for i, n := range c.plan.nodes {
		if n.role == roleSource {
			sources = append(sources, i)
			continue
		}
		c.froms(n, sources, before)
		if n.role == roleStep {
			before = i
		}
	}
	if !c.sort() {
		return
	}
	for _, i := range c.plan.order {
		c.origins(i)
	}
	for i, n := range c.plan.nodes {
		if n.role == roleSink {
			c.origins(i)
		}
	}
	for _, n := range c.plan.nodes {
		if n.role != roleSink && len(n.edges) == 0 {
			c.fail(n.at(), "no step and no sink has its events: name it in a field from, or remove it")
		}
	}
}

// froms resolves the field from of a step or a sink.
func (c *compiler) froms(n *planNode, sources []int, before int) {
	names := c.fromNames(n)
	switch {
	case len(names) > v1alpha1.MaxSources:
		c.fail(n.at().field("from"), "has %d entries, over the limit of %d", len(names), v1alpha1.MaxSources)
	case len(names) == 0 && before >= 0:
		n.froms = []int{before}
	case len(names) == 0:
		n.froms = sources
	}
	for i, name := range names {
		a := n.at().field("from[%d]", i)
		j, ok := c.plan.byName[string(name)]
		switch {
		case !ok:
			c.fail(a, "there is no source and no step %.70q", name)
		case c.plan.nodes[j].role == roleSink:
			c.fail(a, "%q is a sink: events come from sources and steps", name)
		case slices.Contains(n.froms, j):
			c.fail(a, "%q is there twice", name)
		default:
			n.froms = append(n.froms, j)
		}
	}
}

func (c *compiler) fromNames(n *planNode) []v1alpha1.Name {
	if n.role == roleSink {
		return c.p.Spec.Sinks[n.index].From
	}
	return c.p.Spec.Steps[n.index].From
}

// sort orders the steps so that each comes after those whose events it takes. It reports
// false for a cycle.
func (c *compiler) sort() bool {
	const visiting, done = 1, 2
	state := make([]int, len(c.plan.nodes))
	var path []string
	var visit func(i int) bool
	visit = func(i int) bool {
		n := c.plan.nodes[i]
		switch state[i] {
		case visiting:
			start := slices.Index(path, n.name)
			c.fail(n.at().field("from"), "the steps are a cycle: %s takes events of %s", n.name, strings.Join(reversed(path[start:]), ", which takes events of "))
			return false
		case done:
			return true
		}
		state[i] = visiting
		path = append(path, n.name)
		for _, from := range n.froms {
			if !visit(from) {
				return false
			}
		}
		path = path[:len(path)-1]
		state[i] = done
		if n.role == roleStep {
			c.plan.order = append(c.plan.order, i)
		}
		return true
	}
	for i, n := range c.plan.nodes {
		if n.role == roleStep && !visit(i) {
			return false
		}
	}
	return true
}

func reversed(names []string) []string {
	out := slices.Clone(names[1:])
	out = append(out, names[0])
	return out
}

// origins makes the edges that lead to a node. If events of one origin come on several ways,
// those of steps get the step's name as a suffix to their id: a sink that drops doubles does
// then not take one for the other.
func (c *compiler) origins(to int) {
	n := c.plan.nodes[to]
	of := func(i int) map[int]bool {
		from := c.plan.nodes[i]
		if from.role == roleSource || from.kind == "window" {
			return map[int]bool{i: true}
		}
		return from.origins
	}
	n.origins = make(map[int]bool)
	count := make(map[int]int)
	for _, from := range n.froms {
		for o := range of(from) {
			n.origins[o] = true
			count[o]++
		}
	}
	for _, from := range n.froms {
		e := edge{to: to}
		for o := range of(from) {
			if count[o] > 1 && o != from {
				e.suffix = "#" + c.plan.nodes[from].name
			}
		}
		c.plan.nodes[from].edges = append(c.plan.nodes[from].edges, e)
	}
}
