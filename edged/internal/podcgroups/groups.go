package podcgroups

import (
	"sync/atomic"

	"github.com/edgekit/edgekit/edged/cgroup"
)

// Groups are the cgroups of a node's pods.
type Groups struct {
	wanted bool
	groups atomic.Pointer[cgroup.Groups]
	own    atomic.Bool
}

// New makes Groups. wanted says whether the node is to make the cgroups of its pods.
func New(wanted bool) *Groups { return &Groups{wanted: wanted} }

// Set sets what is known when the runtime has answered. own says that the runtime puts its
// containers into cgroups of pods.
func (g *Groups) Set(groups *cgroup.Groups, own bool) {
	g.groups.Store(groups)
	g.own.Store(own)
}

// Load gives the cgroups; nil before Set.
func (g *Groups) Load() *cgroup.Groups { return g.groups.Load() }

// LimitPods reports whether the node makes the cgroups of pods and limits them.
func (g *Groups) LimitPods() bool { return g.wanted && g.own.Load() }

// Top is the cgroup of all pods together; "" before Set.
func (g *Groups) Top() string {
	if groups := g.Load(); groups != nil {
		return groups.Top()
	}
	return ""
}

// EmptyPods lists the uids of the pods whose cgroups have no process.
func (g *Groups) EmptyPods() []string {
	if groups := g.Load(); groups != nil && g.wanted {
		return groups.EmptyPods()
	}
	return nil
}
