// Package kubeletproxy is the kubelet endpoint of edge nodes, served in the cloud:
// the API server connects here for kubectl logs, exec, attach and port-forward,
// metrics-server for its figures, and each request is carried to the node on a
// stream of the link that the node dialled.
//
// # How the address identifies the node
//
// Every API server dials what the Node object says: an address of the first
// type in its list of preferred types that the Node has, and the port in
// status.daemonEndpoints. Nothing else in the request tells the node: the path
// of a log names only the pod, that of figures nothing at all. So each node has
// a port of its own on cloudcore's address, and its Node names that address as
// its first InternalIP and no Hostname, which works with every API server
// whatever flags it has. The node's own addresses stay in the list, after
// cloudcore's.
//
// # What decides
//
// A node may write its own status, and so say that it has another's port. So what
// decides is a record, the label RecordLabel of the Node, which cloudcore writes by
// its own rights and NodeRestriction keeps nodes from. Ports are kept over restarts
// by it. A port is served only while the record of its node names it; one that two
// records name is served for neither, until one of the nodes connects and gets
// another, or somebody rewrites a label.
//
// The price is a listening socket for each node. A cloudcore for more nodes
// than it may have open files or ports leaves the rest without an endpoint and
// says so; those nodes run as ever, and kubectl says that nobody listens.
//
// # Several cloudcores
//
// Each writes its own address on the Nodes that are connected to it, so the API
// server finds the one that holds the node without being forwarded. A node that
// changes over is reached at the new one from its first moment there.
//
// # Who may
//
// The client shows a certificate signed by the cluster's authority for clients,
// read from the cluster itself, or a bearer token that is a JSON Web Token, as those
// of service accounts are. What strangers may cost is bounded: connections, and the
// TokenReviews that bad tokens make. The client's rights are asked of the
// API server, as a kubelet does: nodes/proxy, or the narrower nodes/metrics,
// nodes/stats, nodes/pods, nodes/healthz and nodes/configz. What runs commands
// needs the verb create, also where a WebSocket comes as a GET.
//
// # Checked against Kubernetes
//
// make conformance runs Kubernetes' own specs for kubectl and streams against a
// node that is reached in this way, make e2e-metrics the stock metrics-server
// (with --kubelet-use-node-status-port, as in its own manifest) and autoscaler;
// examples/demo/conformance/README.md has the results.
//
// # Sessions
//
// Sessions are bounded, counted and written to the log with who, what pod, how
// long and how many bytes. They end when either side goes away. A node without
// a link gets an answer at once.
package kubeletproxy
