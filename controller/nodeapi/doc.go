// Package nodeapi is the cloud's half of the Kubernetes API on a node
// (meta/apiserver). A node asks for it by the capabilities that it names when it
// connects, so that a small link carries nothing that nobody uses:
//
//   - wire.Access: the keys of the cluster's service account issuer; the RBAC
//     objects that concern the service accounts of the node's pods, which are
//     each binding with one of those accounts or their groups among its subjects,
//     and its role; and the pods' Namespaces.
//   - wire.Tokens: the issuer's keys alone, for a node that checks tokens and has no
//     API for pods.
//   - wire.Services: all Services, EndpointSlices and ServiceCIDRs, for
//     kube-proxy, and all Namespaces, which a cluster's DNS server needs to know
//     a Service. Only nodes that an operator marked get them ([ServicesLabel]),
//     or all nodes (Config.Services).
//   - wire.Groups: with wire.Services, which edge nodes are in which group, so that the node
//     keeps the traffic of Services with the annotation apps.kubeedge.io/service-topology
//     within its own.
//
// What EdgeSyncs have a node hold besides (wire.Synced) comes from package controller/sites.
//
// A Controller gives each session of a node its part of the state:
//
//	source := c.Source(hello.Node, hello.Capabilities)
//
// Each kind is watched once for all nodes, beginning with the first node that
// asks. Order and delivery are those of hub.Source: the newest version wins.
//
// # Requests
//
// Handle answers the nodes' requests for the API server. cloudcore adds no right
// of its own to any of them. A request with a token is made with that token
// alone, by a client that has none of cloudcore's credentials: the API server
// verifies the token and decides. Before that, the API server must confirm that
// the token is bound to a pod on the node that sends it; a token stolen elsewhere
// is of no use here. A request without a token is made as the node, which the
// node authorizer and NodeRestriction bound, and only if it is on a short list:
// reads, deletion and eviction of pods, events, and labels of the node's own
// Node. Streams (exec, proxy, watch and the like) are refused in either case.
//
// # Streams
//
// A newer node sends each request of a pod's service account on a stream of its own
// (wire.Stream), and the answer goes back as the API server sends it: watches, whole lists,
// upgrades. The same rules hold: the pod's own token and nothing of cloudcore's, and only if
// its pod is bound to the node of the link. Paths with "..", tokens in other headers, a
// proxy's word about the user (X-Remote-...) and redirects to other hosts are refused or
// removed. At most Config.MaxStreams requests are open, and Config.MaxStreamsPerNode of one node;
// one that is not read holds 64 KiB here.
//
// # Concurrency
//
// Methods of a Controller may be called by several goroutines at once. The
// answers of the API server that are being read take 96 MiB at most, of all
// nodes together; further requests wait.
package nodeapi
