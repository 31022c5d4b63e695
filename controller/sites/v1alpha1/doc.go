// Package v1alpha1 holds the Kubernetes resource that says which objects edge nodes hold besides
// those that edgekit gives them by itself, group sites.edgekit.io, version v1alpha1: an EdgeSync
// (esync, cluster-scoped) names a resource of the cluster, some of its objects, and the nodes that
// hold them.
//
// The CRD with all validation is generated from the types; see CRDs.
//
// The package has no state; its functions may be called from anywhere. The Go types follow the
// API's own version: fields are added, never changed.
//
// +kubebuilder:object:generate=true
// +groupName=sites.edgekit.io
package v1alpha1

//go:generate go tool -modfile=../../../.tools/go.mod controller-gen object crd:headerFile= paths=. output:crd:dir=crds
