// Package references lists the objects that a pod refers to: config maps, secrets
// and persistent volume claims, and through a bound claim its persistent volume.
//
//	for key := range references.Of(pod) {
//		// ... configmaps/NAMESPACE/NAME or secrets/NAMESPACE/NAME ...
//	}
//
// The cloud watches these for a node, and the node trusts that it holds those of
// them that exist. So both sides must use this list.
//
// # Concurrency and stability
//
// All functions only read their arguments. A key that a later release adds is one that an older
// cloudcore does not send: the node then asks for it.
package references
