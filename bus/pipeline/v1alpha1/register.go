package v1alpha1

import (
	"embed"
	"fmt"
	"io/fs"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group is the API group of pipelines.
const Group = "pipelines.edgekit.io"

// Kind is the kind of a Pipeline.
const Kind = "Pipeline"

// GroupVersion returns the group and version of the resources in this package.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: Group, Version: "v1alpha1"}
}

// AddToScheme makes the resources known to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion(), &Pipeline{}, &PipelineList{})
	metav1.AddToGroupVersion(s, GroupVersion())
	return nil
}

//go:embed crds/*.yaml
var crds embed.FS

// CRDs returns the CustomResourceDefinitions of the resources, each as a YAML document of
// its own, in a fixed order.
func CRDs() ([][]byte, error) {
	names, err := fs.Glob(crds, "crds/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("pipeline/v1alpha1: %w", err)
	}
	out := make([][]byte, 0, len(names))
	for _, name := range names {
		raw, err := crds.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("pipeline/v1alpha1: %w", err)
		}
		out = append(out, raw)
	}
	return out, nil
}
