// Package v1alpha2 holds the Kubernetes resources for fleet jobs, group
// operations.kubeedge.io, version v1alpha2. All are cluster-scoped:
//
//   - a NodeUpgradeJob (nuj) brings nodes to a version of edgecore,
//   - an ImagePrePullJob (ipj) pulls images on nodes before they are needed,
//   - a ConfigUpdateJob (cuj) changes the configuration of edgecore on nodes,
//   - a NodeJobResult (njr) says what one node may do in one job and what became of it.
//     cloudcore makes it and its job owns it; KubeEdge has no such kind.
//
// The first two have all fields of KubeEdge's v1alpha2, and more: see Control. The CRDs
// with all validation are generated from the types; see CRDs.
//
// # The older version
//
// NodeUpgradeJob and ImagePrePullJob are served as v1alpha1 too; see package v1alpha1. Both
// versions have one schema, so that no field is lost between them and nothing needs to be
// converted: an object that was created in one version reads the same in the other.
//
// The package has no state; its functions may be called from anywhere. The Go types
// follow the API's own version: fields are added, never changed.
//
// +kubebuilder:object:generate=true
// +groupName=operations.kubeedge.io
package v1alpha2

//go:generate go tool -modfile=../../../.tools/go.mod controller-gen object crd:headerFile= paths=. paths=../v1alpha1 output:crd:dir=crds
