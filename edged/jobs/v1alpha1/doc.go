// Package v1alpha1 is the older version of two resources of operations.kubeedge.io, as far as
// the API server needs it: their definitions are generated from it and from package
// v1alpha2, which programs use.
//
// Both versions have one schema. A file of v1alpha1 is accepted as it is, its fields mean the
// same, and the API server warns of the older version. kubectl get shows such a job as
// v1alpha2; a client that asks for v1alpha1 gets the fields of v1alpha2, and status.state
// with the phase in the words of v1alpha1.
//
// +kubebuilder:object:generate=true
// +groupName=operations.kubeedge.io
package v1alpha1
