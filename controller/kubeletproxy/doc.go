// Package kubeletproxy serves the kubelet endpoints of edge nodes in the cloud.
// The API server connects here for kubectl logs, exec, attach and port-forward,
// and metrics-server for metrics. Each request goes to the node on a stream of
// the link that the node dialed.
//
// A controller.Controller makes and runs a Server by itself:
//
//	controller.Config{Kubelet: &kubeletproxy.Config{Address: ip}, ...}
//
// # How the address identifies the node
//
// The API server dials what the Node object says: an address of the first type
// in its list of preferred types (--kubelet-preferred-address-types), and the
// port in status.daemonEndpoints. Nothing else in a request names the node: the
// path of a log names only the pod, that of metrics nothing. So each node has a
// port of its own on cloudcore's address, and its Node lists that address.
//
// Under which type is Config.AddressType. With InternalIP it is the Node's first
// InternalIP, and every API server dials it. But CNIs, kube-proxy and Prometheus
// take the first InternalIP for the node's own. With any other type the node's
// own addresses come first, and the API server must prefer that type:
//
//	API servers                               AddressType
//	without the setting (Hostname,            InternalDNS
//	  InternalDNS, InternalIP, ...)
//	kubeadm's, k3s's, kubespray's             InternalIP
//	  (InternalIP, ExternalIP, Hostname)
//	the same, with the setting changed to     InternalDNS
//	  InternalDNS,InternalIP,ExternalIP,Hostname
//	any, where its connections to the         none
//	  node's address are led to cloudcore
//
// An ordinary node has no InternalDNS unless a cloud provider sets one that can be
// resolved, so the changed setting does not concern it. Others that dial a node's
// kubelet need the same order: metrics-server has the flag of that name; Prometheus
// takes __meta_kubernetes_node_address_InternalDNS in a relabeling.
//
// The address is an IP whatever its type, and the endpoints' certificate is valid for
// it: an API server with --kubelet-certificate-authority needs no other name. The
// Node has no Hostname unless Config.Hostname is set, since an API server without the
// setting would dial it.
//
// # What decides about a port
//
// A node may write its own status and so claim another node's port. Therefore
// the label RecordLabel of the Node decides. cloudcore writes it by its own
// rights, and NodeRestriction keeps nodes from it. It also keeps a node's port
// over restarts. A port is served only while the label of its node names it. A
// port that the labels of two Nodes name is served for neither, until one of the
// nodes connects and gets another, or somebody rewrites a label.
//
// Each node costs a listening socket. A cloudcore that runs out of file
// descriptors or ports leaves further nodes without an endpoint and logs it;
// those nodes run as before.
//
// # Several cloudcores
//
// Each cloudcore writes its own address on the Nodes that are connected to it,
// so the API server dials the right one. All must have the
// same AddressType. [Holder] reads from a Node which cloudcore that is.
//
// A request that comes while its node changes over waits here for up to 5 s, until the node is
// back or its record names another cloudcore. The connection is then passed on to that one as it
// is, so that one authenticates the client. The port stays open for 5 s after that, and
// [Server.HandedOver] has a cloudcore that stops wait for it: a rolling restart fails no request.
//
// # Authentication and authorization
//
// A client shows a certificate signed by the cluster's authority for clients,
// which is read from the cluster, or a bearer token that is a JSON Web Token, as
// those of service accounts are. Connections and TokenReviews of clients that
// are not authenticated are bounded. As in a kubelet, a SubjectAccessReview asks
// the API server for the client's rights: nodes/proxy, or the narrower
// nodes/metrics, nodes/stats, nodes/pods, nodes/healthz and nodes/configz. What
// runs commands needs the verb create, also when a WebSocket comes as a GET.
//
// # Sessions
//
// Sessions are bounded, counted, and logged with user, pod, duration and bytes.
// A session ends when either side goes away. A request for a node without a link
// is answered at once with an error.
//
// # Checked against Kubernetes
//
// make conformance runs Kubernetes' own specs for kubectl and streams against a
// node that is reached in this way; make e2e-metrics runs the stock
// metrics-server (with --kubelet-use-node-status-port, as in its own manifest)
// and the autoscaler.
package kubeletproxy
