// Package v1beta1 holds the Kubernetes resources for devices, group
// devices.kubeedge.io, version v1beta1:
//
//   - a DeviceModel describes a kind of device,
//   - a Device is one device: its model, the edge node that it hangs on, how
//     it is reached and what is wanted of it,
//   - a DeviceStatus has the same namespace and name as its Device and tells
//     what is known of it. It has no status subresource: it is written by
//     merge patch on the object.
//
// The specs are plain Go types of package device, which knows nothing of
// Kubernetes; this package only adds what makes them API objects. Schemas,
// with all validation in them, are generated from the types and are given by
// CRDs.
//
// The package has no state; its functions may be called from anywhere. The
// Go types follow the API's own version: fields are added, never changed.
//
// +kubebuilder:object:generate=true
// +groupName=devices.kubeedge.io
package v1beta1

//go:generate go tool -modfile=../../.tools/go.mod controller-gen object crd:headerFile= paths=../... output:crd:dir=crds
