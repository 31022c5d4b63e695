// Package v1alpha1 holds the Kubernetes resource for pipelines, group
// pipelines.edgekit.io, version v1alpha1: a Pipeline says which events of a node go
// through which steps to which sinks.
//
// The CRD with its validation is generated from the types; see CRDs. What a schema cannot
// say (expressions, the graph of the steps) is checked by pipeline.Compile.
//
// The package has no state; its functions may be called from anywhere. The version is
// alpha: a field may change with a line in the CHANGELOG.
//
// +kubebuilder:object:generate=true
// +groupName=pipelines.edgekit.io
package v1alpha1

//go:generate go tool -modfile=../../../.tools/go.mod controller-gen object crd:headerFile= paths=. output:crd:dir=crds
