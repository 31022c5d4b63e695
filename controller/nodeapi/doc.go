// Package nodeapi is what the Kubernetes API on a node (meta/apiserver) needs
// of the cloud. A node asks for it by the capabilities that it names when it
// connects, so that a small link carries nothing that nobody uses:
//
//   - wire.Access: the keys of the cluster's service account issuer, and the
//     RBAC objects that concern the service accounts of the node's pods: each
//     binding with one of them or one of their groups among its subjects, and
//     the role that it refers to; and the pods' Namespaces.
//   - wire.Services: all Services, EndpointSlices and ServiceCIDRs, for
//     kube-proxy; and all Namespaces, without which a DNS server of the cluster
//     knows no Service. Only nodes that an operator marked get them
//     ([ServicesLabel]), or all nodes (Config.Services).
//
// Each kind is watched once for all nodes, from the first node on that asks.
//
// # Calls
//
// Handle answers the nodes' requests for the API server. cloudcore adds no right
// of its own to any. A request with a token is made with that token and nothing
// else, by a client that has none of cloudcore's credentials: the API server
// verifies it and decides. Before that the token must be bound to a pod that
// runs on the very node that sends it, by the API server's own word, so that a
// token that was taken elsewhere is of no use here. A request without a token is
// made as the node, which the node authorizer and NodeRestriction bound, and only
// if it is on a short list: reads, the deletion and eviction of pods, events, and
// labels of the own Node. Streams (exec, proxy, watch and the like) are refused in either
// case.
package nodeapi
