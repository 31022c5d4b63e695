package v1alpha2

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Device is a device in the form of v1alpha2, which is not served: convert the file with
// 'edgectl device convert FILE' and apply the result.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=devices,shortName=dev,categories=all;edgekit
// +kubebuilder:deprecatedversion:warning="devices.kubeedge.io/v1alpha2 is not supported: convert the file with 'edgectl device convert FILE', which writes v1beta1"
// +kubebuilder:validation:XValidation:rule="false",message="a Device of v1alpha2 cannot be stored: convert the file with 'edgectl device convert FILE', which writes v1beta1, and apply that"
type Device struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec in the form of v1alpha2.
	// +kubebuilder:pruning:PreserveUnknownFields
	Spec runtime.RawExtension `json:"spec,omitempty"`
	// Status in the form of v1alpha2.
	// +kubebuilder:pruning:PreserveUnknownFields
	Status runtime.RawExtension `json:"status,omitempty"`
}

// DeviceModel is a model in the form of v1alpha2, which is not served: convert the file with
// 'edgectl device convert FILE' and apply the result.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=devicemodels,shortName=devmodel,categories=all;edgekit
// +kubebuilder:deprecatedversion:warning="devices.kubeedge.io/v1alpha2 is not supported: convert the file with 'edgectl device convert FILE', which writes v1beta1"
// +kubebuilder:validation:XValidation:rule="false",message="a DeviceModel of v1alpha2 cannot be stored: convert the file with 'edgectl device convert FILE', which writes v1beta1, and apply that"
type DeviceModel struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec in the form of v1alpha2.
	// +kubebuilder:pruning:PreserveUnknownFields
	Spec runtime.RawExtension `json:"spec,omitempty"`
}
