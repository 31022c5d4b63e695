// Package presence tells Kubernetes which edge nodes are there.
//
// # A node with a link, and one without
//
// An edge node does not renew its own Lease: while its session lives, the
// cloudcore that holds the session does, as that node. A node that has lost its
// link stays the owner of its pods, since they go on running: cloudcore renews
// the Lease on its behalf. What is true is said elsewhere on the Node: the
// condition EdgeConnected with since when, why and for how long, and the taint
// DisconnectedTaint that keeps new pods away. The condition Ready stays as the
// node last reported it. Nothing is evicted, so that nothing is Terminating when
// the node returns but what a user deleted.
//
// How long that goes on is the node's policy, the label AutonomyLabel of its Node,
// which an operator sets and NodeRestriction keeps the node from:
//
//	kubectl label node edge-7 edgekit.node-restriction.kubernetes.io/autonomy=72h   # or forever (the default), or off
//
// When the time is over the Lease is renewed no longer. Kubernetes then does
// what it does with any node that is lost: after 50 s the node is NotReady, and
// after the pods' own tolerations (5 minutes unless they say otherwise) they
// are evicted and replaced elsewhere.
//
// # A node that is gone
//
// [Abandon] gives a node up at once, whatever its policy ("edgectl node
// abandon"). It sets Kubernetes' own taint for that,
// node.kubernetes.io/out-of-service, and ends the pods. A node that returns
// nevertheless learns that they are not its own, ends them by their uids, and is
// an ordinary node again.
//
// # A Node that is deleted
//
// A node registers again when its Node is deleted, within seconds if it is
// connected, of what it reports of itself. What others had set on the Node is
// lost, AutonomyLabel too: an object that an operator deletes is gone, and
// nobody but the operator may decide on the policy of the new one. [Remove]
// takes a node out for good ("edgectl node remove").
//
// # Several cloudcores, and none
//
// Any number of cloudcores may run. A record, which is a Lease in cloudcore's own
// namespace, names the one that looks after the node, and only that one writes the
// condition and the taint. The node's own Lease is the node's to write, and so no
// place for what others go by. A cloudcore takes a node over when the node connects
// to it, or when nobody has renewed the Lease for StaleAfter. Each write names the
// version of
// the Lease and of the record that it replaces, so of two that try, one loses and
// looks again. The record also holds the node's hub.Claim ([Keeper.Claim]), so that a
// newer session fences an older one wherever that stands. A program that was fenced
// gets the node back only once the node has been disconnected for some minutes.
//
// While no cloudcore runs, nobody renews. Up to 50 s that does no harm, and the
// first thing a cloudcore does is to look after all leases. After a longer time
// Kubernetes has set what the nodes said of themselves to Unknown, called their
// pods unready, and begun to count down to their eviction: the cloudcore that
// comes puts back the conditions that each kept node last reported, which the
// Lease remembers, and the readiness of its pods, which ends the count. Only
// where none came for those five minutes as well are pods evicted; run two.
package presence
