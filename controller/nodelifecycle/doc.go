// Package nodelifecycle keeps the Leases, conditions and taints of edge nodes, by which
// Kubernetes decides whether a node is healthy.
//
// # A node with a link, and one without
//
// An edge node does not renew its own Lease. While its session lives, the
// cloudcore that holds the session renews it, as that node. A node that has lost
// its link stays the owner of its pods, since they go on running: cloudcore goes
// on renewing the Lease. The Node shows the state of the link elsewhere: the
// condition EdgeConnected says since when, why and for how long, and the taint
// DisconnectedTaint keeps new pods away. The condition Ready stays as the node
// last reported it. Nothing is evicted, so when the node returns only those pods
// are Terminating that a user deleted.
//
// How long this goes on is the node's autonomy, the label AutonomyLabel of its
// Node. An operator sets it; NodeRestriction keeps the node from it:
//
//	kubectl label node edge-7 edgekit.node-restriction.kubernetes.io/autonomy=72h   # or forever (the default), or off
//
// After that time cloudcore stops renewing the Lease. Kubernetes then does what
// it does with any lost node: after 50 s the node is NotReady, and after the
// pods' own tolerations (5 minutes by default) they are evicted and replaced.
//
// # The pods of a node without a link
//
// Clients in the cloud must not be sent to pods that they cannot reach. When a node has been
// without a link for Config.NotReadyAfter (cloudcore --disconnected-pods-not-ready-after, a minute
// by default), cloudcore sets the condition Ready of its pods to False, with the reason
// NodeDisconnected, and EndpointSlices follow. Nothing else changes: the containers run, no pod
// is evicted, and on the node itself its pods are as ready as they are. The label
// NotReadyAfterLabel is the setting of one node:
//
//	kubectl label node edge-7 edgekit.node-restriction.kubernetes.io/disconnected-pods-not-ready-after=10m   # or never
//
// When the node is back, it sends the status of those pods again, and each has the readiness that
// the node reports: it is not set to ready before. So each pod is written twice at most for each
// cut. Deployments, DaemonSets and PodDisruptionBudgets count the pods as not available meanwhile.
//
// The time begins with the loss of the link; where a cloudcore takes over from one that ended, with
// the last renewal of the Lease. It runs on while cloudcore is restarted. A cloudcore marks no pod
// in its first minute (Config.ReconnectGrace), in which nodes connect to it again. A cloudcore that
// runs, but that no node reaches, marks the pods of all its nodes: it cannot know that its own
// network is at fault. Where that may happen, run two in different networks.
//
// # A node that will not return
//
// [Abandon] gives a node up at once, whatever its autonomy ("edgectl node
// abandon"). It sets Kubernetes' own taint for this case,
// node.kubernetes.io/out-of-service, and ends the pods. A node that returns
// nevertheless learns that the pods are no longer its own, ends them by their
// uids, and is an ordinary node again.
//
// # A Node that is deleted
//
// A connected node whose Node is deleted registers again within seconds, with
// what it reports of itself. What others had set on the Node is lost, including
// AutonomyLabel: only an operator may set it on the new Node. [Retire] takes a node out of
// service ("edgectl node retire"): [Drain] evicts its pods as disruption budgets allow, its
// identity is revoked, its Devices are unbound, and the Node is deleted; [Remove] is the part
// after the drain. [Replace] gives a node's place to another one ("edgectl node replace").
//
// # Several cloudcores, and none
//
// Any number of cloudcores may run. A holder record, which is a Lease in
// cloudcore's own namespace, names the cloudcore that looks after the node. Only
// that one writes the condition and the taint. The record cannot be the node's
// own Lease, since the node may write that one. A cloudcore takes a node over
// when the node connects to it, or when nobody has renewed the Lease for
// StaleAfter. Each write names the version that it replaces, of the Lease and of
// the record; so of two cloudcores that try, one loses and reads again. The
// record also holds the claim of the node's session ([Controller.Claim]), so
// that a newer session fences an older one at any cloudcore. A program that was
// fenced gets the node back only after the node was disconnected for some
// minutes.
//
// A cloudcore that runs keeps its nodes, however slow it or the API server is. Another one that finds
// a Lease of them stale renews it, until its holder does so again, and changes nothing else: it does not
// know whether the node has a link.
//
// A cloudcore reads the Leases of nodes that another one looks after only every five minutes while
// that one runs, as the Leases of package members show; when one goes, all read again. A node
// that nobody looks after is left to one of those that run, chosen by the node's name, until
// its Lease is twice StaleAfter old. A cloudcore with a role of an earlier version, which may not list Leases, reads
// each of them every RenewEvery.
//
// While no cloudcore runs, nobody renews. Up to 50 s this does no harm, and a
// cloudcore that starts first looks after all Leases. After a longer time
// Kubernetes has set the nodes' own conditions to Unknown, marked their pods
// unready and begun to count down to their eviction. A cloudcore that starts
// then restores the conditions that each kept node last reported, which the
// Lease remembers; this ends the countdown. The readiness of the pods follows when
// their node connects. Pods are evicted only if no cloudcore starts within those
// five minutes either. Run two.
//
// # Concurrency
//
// Methods of a Controller may be called by several goroutines at once. At most
// Config.Writes calls of the API server run at the same time, and those about
// one node never at the same time.
package nodelifecycle
