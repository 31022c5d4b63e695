// Package apiserver is the node's own Kubernetes API. It serves the objects in the node's
// store as kube-apiserver would, online and offline. Stock clients work with it: client-go
// and its informers, kubectl, kube-proxy.
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
// There are two ways. edgecore has both below its data folder:
//
//   - DATA-DIR/api/api.sock is a Unix socket for plain HTTP. It always exists and has
//     mode 0600 in a folder of mode 0700: whoever can open it is the node's
//     administrator. Go clients dial it and use "http://node" as the server. By hand:
//     curl --unix-socket DATA-DIR/api/api.sock http://node/api/v1/pods
//   - with --local-api-listen IP:PORT there is TLS for every client with credentials,
//     and DATA-DIR/api/admin.kubeconfig (0600), with which kubectl is the administrator.
//     Each start writes the file again.
//
// # What is served
//
// The API serves pods, config maps, secrets, the Node, the pods' Namespaces, Services,
// EndpointSlices and RBAC objects as the cloud sent them, and the resources in
// Config.Custom. It has the objects that this node needs, not all of the cluster. A pod
// and the Node have the status that the node itself reported last, even if the cloud
// does not have it yet. Events are those of this node, the newest of each name.
//
// It supports get, list, watch (with bookmarks, sendInitialEvents, label and field
// selectors, limit and continue), JSON, YAML, protobuf, tables, metadata only, and
// discovery in both forms. The OpenAPI documents (v3) have no schemas. They say only that
// the server validates objects, which kubectl create, apply and edit ask for; the cloud's
// API server validates them.
//
// A JSON body may have Config.MaxBody bytes. So may a YAML body whose memory can be
// computed beforehand and is small: block style, mostly text, such as a ConfigMap with a
// large file (see internal/yamllimit). Any other YAML body may have 64 KiB. The error
// says to send JSON, as kubectl does.
//
// A resourceVersion is a revision of the store. A watch from a revision that the store no
// longer knows, or that does not keep up, ends with 410 Gone, and the client lists again.
// The same happens after each restart of the program. The events of a watch come in
// revision order and without gaps. When a watch with a selector begins in the past, it may
// report the deletion of an object that the client never had. The pages of a list are not
// one snapshot: a watch from the list's resourceVersion delivers what changed between
// them.
//
// # What the cloud does
//
// While the link is connected, the cloud executes writes, and reads of objects that are
// not here. It does so in the name of the client: with the service account's own token,
// which kube-apiserver verifies and authorizes, or, for the administrator, as the node
// (system:node:NAME), which Kubernetes' node authorizer and NodeRestriction limit. So the
// node gives nobody more rights than the cluster does. The resourceVersion of such an
// answer is marked (21 digits); when a client sends it back, the node restores the
// cloud's own.
//
// While the node is offline these requests fail with 503 ServiceUnavailable and
// details.retryAfterSeconds. There is no Retry-After header, because client-go would then
// repeat the call ten times before it reports the error. An object that is not in the
// store may still exist: only the cloud answers 404. Events are the one exception. They
// are written to the outbox at any time: they conflict with nothing, no client waits for
// them, and the outbox bounds them. Other writes are refused and not queued. A write that
// is executed hours later may undo newer changes, and its author would not learn that it
// was refused.
//
// # Who may do what
//
// Every client needs credentials:
//
//   - the administrator's certificate (admin.kubeconfig) or the node's own may read
//     everything here. Only root can read these files, and root can read the store's
//     files in any case.
//   - the token of a service account. The cluster's keys, which the cloud sent, must have
//     signed it; its audience must be the API server; and it must be bound to a pod on
//     this node with the same uid. RBAC decides what it may do. The cloud sends the roles
//     and bindings of the node's service accounts, and changes take effect at once.
//
// An expired token is accepted while the link is down, and for [TokenGrace] after it came
// back: no pod could renew its token. The token is bound to its pod, so it ends with it.
//
// # Its certificate, and pods
//
// An authority that the node makes in Config.Dir signs the server's certificate. Its key
// never leaves the node. A client on this node trusts this authority besides the
// cluster's, and only for this server. In pods, edged adds its certificate to ca.crt of
// kube-root-ca.crt, which also keeps the cluster's, and sets KUBERNETES_SERVICE_HOST and
// KUBERNETES_SERVICE_PORT, so that rest.InClusterConfig uses this server. Pods in the
// host's network reach a loopback address. All other pods need another address of the
// node in Config.Listen, for example one that was added to the loopback device ("ip
// address add 169.254.30.10/32 dev lo").
//
// # Limits
//
// A request body has at most Config.MaxBody bytes, a client at most Config.MaxWatches
// watches, a selector at most 16 KiB. A client must read each event within 30 s. A watch
// holds the names of the objects that its client has, and no objects.
//
// # Stability
//
// Paths and forms are Kubernetes' own. The Go API may change until version 1.
package apiserver
