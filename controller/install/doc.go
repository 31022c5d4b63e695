// Package install puts into a cluster what must be there before a cloudcore
// runs: the namespace, the resource definitions of devices.kubeedge.io, and the
// rights of cloudcore.
//
//	err := install.Ensure(ctx, install.Config{REST: restConfig})
//
// "edgectl init" calls Ensure with an administrator's rights. cloudcore calls it
// at its start, where it may lack those rights and then finds nothing missing.
// Manifest returns the same as one YAML file for those who apply it themselves.
//
// Both may be called at any time, by several programs at once.
package install
