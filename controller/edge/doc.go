// Package edge is the EdgeController: it knows from the API server what each
// edge node must hold, and writes there what each reported.
//
// # Down
//
// Source gives a node's mirror: its pods, the config maps and secrets that
// those refer to, and the node's own metadata and spec. One watch of pods with
// a node serves all nodes. Config maps and secrets are watched one by one, as a
// node that refers to them and only while a connected node does: there is no
// list of secrets, and cloudcore itself needs no right to read any.
//
// The version of an object is its resource version. A pod whose status was
// changed by its own node is not sent back to it; a change of a foreign
// condition (a readiness gate) is.
//
// A view that lags does no harm. What a node holds and the view does not have,
// or has in an older version, is read from the API server itself, and only what
// is not there, or is bound to another node, is called deleted.
//
// # Up
//
// Writers gives the writers of a node's reports. They write as the node, which
// Kubernetes' node authorizer and NodeRestriction bound, except the role label,
// which a node may not set on itself. Each report is the whole truth about its
// key and is written as one patch that needs no read before it, and that
// changes nothing when it is repeated.
//
// # Calls
//
// Handle answers the nodes' queries: service account tokens and single
// objects, read as the node.
package edge
