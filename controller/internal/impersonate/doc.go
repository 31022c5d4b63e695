// Package impersonate makes a Kubernetes client that acts as the edge node which
// the context of a call names. The API server's node authorizer and
// NodeRestriction then bound what is done on a node's behalf.
//
// One client serves all nodes: they share connections, and a request carries the
// node's identity in impersonation headers, in the Mode that [Detect] finds.
// Kubernetes 1.36 and later can allow cloudcore to act as nodes and as nobody
// else (KEP-5284). A call whose context names no node fails before it is sent;
// it never goes out under cloudcore's own name.
package impersonate
