package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Labels and annotations of applications.
const (
	// SiteLabel is the label of a copy, and of the pods of a copy that is new, with the name of
	// its site: the group, the node, or "ls-" and a hash for a selector of labels.
	SiteLabel = "apps.edgekit.io/site"
	// ApplicationLabel is the label of every object of an application, with its name.
	ApplicationLabel = "apps.edgekit.io/application"
	// ServiceTopologyAnnotation is on a Service of an application: nodes keep its endpoints
	// within their group if the value is ServiceTopologyNodeGroup.
	ServiceTopologyAnnotation = "apps.kubeedge.io/service-topology"
	// ServiceTopologyNodeGroup is the value of ServiceTopologyAnnotation.
	ServiceTopologyNodeGroup = "range-nodegroup"
)

// EdgeApplication is a template of objects. Workloads of it (Deployment, StatefulSet, DaemonSet,
// Job, CronJob) get a copy for each target, other objects exist once.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=edgeapplications,scope=Namespaced,shortName=eapp,categories=edgekit
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.summary`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Applied")].reason`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Applied")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="metadata.name must have at most 63 characters, because it is the value of a label"
type EdgeApplication struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what the application is and where it runs.
	Spec EdgeApplicationSpec `json:"spec"`
	// Status says what became of it.
	Status EdgeApplicationStatus `json:"status,omitempty"`
}

// EdgeApplicationSpec says what the application is and where it runs.
type EdgeApplicationSpec struct {
	// WorkloadTemplate has the objects of the application.
	WorkloadTemplate ResourceTemplate `json:"workloadTemplate,omitempty"`
	// WorkloadScope says which copies there are.
	WorkloadScope WorkloadScope `json:"workloadScope"`
}

// ResourceTemplate has objects.
type ResourceTemplate struct {
	// Manifests are objects of kinds that live in a namespace: Deployment, StatefulSet, DaemonSet,
	// Job, CronJob, Service, ConfigMap, PersistentVolumeClaim, ServiceAccount, Ingress,
	// NetworkPolicy, PodDisruptionBudget, HorizontalPodAutoscaler. All are made in the namespace
	// of the application.
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	Manifests []Manifest `json:"manifests,omitempty"`
}

// Manifest is one object.
//
// +kubebuilder:validation:EmbeddedResource
// +kubebuilder:pruning:PreserveUnknownFields
type Manifest struct {
	runtime.RawExtension `json:",inline"`
}

// WorkloadScope says which copies there are: one for each target.
type WorkloadScope struct {
	// TargetNodeGroups name groups.
	// +kubebuilder:validation:MaxItems=1000
	// +listType=map
	// +listMapKey=name
	TargetNodeGroups []TargetNodeGroup `json:"targetNodeGroups,omitempty"`
	// TargetNodeGroupSelector selects groups by their labels. A group that targetNodeGroups
	// names has the overriders from there.
	TargetNodeGroupSelector *TargetNodeGroupSelector `json:"targetNodeGroupSelector,omitempty"`
	// TargetNodeLabels select nodes by their labels.
	// +kubebuilder:validation:MaxItems=100
	// +listType=atomic
	TargetNodeLabels []TargetNodeLabels `json:"targetNodeLabels,omitempty"`
}

// TargetNodeGroup is a group with what is different there.
type TargetNodeGroup struct {
	// Name of the group. A group that does not exist yet has its copy already.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// PerNode makes a copy for each node of the group.
	PerNode bool `json:"perNode,omitempty"`
	// Overriders say what is different there.
	Overriders Overriders `json:"overriders,omitempty"`
}

// TargetNodeGroupSelector selects groups.
type TargetNodeGroupSelector struct {
	// LabelSelector selects groups by their labels. An empty one selects all.
	LabelSelector metav1.LabelSelector `json:"labelSelector"`
	// PerNode makes a copy for each node of the groups.
	PerNode bool `json:"perNode,omitempty"`
	// Overriders say what is different there.
	Overriders Overriders `json:"overriders,omitempty"`
}

