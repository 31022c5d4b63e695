package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// NodeUpgradeJob is the job in its older version.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=nodeupgradejobs,scope=Cluster,shortName=nuj,categories=edgekit
// +kubebuilder:deprecatedversion:warning="operations.kubeedge.io/v1alpha1 NodeUpgradeJob is the older version: use operations.kubeedge.io/v1alpha2, which has the same fields"
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.spec.version`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Done",type=string,JSONPath=`.status.progress`
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.nodes.failed`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.reason`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type NodeUpgradeJob struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what is to be done, and where.
	Spec v1alpha2.NodeUpgradeJobSpec `json:"spec"`
	// Status says how far it is.
	Status v1alpha2.JobStatus `json:"status,omitempty"`
}

// ImagePrePullJob is the job in its older version.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=imageprepulljobs,scope=Cluster,shortName=ipj,categories=edgekit
// +kubebuilder:deprecatedversion:warning="operations.kubeedge.io/v1alpha1 ImagePrePullJob is the older version: use operations.kubeedge.io/v1alpha2, which has the same fields"
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Done",type=string,JSONPath=`.status.progress`
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.nodes.failed`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.reason`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ImagePrePullJob struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what is to be done, and where.
	Spec v1alpha2.ImagePrePullJobSpec `json:"spec"`
	// Status says how far it is.
	Status v1alpha2.JobStatus `json:"status,omitempty"`
}
