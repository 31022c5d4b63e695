// Package v1alpha1 holds the Kubernetes resources for groups of nodes and the applications of
// sites, group apps.kubeedge.io, version v1alpha1:
//
//   - a NodeGroup (ng, cluster-scoped) is a set of edge nodes, by name, by label or both,
//   - an EdgeApplication (eapp, namespaced) is a template of objects of which each group of
//     nodes, each set of nodes with some labels, or each single node gets a copy of its own.
//
// Both have all fields of KubeEdge's v1alpha1, and more; the fields that KubeEdge lacks are
// optional. The CRDs with all validation are generated from the types; see CRDs.
//
// The package has no state; its functions may be called from anywhere. The Go types
// follow the API's own version: fields are added, never changed.
//
// +kubebuilder:object:generate=true
// +groupName=apps.kubeedge.io
package v1alpha1

//go:generate go tool -modfile=../../../.tools/go.mod controller-gen object crd:headerFile= paths=. output:crd:dir=crds