// TargetNodeLabels selects nodes.
type TargetNodeLabels struct {
	// LabelSelector selects nodes by their labels. An empty one selects all edge nodes.
	LabelSelector metav1.LabelSelector `json:"labelSelector"`
	// PerNode makes a copy for each of the nodes.
	PerNode bool `json:"perNode,omitempty"`
	// Overriders say what is different there.
	Overriders Overriders `json:"overriders,omitempty"`
}

// EdgeApplicationStatus is what became of an application.
type EdgeApplicationStatus struct {
	// WorkloadStatus are the objects of the application: 500 at most.
	// +listType=atomic
	WorkloadStatus []ManifestStatus `json:"workloadStatus,omitempty"`
	// Summary is how many sites are ready, for example "3/4 sites".
	Summary string `json:"summary,omitempty"`
	// Sites are the sites, sorted by name: 200 at most. Those that are not ready come before
	// others if there are more.
	// +listType=atomic
	Sites []SiteStatus `json:"sites,omitempty"`
	// Conditions: Applied is True if all objects are as the template wants them. Ready is True if
	// all workloads of all sites are available.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// ObservedGeneration is the generation of the spec that the status is about.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
}

// Conditions of an application and of a group.
const (
	ConditionApplied  = "Applied"
	ConditionReady    = "Ready"
	ConditionConflict = "Conflict"
)

// SiteStatus is what became of the copies of one site.
type SiteStatus struct {
	// Name of the site.
	Name string `json:"name"`
	// Ready is true if all workloads of the site are available.
	Ready bool `json:"ready"`
	// Workloads is how many workloads of the site are available, for example "1/2".
	Workloads string `json:"workloads,omitempty"`
}

// ManifestCondition says how far an object is.
type ManifestCondition string

// How far an object is.
const (
	// EdgeAppProcessing is an object that is not there, or not ready.
	EdgeAppProcessing ManifestCondition = "Processing"
	// EdgeAppAvailable is an object that is there, with all its pods ready.
	EdgeAppAvailable ManifestCondition = "Available"
)

// ManifestStatus is what became of one object.
type ManifestStatus struct {
	// Identifier names the object.
	Identifier ResourceIdentifier `json:"identifier"`
	// Conditions is Processing or Available.
	Conditions ManifestCondition `json:"conditions,omitempty"`
}

// ResourceIdentifier names an object.
type ResourceIdentifier struct {
	// Ordinal is the index of the manifest that the object comes from.
	Ordinal int `json:"ordinal"`
	// Group is the API group of the object.
	Group string `json:"group,omitempty"`
	// Version is the API version of the object.
	Version string `json:"version"`
	// Kind is the kind of the object.
	Kind string `json:"kind"`
	// Resource is the resource of the object, as paths have it.
	Resource string `json:"resource"`
	// Namespace of the object.
	Namespace string `json:"namespace"`
	// Name of the object.
	Name string `json:"name"`
}

// EdgeApplicationList is a list of applications.
//
// +kubebuilder:object:root=true
type EdgeApplicationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items of the list.
	Items []EdgeApplication `json:"items"`
}

// Overriders say what is different in the copies of one target. They are applied in this order:
// replicas, images, commands, args, env, resources, patches.
type Overriders struct {
	// Replicas of Deployments and StatefulSets.
	// +kubebuilder:validation:Minimum=0
	Replicas *int `json:"replicas,omitempty"`
	// ImageOverriders change images of all containers and init containers.
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	ImageOverriders []ImageOverrider `json:"imageOverriders,omitempty"`
	// EnvOverriders change the environment of containers.
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	EnvOverriders []EnvOverrider `json:"envOverriders,omitempty"`
	// CommandOverriders change the command of containers.
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	CommandOverriders []CommandArgsOverrider `json:"commandOverriders,omitempty"`
	// ArgsOverriders change the args of containers.
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	ArgsOverriders []CommandArgsOverrider `json:"argsOverriders,omitempty"`
	// ResourcesOverriders replace the resources of containers.
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	ResourcesOverriders []ResourcesOverrider `json:"resourcesOverriders,omitempty"`
	// Patches change anything else of the copies, one after the other.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	Patches []Patch `json:"patches,omitempty"`
}

