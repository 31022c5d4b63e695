// Package impersonate gives a Kubernetes client that acts as whichever edge node
// the context of a call names, so that the API server's node authorizer and
// NodeRestriction bound what is done on a node's behalf to what is the node's.
//
// One client serves all nodes: they share connections, and a request carries
// the node's identity in impersonation headers, in the Mode that [Detect] finds:
// Kubernetes 1.36 and later can let cloudcore act as nodes and as nobody else. A call whose context names no
// node fails before it leaves; it never goes out under cloudcore's own name.
package impersonate
