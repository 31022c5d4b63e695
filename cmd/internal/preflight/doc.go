// Package preflight finds out whether a machine can be, or is, an edge node: its kernel,
// cgroups, container runtime, network, ports, clock, disk, memory and identity, and the way to
// the cloud.
//
//	results, err := preflight.Run(ctx, preflight.Config{Cloud: "cloud.example:10000"}, preflight.Local())
//
// Checks change nothing, but for a file that is written, synced and removed in the data
// folder. What needs root and cannot be looked at is a warning that says so. Every Result that
// is not OK has a Remedy. A Machine gives the checks all that they see, so that tests can show
// them any machine.
package preflight
