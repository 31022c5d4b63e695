package v1alpha1

import (
	_ "embed"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group is the API group of EdgeSync.
const Group = "sites.edgekit.io"

// KindEdgeSync is the kind of the group.
const KindEdgeSync = "EdgeSync"

// EdgeSyncs is the resource of the group, as paths and rights name it.
const EdgeSyncs = "edgesyncs"

// GroupVersion returns the group and version of the resource in this package.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: Group, Version: "v1alpha1"}
}

// AddToScheme makes the resource known to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion(), &EdgeSync{}, &EdgeSyncList{})
	metav1.AddToGroupVersion(s, GroupVersion())
	return nil
}

//go:embed crds/sites.edgekit.io_edgesyncs.yaml
var crd []byte

// CRDs returns the CustomResourceDefinition, a YAML document.
func CRDs() ([][]byte, error) { return [][]byte{crd}, nil }
