// Package v1beta1 holds the Kubernetes resources for devices, group
// devices.kubeedge.io, version v1beta1:
//
//   - a DeviceModel describes a kind of device,
//   - a Device is one device: its model, the edge node that it hangs on, how
//     it is reached and what is wanted of it,
//   - a DeviceStatus has the same namespace and name as its Device and says
//     what is known of it. It has no status subresource, since programs in the
//     field write it as a whole.
//
// Device.status is a summary of the DeviceStatus, for the columns of kubectl get. It is a
// subresource: metadata.generation then counts changes of the spec alone, and the status in
// files for KubeEdge before 1.23, which had the twins there, is accepted and dropped.
//
// The version v1alpha2 is in the definitions too, so that a file of that version gets an
// answer that names the remedy; see package v1alpha2.
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
