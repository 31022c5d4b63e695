package v1alpha2

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ConfigUpdateJob changes the configuration of edgecore on edge nodes.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=configupdatejobs,scope=Cluster,shortName=cuj,categories=edgekit
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Done",type=string,JSONPath=`.status.progress`
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.nodes.failed`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.reason`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:storageversion
type ConfigUpdateJob struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what is to be done, and where.
	Spec ConfigUpdateJobSpec `json:"spec"`
	// Status says how far it is.
	Status JobStatus `json:"status,omitempty"`
}

// ConfigUpdateJobSpec says what is changed, and where.
//
// +kubebuilder:validation:XValidation:rule="has(self.labelSelector) != (has(self.nodeNames) && size(self.nodeNames) > 0)",message="exactly one of nodeNames and labelSelector is needed"
// +kubebuilder:validation:XValidation:rule="self.?updateFields == oldSelf.?updateFields && self.?rollbackOnFailure == oldSelf.?rollbackOnFailure && self.?health == oldSelf.?health && self.?nodeNames == oldSelf.?nodeNames && self.?labelSelector == oldSelf.?labelSelector && self.?concurrency == oldSelf.?concurrency && self.?timeoutSeconds == oldSelf.?timeoutSeconds && self.?failureTolerate == oldSelf.?failureTolerate && self.?rollout == oldSelf.?rollout && self.?window == oldSelf.?window && self.?postCompleteDelay == oldSelf.?postCompleteDelay && self.?deadline == oldSelf.?deadline && self.?ttlSecondsAfterFinished == oldSelf.?ttlSecondsAfterFinished",message="the spec of a job cannot be changed but for paused and cancel: make a new job"
// +kubebuilder:validation:XValidation:rule="!(has(oldSelf.cancel) && oldSelf.cancel) || (has(self.cancel) && self.cancel)",message="cancel cannot be taken back: make a new job"
type ConfigUpdateJobSpec struct {
	// UpdateFields are the settings to change: the path of a key and its new value. KubeEdge's
	// paths (modules.edgeHub.heartbeat) are understood where edgekit has such a setting.
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=128
	UpdateFields map[string]FieldValue `json:"updateFields"`
	// RollbackOnFailure brings a node that is not healthy after the change back to the
	// configuration before.
	// +kubebuilder:default=true
	RollbackOnFailure *bool `json:"rollbackOnFailure,omitempty"`
	// Health says how a node judges itself after the change.
	Health *Health `json:"health,omitempty"`

	Selection `json:",inline"`
	Control   `json:",inline"`
}

// ConfigUpdateJobList is a list of jobs.
//
// +kubebuilder:object:root=true
type ConfigUpdateJobList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items of the list.
	Items []ConfigUpdateJob `json:"items"`
}

// FieldValue is the new value of a setting, as text.
//
// +kubebuilder:validation:MaxLength=8192
type FieldValue string
