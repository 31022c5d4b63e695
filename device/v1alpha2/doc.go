// Package v1alpha2 converts Devices and DeviceModels of the versions v1alpha1 and v1alpha2 of
// devices.kubeedge.io to v1beta1:
//
//	objects, problems, err := v1alpha2.Convert(file)
//
// Nothing else is done with these versions. The API server knows v1alpha2 only to answer a
// file of that version with what to do: each write is refused with a text that names
// "edgectl device convert". Objects of v1beta1 can be read as v1alpha2 and look as in v1beta1.
//
// Convert has no state and may be called from anywhere. The result needs no further
// program: it is applied with kubectl. Fields that v1beta1 does not have are listed, each with
// its path and what to do instead.
//
// +kubebuilder:object:generate=true
// +groupName=devices.kubeedge.io
package v1alpha2
