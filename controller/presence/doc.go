// Package presence tells Kubernetes which edge nodes are there.
//
// An edge node does not renew its own Lease: while its session lives, the
// cloudcore that holds the session does, as that node. A node that has lost its
// link stays the owner of its pods, since they go on running: cloudcore renews
// the Lease on its behalf for as long as the Node's annotation AutonomyAnnotation
// allows. What is true is said elsewhere on the Node: the condition
// EdgeConnected, and the taint DisconnectedTaint that keeps new pods away. The
// condition Ready stays as the node last reported it.
//
// Any number of cloudcores may run. An annotation on the Lease names the one
// that looks after the node, and only that one writes the condition and the
// taint. A cloudcore takes a node over when the node connects to it, or when
// nobody has renewed the Lease for StaleAfter. Each write names the version of
// the Lease that it replaces, so of two that try, one loses and looks again.
package presence