// OverriderOperator is what an overrider does.
//
// +kubebuilder:validation:Enum=add;remove;replace
type OverriderOperator string

// What an overrider does.
const (
	OverriderAdd     OverriderOperator = "add"
	OverriderRemove  OverriderOperator = "remove"
	OverriderReplace OverriderOperator = "replace"
)

// ImageComponent is a part of an image's name.
//
// +kubebuilder:validation:Enum=Registry;Repository;Tag
type ImageComponent string

// The parts of an image's name.
const (
	Registry   ImageComponent = "Registry"
	Repository ImageComponent = "Repository"
	Tag        ImageComponent = "Tag"
)

// ImageOverrider changes a part of the names of images.
type ImageOverrider struct {
	// Predicate chooses one image. Without it all images of the pod template are changed.
	Predicate *ImagePredicate `json:"predicate,omitempty"`
	// Component is the part of the name that is changed: the tag is the digest, too.
	Component ImageComponent `json:"component"`
	// Operator: add appends value to the component, remove removes the component, replace
	// replaces it by value.
	Operator OverriderOperator `json:"operator"`
	// Value to add or to replace by.
	// +kubebuilder:validation:MaxLength=1024
	Value string `json:"value,omitempty"`
}

// ImagePredicate chooses an image.
type ImagePredicate struct {
	// Path is the JSON pointer of the image in the object, for example
	// /spec/template/spec/containers/0/image.
	// +kubebuilder:validation:MaxLength=1024
	Path string `json:"path"`
}

// EnvOverrider changes the environment of a container.
type EnvOverrider struct {
	// ContainerName is the name of the container.
	ContainerName string `json:"containerName"`
	// Operator: add appends variables, and replaces those of the same name; remove removes them
	// by name; replace replaces them where they are, and appends others.
	Operator OverriderOperator `json:"operator"`
	// Value are the variables.
	// +kubebuilder:validation:MaxItems=256
	// +listType=atomic
	Value []corev1.EnvVar `json:"value,omitempty"`
}

// CommandArgsOverrider changes the command or the args of a container.
//
// +kubebuilder:validation:XValidation:rule="self.operator != 'replace'",message="operator must be add or remove"
type CommandArgsOverrider struct {
	// ContainerName is the name of the container.
	ContainerName string `json:"containerName"`
	// Operator: add appends the values, remove removes each value wherever it is.
	Operator OverriderOperator `json:"operator"`
	// Value are the words.
	// +kubebuilder:validation:MaxItems=256
	// +listType=atomic
	Value []string `json:"value,omitempty"`
}

// ResourcesOverrider replaces the resources of a container.
type ResourcesOverrider struct {
	// ContainerName is the name of the container.
	ContainerName string `json:"containerName"`
	// Value is what the container gets.
	Value corev1.ResourceRequirements `json:"value,omitempty"`
}

// PatchType is the form of a patch.
//
// +kubebuilder:validation:Enum=JSON6902;StrategicMerge
type PatchType string

// The forms of patches.
const (
	// JSON6902 is a list of operations, RFC 6902.
	JSON6902 PatchType = "JSON6902"
	// StrategicMerge is a part of an object, as kubectl patch takes it.
	StrategicMerge PatchType = "StrategicMerge"
)

// Patch changes anything of the copies. The name, the namespace, the kind and the selector of
// nodes cannot be changed.
type Patch struct {
	// Target says which manifests are changed. Without it: all of which there are copies.
	Target PatchTarget `json:"target,omitempty"`
	// Type is JSON6902 or StrategicMerge.
	// +kubebuilder:default=StrategicMerge
	Type PatchType `json:"type,omitempty"`
	// Patch is the patch in YAML or JSON.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	Patch string `json:"patch"`
}

// PatchTarget says which manifests a patch changes.
type PatchTarget struct {
	// Kind of the manifests; empty is any.
	Kind string `json:"kind,omitempty"`
	// Name of the manifest in the template; empty is any.
	Name string `json:"name,omitempty"`
}
