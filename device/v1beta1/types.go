package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// Device is one device at the edge.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=devices,shortName=dev,categories=edgekit
// +kubebuilder:printcolumn:name="Model",type=string,JSONPath=`.spec.deviceModelRef.name`
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.spec.nodeName`
// +kubebuilder:printcolumn:name="Protocol",type=string,JSONPath=`.spec.protocol.protocolName`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:selectablefield:JSONPath=`.spec.nodeName`
// +kubebuilder:storageversion
type Device struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is wanted of the device.
	Spec schema.DeviceSpec `json:"spec"`
	// Status has only what older programs wrote there. The present status is in the
	// DeviceStatus of the same name.
	Status LegacyStatus `json:"status,omitempty"`
}

// LegacyStatus is what Device.status still holds for older programs.
type LegacyStatus struct {
	// ReportToCloud told whether the device's state was reported.
	ReportToCloud bool `json:"reportToCloud,omitempty"`
	// ReportCycle was the time between two reports, in milliseconds.
	ReportCycle int64 `json:"reportCycle,omitempty"`
}

// DeviceList is a list of devices.
//
// +kubebuilder:object:root=true
type DeviceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items of the list.
	Items []Device `json:"items"`
}

// DeviceModel describes a kind of device.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=devicemodels,shortName=devmodel,categories=edgekit
// +kubebuilder:printcolumn:name="Protocol",type=string,JSONPath=`.spec.protocol`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:storageversion
type DeviceModel struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec describes the devices of this model.
	Spec schema.DeviceModelSpec `json:"spec"`
}

// DeviceModelList is a list of models.
//
// +kubebuilder:object:root=true
type DeviceModelList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items of the list.
	Items []DeviceModel `json:"items"`
}

// DeviceStatus is the status of the Device with the same namespace and name, which owns
// it.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=devicestatuses,shortName=devstat,categories=edgekit
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.state`
// +kubebuilder:printcolumn:name="Last online",type=string,JSONPath=`.status.lastOnlineTime`
// +kubebuilder:printcolumn:name="Model found",type=string,JSONPath=`.status.conditions[?(@.type=="ModelFound")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:storageversion
type DeviceStatus struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is empty.
	Spec DeviceStatusSpec `json:"spec,omitempty"`
	// Status is what is known of the device.
	Status DeviceStatusStatus `json:"status,omitempty"`
}

// DeviceStatusSpec is empty: nothing is wanted of a DeviceStatus.
type DeviceStatusSpec struct{}

// DeviceStatusStatus is what is known of a device. Its JSON is also what an
// edge node reports.
type DeviceStatusStatus struct {
	schema.Status `json:",inline"`

	// ObservedGeneration is the generation of the Device that the node had
	// when it reported.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions of the device. The cloud sets those that are named in this
	// package, the node all others.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// DeviceStatusList is a list of device statuses.
//
// +kubebuilder:object:root=true
type DeviceStatusList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items of the list.
	Items []DeviceStatus `json:"items"`
}

// ConditionModelFound is the condition of a DeviceStatus that tells whether
// the model which the Device refers to exists. The cloud sets it.
const ConditionModelFound = "ModelFound"
