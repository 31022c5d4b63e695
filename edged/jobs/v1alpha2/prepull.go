package v1alpha2

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ImagePrePullJob pulls images on edge nodes before they are needed. The images are not
// removed from the nodes while the job exists.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=imageprepulljobs,scope=Cluster,shortName=ipj,categories=edgekit
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Done",type=string,JSONPath=`.status.progress`
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.nodes.failed`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.reason`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:storageversion
type ImagePrePullJob struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what is to be done, and where.
	Spec ImagePrePullJobSpec `json:"spec"`
	// Status says how far it is.
	Status JobStatus `json:"status,omitempty"`
}

// ImagePrePullJobSpec says which images are pulled, and where.
//
// +kubebuilder:validation:XValidation:rule="has(self.imagePrePullTemplate.labelSelector) != (has(self.imagePrePullTemplate.nodeNames) && size(self.imagePrePullTemplate.nodeNames) > 0)",message="exactly one of nodeNames and labelSelector is needed in imagePrePullTemplate"
// +kubebuilder:validation:XValidation:rule="has(self.imagePrePullTemplate) == has(oldSelf.imagePrePullTemplate) && (!has(self.imagePrePullTemplate) || self.imagePrePullTemplate == oldSelf.imagePrePullTemplate) && has(self.rollout) == has(oldSelf.rollout) && (!has(self.rollout) || self.rollout == oldSelf.rollout) && has(self.window) == has(oldSelf.window) && (!has(self.window) || self.window == oldSelf.window) && has(self.postCompleteDelay) == has(oldSelf.postCompleteDelay) && (!has(self.postCompleteDelay) || self.postCompleteDelay == oldSelf.postCompleteDelay) && has(self.deadline) == has(oldSelf.deadline) && (!has(self.deadline) || self.deadline == oldSelf.deadline) && has(self.ttlSecondsAfterFinished) == has(oldSelf.ttlSecondsAfterFinished) && (!has(self.ttlSecondsAfterFinished) || self.ttlSecondsAfterFinished == oldSelf.ttlSecondsAfterFinished)",message="the spec of a job cannot be changed but for paused and cancel: make a new job"
// +kubebuilder:validation:XValidation:rule="!(has(oldSelf.cancel) && oldSelf.cancel) || (has(self.cancel) && self.cancel)",message="cancel cannot be taken back: make a new job"
type ImagePrePullJobSpec struct {
	// ImagePrePullTemplate says which images are pulled, and where.
	ImagePrePullTemplate ImagePrePullTemplate `json:"imagePrePullTemplate"`

	Control `json:",inline"`
}

// ImagePrePullJobList is a list of jobs.
//
// +kubebuilder:object:root=true
type ImagePrePullJobList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items of the list.
	Items []ImagePrePullJob `json:"items"`
}

// ImagePrePullTemplate says which images are pulled, and where.
type ImagePrePullTemplate struct {
	// Images to pull.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	// +listType=atomic
	Images []string `json:"images"`
	// ImageSecrets is the pull secret, NAMESPACE/NAME.
	// +kubebuilder:validation:MaxLength=507
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$`
	ImageSecrets string `json:"imageSecrets,omitempty"`
	// RetryTimes is how often a pull that failed is tried again.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	RetryTimes int32 `json:"retryTimes,omitempty"`
	// CheckItems are checked before a node begins.
	// +kubebuilder:validation:MaxItems=3
	// +listType=set
	CheckItems []CheckItem `json:"checkItems,omitempty"`

	Selection `json:",inline"`
}
