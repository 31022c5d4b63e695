// Package podcgroups knows whether a node makes the cgroups of its pods, and where they are.
//
//	g := podcgroups.New(true)
//	g.Set(groups, driver != "") // when the runtime has said which driver it uses
//	if g.LimitPods() { err := g.Load().SetUp(class, uid, limits) }
//
// The cgroups themselves are a matter of package cgroup. A Groups may be used by several
// goroutines.
package podcgroups
