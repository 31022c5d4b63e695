// Package edge is the EdgeController. It reads from the API server what each
// edge node must hold, and writes there what each node reported.
//
// # Down
//
// Source returns one node's state: its pods, the config maps, secrets and claims that
// those refer to, and the node's own metadata and spec. One watch of all bound
// pods serves all nodes. Config maps and secrets are watched one by one, as a
// node that refers to them, and only while such a node is connected. There is no
// list of all secrets, and cloudcore itself needs no right to read any. A bound
// claim leads to its volume, and that to the secrets of its driver, which are
// watched in the same way, but for claims and volumes: see watchReference.
//
//	hub.Node{Down: c.Source(hello.Node), ...}
//
// The version of an object is its resource version. A pod whose status its own
// node has changed is not sent back to that node; a change of a condition that
// others set (a readiness gate) is.
//
// A cache that lags does no harm. An object that the node holds and that the
// cache lacks, or has in an older version, is read from the API server. Only an
// object that is not there, or is bound to another node, counts as deleted.
//
// # Up
//
// Writers returns the writers of a node's reports. They write as the node, which
// Kubernetes' node authorizer and NodeRestriction bound; only the role label,
// which a node may not set on itself, is written by cloudcore. A report is
// complete: it is written as one patch that needs no read before it, and a
// repeated report changes nothing.
//
// Inbox bounds how many Events of a node are written in a second. Further ones are not acknowledged, so
// they wait in the node's outbox.
//
// MarkNotReady sets the pods of a node without a link to not ready. When the node connects,
// ResendReadiness names those pods, whose status it then sends again.
//
// # Calls
//
// Handle answers the nodes' queries: service account tokens, the uids of the
// bound pods, and single objects, read as the node.
//
// # Concurrency
//
// Methods of a Controller may be called by several goroutines at once.
// Subscribers of a Source are called with no lock held and must return soon.
package edge
