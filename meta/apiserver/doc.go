// Package apiserver is the node's own Kubernetes API: what is in the node's
// store, served as kube-apiserver would, with or without the cloud. Stock
// clients work against it: client-go and its informers, kubectl, kube-proxy.
//
//	authority, err := apiserver.OpenAuthority("/var/lib/edgekit/api")
//	...
//	api, err := apiserver.New(apiserver.Config{
//		Store: store, Node: "gate-7", Cloud: manager, Connected: connected,
//		Authority: authority,
//		Dir: "/var/lib/edgekit/api", Socket: "/var/lib/edgekit/api/api.sock",
//		Listen: netip.MustParseAddrPort("127.0.0.1:6443"),
//	})
//	...
//	err = api.Run(ctx)
//
// # How to reach it
//
// There are two ways, and edgecore has both below its data folder:
//
//   - DATA-DIR/api/api.sock is a Unix socket, always there, plain HTTP, mode
//     0600 in a folder of mode 0700: whoever can open it is the node's
//     administrator. Go clients dial it and use "http://node" as the server.
//     By hand: curl --unix-socket DATA-DIR/api/api.sock http://node/api/v1/pods
//   - with --local-api-listen IP:PORT there is TLS for everyone who shows who he
//     is, and DATA-DIR/api/admin.kubeconfig (0600), with which kubectl is the
//     administrator. The file is written anew at each start.
//
// # What is served
//
// Pods, config maps, secrets, the Node, the pods' Namespaces, Services,
// EndpointSlices and RBAC objects as they came down, and the resources in
// Config.Custom: what is there is what this node needs, not all of the cluster. A
// pod and the Node show the status that the node itself last reported, also when
// the cloud does not have it yet. Events are those of this node, the newest of each
// name. Get, list, watch (with bookmarks, sendInitialEvents, label and field
// selectors, limit and continue), JSON, YAML, protobuf, tables, metadata only,
// discovery in both forms. The OpenAPI documents (v3) hold no schemas. They say
// what kubectl create, apply and edit ask them: that objects are validated by the
// server, which is the cloud's.
//
// A body of JSON may have Config.MaxBody. So may one of YAML whose cost can be
// reckoned and is small: block style, mostly text, as a ConfigMap with a large file
// (internal/yamllimit says which). Any other YAML may have 64 KiB; the error says to
// send JSON, which is what kubectl does.
//
// A resourceVersion is a revision of the store. A watch that begins at one that
// is forgotten, or that falls behind, ends with 410 Gone, and the client lists
// anew; that is also so after each restart of the node's program. Events of a
// watch come in revision order and none is left out; where a watch with a
// selector begins in the past, a deletion may be told of an object that the
// client never had. The pages of a list are not one snapshot: a watch from the
// list's resourceVersion makes up for what changed between them.
//
// # What the cloud does
//
// Writes, and reads of what is not here, are made by the cloud while the link
// stands, each in the name of who asked: with the service account's own token,
// which kube-apiserver itself verifies and authorizes, or, for the
// administrator, as the node (system:node:NAME), which Kubernetes' node
// authorizer and NodeRestriction bound. So nobody can do through the node what he
// could not do without it. The answer's resourceVersion is marked (21 digits):
// sent back it is the cloud's own again.
//
// While the link is down these are refused with 503 ServiceUnavailable and
// details.retryAfterSeconds; there is no Retry-After header, since client-go
// would repeat the call ten times before it says anything. Absence from the
// store is not "not found": 404 comes from the cloud alone. The one exception is
// events, which are taken into the outbox at any time: they conflict with nothing,
// nobody waits for them, and the outbox bounds them and drops the oldest. All
// else is refused rather than queued, for a write that is done hours later may
// undo what others did meanwhile, and its author could not be told that it was
// refused.
//
// # Who may do what
//
// Nobody is let in without showing who he is:
//
//   - the administrator's certificate (admin.kubeconfig), or the node's own:
//     reads all that is here. Both are files that only root can read, and root
//     has the store's files in any case.
//   - the token of a service account: signed by the cluster's keys, which came
//     down, meant for the API server, and bound to a pod of this node that is
//     there with this uid. RBAC rules decide; the roles and bindings that
//     concern the node's service accounts come down and are followed live.
//
// A token that has expired is taken while the link is down and for [TokenGrace]
// after it came back: nobody could have renewed it, and it is as good as its
// pod, with which it ends.
//
// # Its certificate, and pods
//
// The server's certificate is signed by an authority that the node makes for
// itself in Config.Dir and that never leaves it. The rule: a client on this node
// trusts that authority beside the cluster's, and for this server only. In pods
// edged adds its certificate to ca.crt of kube-root-ca.crt, where the cluster's
// own stays, and sets KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT, so
// that rest.InClusterConfig leads here. Pods in the host's network reach a
// loopback address; all others need one of the node's other addresses in
// Config.Listen, for example one that was added to the loopback device ("ip
// address add 169.254.30.10/32 dev lo").
//
// # Limits
//
// Bodies of requests up to Config.MaxBody, watches per client up to
// Config.MaxWatches, 30 s for a client to take an event, selectors up to 16
// KiB. A watch holds the names of what its client has seen, and no objects.
//
// # Stability
//
// Paths and forms are Kubernetes' own. The Go API may change until version 1.
package apiserver
