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
// The specs are the plain Go types of package schema, which needs no Kubernetes.
// This package adds what makes them API objects. The CRDs with all validation are
// generated from the types; see CRDs.
//
// The package has no state; its functions may be called from anywhere. The
// Go types follow the API's own version: fields are added, never changed.
//
// +kubebuilder:object:generate=true
// +groupName=devices.kubeedge.io
package v1beta1

//go:generate go tool -modfile=../../.tools/go.mod controller-gen object crd:headerFile= paths=../... output:crd:dir=crds
