// Package resources names the resources that the two ends of a link exchange.
//
// cloudcore's controllers and a node's store, agent and API must use the same
// word for one resource; both take it from here. A name is Kubernetes' plural,
// in lower case, with an optional subresource after a slash. The names are part
// of the protocol and do not change.
package resources

// State that the cloud sends to a node, and that nodes report.
const (
	Nodes      = "nodes"       // down: the node's metadata and spec; up: what it reports of itself
	Pods       = "pods"        // down: the node's pods; up: mirrors of static pods, and deletions
	PodStatus  = "pods/status" // up
	Events     = "events"      // up
	ConfigMaps = "configmaps"  // down: those that the node's pods refer to
	Secrets    = "secrets"     // down: likewise
	// Down: the claims that the node's pods refer to, and the volumes that those are
	// bound to.
	PersistentVolumeClaims = "persistentvolumeclaims"
	PersistentVolumes      = "persistentvolumes"
	// Down: what the CSI drivers of those volumes say of themselves.
	CSIDrivers = "csidrivers"
	// Down: whether the volumes of those drivers are attached to the node.
	VolumeAttachments = "volumeattachments"
	// Down: the claims of devices (resource.k8s.io) that the node's pods refer to.
	ResourceClaims = "resourceclaims"
	// Up: which DRA drivers the node has, as DRADrivers; its ResourceSlices of others go.
	ResourceSlices = "resourceslices"
	// Down: the runtime classes that the node's pods name.
	RuntimeClasses = "runtimeclasses"
	// Down: the trust bundles that the node's pods project.
	ClusterTrustBundles = "clustertrustbundles"
	// Up: which CSI drivers the node has, and to what size it has grown volumes.
	CSINodes                    = "csinodes"
	PersistentVolumeClaimStatus = "persistentvolumeclaims/status"
)

// State for the node's own Kubernetes API; it all goes down.
const (
	Namespaces          = "namespaces"
	Services            = "services"
	EndpointSlices      = "endpointslices"
	ServiceCIDRs        = "servicecidrs"
	Roles               = "roles"
	RoleBindings        = "rolebindings"
	ClusterRoles        = "clusterroles"
	ClusterRoleBindings = "clusterrolebindings"
)

// State of devices, in the API group devices.kubeedge.io.
const (
	Devices        = "devices"        // down: the devices of the node
	DeviceModels   = "devicemodels"   // down: the models of those
	DeviceStatuses = "devicestatuses" // up
)

// ConditionMQTT is the type of the Node condition that says whether the external MQTT broker of
// a node is out of reach or refuses it. Nodes without one do not have it.
const ConditionMQTT = "MQTTBrokerUnavailable"

// Rules, in the API group rules.kubeedge.io.
const (
	Rules         = "rules"         // down: the rules whose source is the node
	RuleEndpoints = "ruleendpoints" // in the cloud only
	RuleMessages  = "rulemessages"  // in the cloud only: messages for nodes that are away
	// RuleEvents are events, both ways: a message of a rule; the key is the rule's.
	RuleEvents = "rules/messages"
	// CustomMessages are events up: messages of MQTT clients that no rule asks for.
	CustomMessages = "messages"
	// RuleProxy is the resource of the streams that carry one HTTP request for a rule,
	// both ways.
	RuleProxy = "rules/proxy"
)

// Fleet jobs, in the API group operations.kubeedge.io; see package edged/jobs.
const (
	NodeJobs       = "nodejobs"       // down: what the node may do for each of its jobs
	NodeJobReports = "nodejobreports" // up: what it did
)

// Calls and streams.
const (
	// ServiceAccountToken is the call for a token of a service account; its body
	// and its answer are a TokenRequest of authentication.k8s.io.
	ServiceAccountToken = "serviceaccounts/token"
	// ServiceAccounts are read one at a time, by queries, for credential providers.
	ServiceAccounts = "serviceaccounts"
	// PodCertificateRequests is the call for a certificate for a pod; its body and its
	// answer are a PodCertificateRequest of certificates.k8s.io, its key is the pod's.
	PodCertificateRequests = "podcertificaterequests"
	// NodePods is the call for the uids of the pods that are bound to the node.
	NodePods = "nodes/pods"
	// NodeProxy is the resource of the streams by which the cloud reaches the
	// node's kubelet API; the node serves HTTP on them.
	NodeProxy = "nodes/proxy"
)

// DRADrivers is what a node reports of its drivers for Dynamic Resource Allocation.
type DRADrivers struct {
	Drivers []string `json:"drivers"` // their names, sorted
}
