// Package install says what must be in a cluster before a cloudcore runs there,
// and puts it there: the namespace, the resource definitions of
// devices.kubeedge.io, and the rights of cloudcore.
//
// Ensure is what "edgectl init" calls with an administrator's rights, and
// cloudcore at its start, where it may lack them: it then finds that nothing is
// missing. Manifest is the same as one YAML file for those who apply it
// themselves.
package install
