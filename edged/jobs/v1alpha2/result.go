package v1alpha2

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Permission is what the cloud allows a node to do for a job. The cloud decides it by
// windows, batches and budgets.
//
// +kubebuilder:validation:Enum="";Download;Apply;Paused;Cancelled
type Permission string

// What a node may do.
const (
	// Download lets the node fetch and verify what it needs, and no more. It then reports
	// ActionCheck done and waits.
	Download Permission = "Download"
	// Apply lets the node begin. A node that has begun goes on to its end, whatever its
	// permission becomes.
	Apply Permission = "Apply"
	// Paused lets a node that has not begun do nothing. It keeps what it has downloaded.
	Paused Permission = "Paused"
	// Cancelled makes a node that has not begun drop the job and what it has downloaded.
	Cancelled Permission = "Cancelled"
)

// NodeJobResult says what one node may do in one job and what became of it. cloudcore makes
// it when the node's turn comes near. Its job owns it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=nodejobresults,scope=Cluster,shortName=njr,categories=edgekit
// +kubebuilder:printcolumn:name="Kind",type=string,JSONPath=`.spec.kind`
// +kubebuilder:printcolumn:name="Job",type=string,JSONPath=`.spec.job`
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.spec.nodeName`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.reason`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.currentVersion`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:selectablefield:JSONPath=`.spec.nodeName`
// +kubebuilder:selectablefield:JSONPath=`.spec.job`
// +kubebuilder:storageversion
type NodeJobResult struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what the node may do.
	Spec NodeJobResultSpec `json:"spec"`
	// Status says what it did.
	Status NodeJobResultStatus `json:"status,omitempty"`
}

// NodeJobResultSpec says what a node may do in a job.
//
// +kubebuilder:validation:XValidation:rule="self.kind == oldSelf.kind && self.job == oldSelf.job && self.jobUID == oldSelf.jobUID && self.nodeName == oldSelf.nodeName",message="a result stays that of its job and node"
type NodeJobResultSpec struct {
	// Kind of the job: NodeUpgradeJob, ImagePrePullJob or ConfigUpdateJob.
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`
	// Job is the job's name.
	// +kubebuilder:validation:MaxLength=253
	Job string `json:"job"`
	// JobUID is the uid of the job.
	// +kubebuilder:validation:MaxLength=63
	JobUID string `json:"jobUID"`
	// NodeName is the node.
	// +kubebuilder:validation:MaxLength=253
	NodeName string `json:"nodeName"`
	// Batch is the number of the node's batch, from 1 on.
	Batch int32 `json:"batch,omitempty"`
	// Phase is what the node may do; empty is nothing yet.
	Phase Permission `json:"phase,omitempty"`
	// PhaseTime is since when.
	PhaseTime *metav1.Time `json:"phaseTime,omitempty"`
	// JobGeneration is the generation of the job that Phase is about.
	JobGeneration int64 `json:"jobGeneration,omitempty"`
}

// NodeJobResultStatus is what a node did. Times without the word observed are of the node's
// own clock, which may be wrong.
type NodeJobResultStatus struct {
	NodeTaskStatus `json:",inline"`

	// AcceptedTime is when the node began to apply the job.
	AcceptedTime *metav1.Time `json:"acceptedTime,omitempty"`
	// FinishedTime is when it ended.
	FinishedTime *metav1.Time `json:"finishedTime,omitempty"`
	// ObservedAcceptedTime is when cloudcore first learned that the node has begun.
	// timeoutSeconds counts from it.
	ObservedAcceptedTime *metav1.Time `json:"observedAcceptedTime,omitempty"`
	// ObservedFinishedTime is when cloudcore learned that it has ended.
	ObservedFinishedTime *metav1.Time `json:"observedFinishedTime,omitempty"`
	// Reported is true when Phase is the node's own word, and false when cloudcore set it.
	Reported bool `json:"reported,omitempty"`
	// Log is the end of the node's log about the job, of a node that failed. Secrets are
	// taken out by the node.
	// +kubebuilder:validation:MaxLength=65536
	Log string `json:"log,omitempty"`
}

// NodeJobResultList is a list of results.
//
// +kubebuilder:object:root=true
type NodeJobResultList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items of the list.
	Items []NodeJobResult `json:"items"`
}
