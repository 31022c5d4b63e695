// Package sites is the controller of EdgeSyncs (group sites.edgekit.io): objects of any resource of
// the cluster, such as custom resources, that edge nodes hold so that their programs can read and
// watch them while the node is cut off.
//
//	c, err := sites.New(sites.Config{Cloud: client, Dynamic: dynamic, Nodes: nodes})
//	err = c.Run(ctx)
//
// Package controller does this for its Config.Sites. The types are in package v1alpha1.
//
// An EdgeSync names one resource, by group, version and plural name, and optionally some namespaces
// and labels of its objects. It chooses edge nodes by labels, or by NodeGroups. A node that was chosen
// gets the objects as it gets its pods: by a [hub.Source], newest version first, only differences
// after a time without a link. Its own API (meta/apiserver) then serves them offline, with discovery
// and watches, to pods whose service accounts have the right by RBAC. Online, pods get the API
// server's own answers, as for every kind.
//
// # What may not be named
//
// Secrets, tokens and what nodes hold in any case (pods, config maps, Services, RBAC, devices and
// so on) are refused: reason NotAllowed.
//
// # Rights
//
// cloudcore has no right to read other resources. An administrator gives it one by a ClusterRole
// with the label rbac.edgekit.io/aggregate-to-cloudcore: "true", which Kubernetes adds to the
// ClusterRole edgekit:cloudcore-synced. Until then the EdgeSync has the condition Forbidden, whose
// message is the ClusterRole to apply. If the right is removed, nodes keep what they have.
//
// Nodes get what cloudcore may read, so whoever may write EdgeSyncs decides what nodes learn: the
// shipped roles give that right to nobody but cluster administrators. A node's kubelet may set most
// labels of its own Node. Where that matters, let nodeSelector ask for a label below
// node-restriction.kubernetes.io, which nodes may not set.
//
// # Limits
//
// limit bounds the objects of one EdgeSync: 1000 and 16 MiB of JSON by default, and at most 20,000 and
// 256 MiB. cloudcore reads no more than that. If there are more, nodes get the first in the order
// of namespace and name, the condition LimitExceeded is True, and cloudcore looks again every 30
// seconds. One node holds at most 50,000 objects and 512 MiB, as the limits of its EdgeSyncs add up, and
// 256 EdgeSyncs; the oldest EdgeSyncs come first. cloudcore serves 1000 EdgeSyncs.
//
// # Resources that come and go
//
// An EdgeSync may be there before its CRD: cloudcore asks the API server every few seconds, and the
// reason is NotServed until then. When a CRD is deleted, the API server deletes its objects, and so
// do nodes; after half a minute without the resource, nodes no longer serve its paths. An API server
// that does not answer deletes nothing.
//
// # KubeEdge
//
// KubeEdge's dynamic controller and its MetaServer begin when a program on the edge first lists or
// watches a resource: one that starts offline finds nothing, and what a node holds is decided by what
// its programs ask for. EdgeSyncs say it beforehand, in one place, with a limit. KubeEdge's sync controller
// writes an ObjectSync to the API server for an object and its node; here no API object is written for
// either. KubeEdge adds ClusterRoles with the label rbac/aggregate-to-cloudcore to its cloudcore's rights;
// these are not used, because its own broad role has that label too: label the ones for custom resources
// as above.
//
// # Several cloudcores
//
// Each reads the objects for the nodes that are connected to it. Config.Mine says which of them writes the
// status of an EdgeSync.
//
// Methods of a Controller may be called by several goroutines at once.
package sites
