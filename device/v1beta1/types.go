package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// Device is one device at the edge. Its spec says what is wanted of it: the model, the
// node that it hangs on, how it is reached and the desired values. What is known of it is in
// the DeviceStatus of the same name; status here is a summary of that.
//
// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=devices,shortName=dev,categories=all;edgekit
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.spec.nodeName`,description="The edge node that the device hangs on."
// +kubebuilder:printcolumn:name="Model",type=string,JSONPath=`.spec.deviceModelRef.name`,description="The DeviceModel that describes the device."
// +kubebuilder:printcolumn:name="Protocol",type=string,JSONPath=`.spec.protocol.protocolName`,description="The protocol, which selects the mapper."
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.state`,description="online, offline, ok, unknown, unhealthy or disabled, as last reported."
// +kubebuilder:printcolumn:name="Last seen",type=date,JSONPath=`.status.lastSeen`,description="When cloudcore last received a report about the device; one a minute is written while nothing else changes."
// +kubebuilder:printcolumn:name="Values",type=string,JSONPath=`.status.values`,priority=1,description="Reported values, as many as one line takes. All are in the DeviceStatus; kubectl get twins shows them live."
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:selectablefield:JSONPath=`.spec.nodeName`
// +kubebuilder:storageversion
type Device struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is wanted of the device.
	Spec schema.DeviceSpec `json:"spec"`
	// Status is a summary of the DeviceStatus, for lists. cloudcore alone writes it. What a
	// file says here, such as the twins of KubeEdge before 1.23, is accepted and dropped.
	// +kubebuilder:pruning:PreserveUnknownFields
	Status Summary `json:"status,omitempty"`
}

// Summary is the short form of a DeviceStatus that Device.status has. cloudcore writes it
// with the DeviceStatus, so it is as fresh as that.
type Summary struct {
	// State of the device: online, offline, ok, unknown, unhealthy or disabled.
	State string `json:"state,omitempty"`
	// LastSeen is when cloudcore last received a report about the device. While nothing
	// else changes it is written once a minute.
	LastSeen *metav1.Time `json:"lastSeen,omitempty"`
	// Values are the reported values as name=value, separated by spaces, as many as 120
	// characters take.
	// +kubebuilder:validation:MaxLength=512
	Values string `json:"values,omitempty"`
	// ReportToCloud is of older programs and means nothing any more; see
	// spec.stateReport.
	ReportToCloud bool `json:"reportToCloud,omitempty"`
	// ReportCycle is of older programs and means nothing any more; see spec.stateReport.
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

// DeviceModel describes a kind of device: its properties with their types and limits. A
// change reaches every Device of the model.
//
// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=devicemodels,shortName=devmodel,categories=all;edgekit
// +kubebuilder:printcolumn:name="Protocol",type=string,JSONPath=`.spec.protocol`,description="The protocol of the devices of this model, unless a device names another."
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

// DeviceStatus is what is known of the Device with the same namespace and name, which owns
// it: its twins, its state and its conditions. Nodes report it and cloudcore writes it, at most
// once a second; kubectl get twins shows the values live.
//
// +genclient
// +genclient:noStatus
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=devicestatuses,shortName=devstat,categories=edgekit
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.state`,description="online, offline, ok, unknown, unhealthy or disabled, as last reported."
// +kubebuilder:printcolumn:name="Last online",type=date,JSONPath=`.status.lastOnlineTime`,description="When the device was last seen online."
// +kubebuilder:printcolumn:name="Model found",type=string,JSONPath=`.status.conditions[?(@.type=="ModelFound")].status`,description="Whether the Device's model exists."
// +kubebuilder:printcolumn:name="Desired valid",type=string,JSONPath=`.status.conditions[?(@.type=="DesiredValid")].status`,description="Whether the node accepts the desired values; empty if it always did."
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
	// Conditions of the device. The cloud sets ModelFound and ValuesStored, the node and its
	// mappers set all others.
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

// The conditions of a DeviceStatus that the cloud sets.
const (
	// ConditionModelFound says whether the model that the Device refers to exists.
	ConditionModelFound = "ModelFound"
	// ConditionValuesStored is False while some reported values are too large for one
	// object, or are refused by the API server: the DeviceStatus then lacks them. A
	// DeviceStatus that always had all values has no such condition.
	ConditionValuesStored = "ValuesStored"
)
