// Package nodecgroups keeps the cgroups above those of the pods: the one of all pods
// together, those of the classes of service, and those of the daemons that resources are
// reserved for. What their limits are is in package allocatable.
//
//	k := nodecgroups.New(nodecgroups.Config{Groups: groups, Pods: pods, Machine: machine, Event: events.Node})
//	go k.Run(ctx) // and k.Kick() when the pods have changed
//
// Limits are set again each minute, since others may have changed them. A failure is
// logged once, and an event of the node says what came of the limits of all pods. A Keeper
// may be used by several goroutines.
package nodecgroups
