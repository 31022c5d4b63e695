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
// +kubebuilder:validation:XValidation:rule="has(self.updateFields) == has(oldSelf.updateFields) && (!has(self.updateFields) || self.updateFields == oldSelf.updateFields) && has(self.rollbackOnFailure) == has(oldSelf.rollbackOnFailure) && (!has(self.rollbackOnFailure) || self.rollbackOnFailure == oldSelf.rollbackOnFailure) && has(self.health) == has(oldSelf.health) && (!has(self.health) || self.health == oldSelf.health) && has(self.nodeNames) == has(oldSelf.nodeNames) && (!has(self.nodeNames) || self.nodeNames == oldSelf.nodeNames) && has(self.labelSelector) == has(oldSelf.labelSelector) && (!has(self.labelSelector) || self.labelSelector == oldSelf.labelSelector) && has(self.concurrency) == has(oldSelf.concurrency) && (!has(self.concurrency) || self.concurrency == oldSelf.concurrency) && has(self.timeoutSeconds) == has(oldSelf.timeoutSeconds) && (!has(self.timeoutSeconds) || self.timeoutSeconds == oldSelf.timeoutSeconds) && has(self.failureTolerate) == has(oldSelf.failureTolerate) && (!has(self.failureTolerate) || self.failureTolerate == oldSelf.failureTolerate) && has(self.rollout) == has(oldSelf.rollout) && (!has(self.rollout) || self.rollout == oldSelf.rollout) && has(self.window) == has(oldSelf.window) && (!has(self.window) || self.window == oldSelf.window) && has(self.postCompleteDelay) == has(oldSelf.postCompleteDelay) && (!has(self.postCompleteDelay) || self.postCompleteDelay == oldSelf.postCompleteDelay) && has(self.deadline) == has(oldSelf.deadline) && (!has(self.deadline) || self.deadline == oldSelf.deadline) && has(self.ttlSecondsAfterFinished) == has(oldSelf.ttlSecondsAfterFinished) && (!has(self.ttlSecondsAfterFinished) || self.ttlSecondsAfterFinished == oldSelf.ttlSecondsAfterFinished)",message="the spec of a job cannot be changed but for paused and cancel: make a new job"
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
