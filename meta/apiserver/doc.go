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
//   - on a TCP address there is TLS for every client with credentials, and
//     DATA-DIR/api/admin.kubeconfig (0600), with which kubectl is the administrator. Each
//     start writes the file again. The address is 169.254.30.10:10550, which edgecore adds to
//     the loopback interface ([EnsureAddress]): all pods of the node reach it by their default
//     route. --local-api-listen chooses another, and --no-local-api serves no pods.
//
// # Online: the API server's answers
//
// While the link is connected, each request of a service account goes to the API server on a
// stream of its own (Config.Transport) and its answer comes back as it is: whole lists and
// their pages, watches of every kind, all verbs and subresources, discovery, OpenAPI, tables,
// logs, exec and port forwards of any pod. The request has the account's own token, which the
// API server authenticates, authorizes and audits, and with which it judges Impersonate
// headers. cloudcore adds nothing to it and checks before that the token is of a pod on this
// node; no credential of the node or of cloudcore ever serves it. Nothing of an answer is kept
// but what is in flight: a list of 50,000 objects takes as little memory as a short one.
//
// The health paths are always this server's own. Clients that are the node's administrator are
// always served from the store.
//
// # Offline: what the node holds
//
// Without the link the store answers. The header "Edgekit-Partial: true" of lists, watches and
// discovery says that there may be more in the cluster; a Warning, which kubectl and client-go
// print, names the kind. Kinds that the node does not hold, and writes other than of events,
// get 503 with the reason Offline in details.causes. So do Services and EndpointSlices on a
// node that does not hold them (see --local-api-services): nobody must take it for a cluster
// without Services.
//
// Discovery has the kinds that the node can answer, and a Warning. It does not have those that the
// API server served last: a client would find kinds that fail at each request. Of a group or version
// that the node does not hold, only the API server can say that there is none, so that offline gets
// 503 and not 404: client-go reports an error that may be tried again, and no program takes the
// cluster for an old one. The verbs are those of the kind and not of the moment, because clients
// keep discovery for hours; a write offline gets the reason Offline. A client that has discovered
// kinds offline finds the others when it looks for one that it does not know, as client-go's REST
// mappers and kubectl do.
//
// The two never mix. A resourceVersion of the store is above 4e18, which no API server
// reaches. A watch ends when the link is lost, as any watch ends. Its client watches again: at
// the API server from where it was, if the link is back, so that it misses nothing. Otherwise
// it gets 410 Gone here, and lists again. When the link is back, the watches of the store end
// with 410 Gone; a list that asks for a version of the store gets the API server's newest.
// client-go's informers do all of this by themselves.
//
// What programs in pods do offline:
//
//   - CoreDNS and kube-proxy go on, on a node that holds the Services.
//   - node-exporter, fluent-bit and others that read the machine go on. What they ask of the
//     API about pods of this node is answered.
//   - Prometheus goes on with the targets on this node, and loses all others until the link
//     is back.
//   - An operator's informers keep the objects of kinds that the node does not hold, and see
//     only the node's objects of those that it holds. Its writes fail.
//   - A DRA driver prepares the claims of this node's pods: the node holds each ResourceClaim of
//     its pods (resource.k8s.io/v1), and answers it by the driver's own rights. What a driver
//     writes, its ResourceSlices and the status of claims, waits for the link.
//   - A program with leader election loses its Lease, as on any machine that is cut off, since
//     another replica may lead by now. One that has no other replica should run without.
//   - metrics-server answers nothing, because it asks the API server who its clients are.
//
// # Endpoints of the node's own group
//
// EndpointSlices of Services with the annotation apps.kubeedge.io/service-topology=range-nodegroup
// have only the endpoints on nodes with the same label apps.kubeedge.io/belonging-to as this
// node, those on this node, and those on no node. They follow the labels at once: a watch sends a
// MODIFIED. As long as there is such a Service, EndpointSlices are answered from the store to
// service accounts too, online as offline, since the API server does not know for which node it
// answers. A watch that was passed on before the first such Service came is whole until it
// ends. Endpoints (v1) are not held, and are whole. With a cloudcore of an older version nothing
// is left out.
//
// # What the store serves
//
// The API serves pods, config maps, secrets, the pods' ResourceClaims, the Node, the pods' Namespaces,
// Services, EndpointSlices and RBAC objects as the cloud sent them, the resources in
// Config.Custom, and those that EdgeSyncs (sites.edgekit.io, package controller/sites) have
// the node hold, from the moment when they come until they go. Of a namespace that no EdgeSync
// names, a list of these gets 503, and not an empty answer; where all objects are held, one that is
// not here gets 404. It has the objects that this node needs, not all of the cluster. A pod
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
// A resourceVersion is a revision of the store, to which 4e18 is added. A watch from a revision that the store no
// longer knows, or that does not keep up, ends with 410 Gone, and the client lists again.
// The same happens after each restart of the program. The events of a watch come in
// revision order and without gaps. When a watch with a selector begins in the past, it may
// report the deletion of an object that the client never had. The pages of a list are not
// one snapshot: a watch from the list's resourceVersion delivers what changed between
// them.
//
// # What the cloud does for the administrator
//
// While the link is connected, the cloud executes the administrator's writes, and reads of
// objects that are not here, as the node (system:node:NAME), which Kubernetes' node authorizer
// and NodeRestriction limit. A cloudcore of an older version does the same for service
// accounts, with their tokens. So the node gives nobody more rights than the cluster does. When
// a client sends back a resourceVersion of the store, the node restores the API server's own.
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
// back: no pod could renew its token. The token is bound to its pod, so it ends with it. Until
// the pod has a new one, the store answers it, since the API server would not.
//
// # Its certificate, and pods
//
// An authority that the node makes in Config.Dir signs the server's certificate. Its key
// never leaves the node. A client on this node trusts this authority besides the
// cluster's, and only for this server. In pods, edged adds its certificate to ca.crt of
// kube-root-ca.crt, which also keeps the cluster's, and sets KUBERNETES_SERVICE_HOST and
// KUBERNETES_SERVICE_PORT, so that rest.InClusterConfig uses this server. Pods in the
// host's network reach a loopback address; all other pods need another address of the
// machine. The Service kubernetes is left as it is: where kube-proxy runs and the node reaches
// the API server, its ClusterIP and kubernetes.default.svc work too, and ca.crt trusts both.
//
// # Limits
//
// A request body has at most Config.MaxBody bytes, a client at most Config.MaxWatches
// watches, a selector at most 16 KiB. A client must read each event within 30 s. A watch
// of the store holds the names of the objects that its client has, and no objects.
//
// At the API server a client has at most Config.MaxWatches watches and other long requests open
// and Config.MaxRequests others, and all clients Config.MaxStreams; beyond that they get 429 with
// Retry-After. An answer whose client reads next to nothing ends after 30 s. [Server.Stats] counts
// requests by source and status.
//
// # Stability
//
// Paths and forms are Kubernetes' own. The Go API may change until version 1.
package apiserver
