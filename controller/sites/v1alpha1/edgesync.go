package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// EdgeSync has the objects of one resource held on some edge nodes, whose own Kubernetes API serves
// them while the node is cut off.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=edgesyncs,scope=Cluster,shortName=esync,categories=edgekit
// +kubebuilder:printcolumn:name="Resource",type=string,JSONPath=`.spec.resource.resource`
// +kubebuilder:printcolumn:name="Group",type=string,priority=1,JSONPath=`.spec.resource.group`
// +kubebuilder:printcolumn:name="Nodes",type=integer,JSONPath=`.status.nodes`
// +kubebuilder:printcolumn:name="Objects",type=integer,JSONPath=`.status.objects`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type EdgeSync struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says which objects which nodes hold.
	Spec EdgeSyncSpec `json:"spec"`
	// Status says what nodes hold, and what is missing for it.
	Status EdgeSyncStatus `json:"status,omitempty"`
}

// EdgeSyncSpec says which objects which nodes hold.
//
// +kubebuilder:validation:XValidation:rule="has(self.nodeSelector) != (has(self.nodeGroups) && size(self.nodeGroups) > 0)",message="exactly one of nodeSelector and nodeGroups must be set: nodeSelector: {} is all edge nodes"
type EdgeSyncSpec struct {
	// Resource is the kind of the objects, by the name that its paths have. It cannot be changed:
	// delete the EdgeSync and make another.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="resource cannot be changed: delete the EdgeSync and make another"
	Resource Resource `json:"resource"`
	// Namespaces are those of the objects; none means all. Must be empty for a resource that is
	// cluster-scoped.
	// +kubebuilder:validation:MaxItems=20
	// +listType=set
	Namespaces []Namespace `json:"namespaces,omitempty"`
	// LabelSelector selects the objects by their labels; nothing selects all.
	LabelSelector *metav1.LabelSelector `json:"labelSelector,omitempty"`
	// NodeSelector selects edge nodes by their labels; {} selects all.
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
	// NodeGroups are names of NodeGroups (apps.kubeedge.io), whose nodes hold the objects.
	// +kubebuilder:validation:MaxItems=100
	// +listType=set
	NodeGroups []NodeGroup `json:"nodeGroups,omitempty"`
	// Limit bounds what a node holds by this EdgeSync. Objects above it, in the order of namespace
	// and name, are not held.
	// +kubebuilder:default={objects: 1000, bytes: "16Mi"}
	Limit Limit `json:"limit,omitempty"`
}

// Resource is a resource of the API server.
type Resource struct {
	// Group of the resource; "" is the core group.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$`
	Group string `json:"group"`
	// Version in which the node's API serves the objects, such as "v1".
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z]([-a-z0-9]*[a-z0-9])?$`
	Version string `json:"version"`
	// Resource is the plural name in lower case, such as "recipes".
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z]([-a-z0-9]*[a-z0-9])?$`
	Resource string `json:"resource"`
}

// Namespace is the name of a namespace.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
type Namespace string

// NodeGroup is the name of a NodeGroup.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
type NodeGroup string

// Limit bounds objects.
type Limit struct {
	// Objects is how many; 0 means 1000.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=20000
	// +kubebuilder:default=1000
	Objects int32 `json:"objects,omitempty"`
	// Bytes is how much their JSON has together; nothing means 16Mi, and 256Mi is the most.
	// +kubebuilder:default="16Mi"
	Bytes *resource.Quantity `json:"bytes,omitempty"`
}

// EdgeSyncStatus is what became of an EdgeSync.
type EdgeSyncStatus struct {
	// ObservedGeneration is the generation of the spec that the status is about.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Names is what the API server says of the resource; nothing if it does not serve it.
	Names *Names `json:"names,omitempty"`
	// Nodes is how many edge nodes hold the objects, or will when they are connected.
	Nodes int32 `json:"nodes,omitempty"`
	// Objects is how many objects each of them holds.
	Objects int32 `json:"objects,omitempty"`
	// Bytes is how much their JSON has.
	Bytes int64 `json:"bytes,omitempty"`
	// Conditions: Ready, whose reason says what is missing; Forbidden is True while cloudcore may
	// not read the resource, and its message has what to apply; LimitExceeded is True while
	// objects are left out.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Names is what discovery says of a resource.
type Names struct {
	// Kind of its objects.
	Kind string `json:"kind"`
	// Singular is its name for one object.
	Singular string `json:"singular,omitempty"`
	// ShortNames are further names for kubectl.
	// +listType=atomic
	ShortNames []string `json:"shortNames,omitempty"`
	// Namespaced reports whether its objects are in namespaces.
	Namespaced bool `json:"namespaced"`
}

// Types of conditions.
const (
	ConditionReady         = "Ready"
	ConditionForbidden     = "Forbidden"
	ConditionLimitExceeded = "LimitExceeded"
)

// Reasons of the condition Ready.
const (
	ReasonSynced        = "Synced"           // nodes get all objects
	ReasonReading       = "Reading"          // cloudcore reads the objects for the first time
	ReasonInvalid       = "Invalid"          // the spec cannot be done
	ReasonNotAllowed    = "NotAllowed"       // the resource is one that no EdgeSync may have
	ReasonNotServed     = "NotServed"        // the API server has no such resource
	ReasonForbidden     = "Forbidden"        // cloudcore may not read it
	ReasonUnavailable   = "Unavailable"      // the API server does not answer
	ReasonLimitExceeded = "LimitExceeded"    // objects are left out
	ReasonNodesFull     = "NodesFull"        // older EdgeSyncs fill some nodes
	ReasonTooMany       = "TooManyEdgeSyncs" // there are more EdgeSyncs than cloudcore serves
)

// Limits that hold for all EdgeSyncs.
const (
	DefaultObjects = 1000      // Limit.Objects
	DefaultBytes   = 16 << 20  // Limit.Bytes
	MaxBytes       = 256 << 20 // the most of Limit.Bytes
)

// EdgeSyncList is a list of EdgeSyncs.
//
// +kubebuilder:object:root=true
type EdgeSyncList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items of the list.
	Items []EdgeSync `json:"items"`
}
