package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Labels, annotations and the finalizer of groups.
const (
	// BelongingToLabel is the label of a node with the name of its group.
	BelongingToLabel = "apps.kubeedge.io/belonging-to"
	// LeftGroupAnnotation is on a node that left a group whose pods must be evicted there. It
	// has the group's name, and is removed when all evictions are accepted.
	LeftGroupAnnotation = "apps.edgekit.io/left-group"
	// NodeGroupFinalizer keeps a NodeGroup until no node has its labels.
	NodeGroupFinalizer = "apps.kubeedge.io/nodegroup-controller"
)

// NodeGroup is a set of edge nodes. A node is in one group at most.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=nodegroups,scope=Cluster,shortName=ng,categories=edgekit
// +kubebuilder:printcolumn:name="Nodes",type=integer,JSONPath=`.status.nodes.total`
// +kubebuilder:printcolumn:name="Ready",type=integer,JSONPath=`.status.nodes.ready`
// +kubebuilder:printcolumn:name="Conflict",type=string,JSONPath=`.status.conditions[?(@.type=="Conflict")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="metadata.name must have at most 63 characters, because it is the value of a label of nodes"
type NodeGroup struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says which nodes are in the group.
	Spec NodeGroupSpec `json:"spec"`
	// Status says which nodes are in the group, and why others are not.
	Status NodeGroupStatus `json:"status,omitempty"`
}

// NodeGroupSpec says which nodes are in the group: those that nodes names, and those that have
// all labels of matchLabels. If two groups want a node, the older group has it.
//
// +kubebuilder:validation:XValidation:rule="!has(self.matchLabels) || !('apps.kubeedge.io/belonging-to' in self.matchLabels)",message="matchLabels must not have apps.kubeedge.io/belonging-to: the group itself sets this label"
type NodeGroupSpec struct {
	// Nodes are names of edge nodes.
	// +kubebuilder:validation:MaxItems=10000
	// +listType=atomic
	Nodes []NodeName `json:"nodes,omitempty"`
	// MatchLabels are labels of edge nodes. A node must have all of them. Without any, no node
	// is selected by labels.
	// +kubebuilder:validation:MaxProperties=32
	MatchLabels map[string]string `json:"matchLabels,omitempty"`
	// TopologyEnabled sets the label topology.kubernetes.io/zone of the nodes to the name of
	// the group too, so that trafficDistribution of a Service keeps traffic within the group. A
	// zone that somebody else set stays.
	TopologyEnabled bool `json:"topologyEnabled,omitempty"`
	// EvictOnLeave evicts the pods that must run in the group from a node that leaves it.
	// PodDisruptionBudgets are respected.
	// +kubebuilder:default=true
	EvictOnLeave *bool `json:"evictOnLeave,omitempty"`
}

// NodeName is the name of a node.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
type NodeName string

// NodeGroupStatus is what became of a NodeGroup.
type NodeGroupStatus struct {
	// NodeStatuses are the nodes of the group, and those that it wants and cannot have, sorted by
	// name: 500 at most. Those that failed come before others if there are more.
	// +listType=atomic
	NodeStatuses []NodeStatus `json:"nodeStatuses,omitempty"`
	// Nodes counts all nodes.
	Nodes NodeCounts `json:"nodes,omitempty"`
	// Conditions: Conflict is True if a node of the group is wanted by another group too, or has
	// a zone of its own.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// ObservedGeneration is the generation of the spec that the status is about.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
}

// NodeCounts counts the nodes of a group.
type NodeCounts struct {
	// Total is how many nodes are in the group.
	Total int32 `json:"total"`
	// Ready is how many of them are ready.
	Ready int32 `json:"ready"`
	// Failed is how many nodes the group wants and does not have.
	Failed int32 `json:"failed"`
}

// ReadyStatus says whether a node is ready.
type ReadyStatus string

// What a node's condition Ready says.
const (
	NodeReady    ReadyStatus = "Ready"
	NodeNotReady ReadyStatus = "NotReady"
	NodeUnknown  ReadyStatus = "Unknown"
)

// SelectionStatus says whether a node is in the group.
type SelectionStatus string

// Whether a node that the group wants is in it.
const (
	SelectionSucceeded SelectionStatus = "Succeeded"
	SelectionFailed    SelectionStatus = "Failed"
)

// NodeStatus is what became of one node of a NodeGroup.
type NodeStatus struct {
	// NodeName is the name of the node.
	NodeName string `json:"nodeName"`
	// ReadyStatus is Ready, NotReady or Unknown.
	ReadyStatus ReadyStatus `json:"readyStatus"`
	// SelectionStatus is Succeeded or Failed.
	SelectionStatus SelectionStatus `json:"selectionStatus"`
	// SelectionStatusReason says why the selection failed.
	SelectionStatusReason string `json:"selectionStatusReason,omitempty"`
}

// NodeGroupList is a list of groups.
//
// +kubebuilder:object:root=true
type NodeGroupList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items of the list.
	Items []NodeGroup `json:"items"`
}
