package v1alpha2

import (
	"embed"
	"fmt"
	"io/fs"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group is the API group of all jobs.
const Group = "operations.kubeedge.io"

// The kinds of jobs.
const (
	KindNodeUpgradeJob  = "NodeUpgradeJob"
	KindImagePrePullJob = "ImagePrePullJob"
	KindConfigUpdateJob = "ConfigUpdateJob"
)

// The resources of the group, as paths and rights name them.
const (
	NodeUpgradeJobs  = "nodeupgradejobs"
	ImagePrePullJobs = "imageprepulljobs"
	ConfigUpdateJobs = "configupdatejobs"
	NodeJobResults   = "nodejobresults"
)

// GroupVersion returns the group and version of the resources in this package.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: Group, Version: "v1alpha2"}
}

// AddToScheme makes the resources known to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion(),
		&NodeUpgradeJob{}, &NodeUpgradeJobList{}, &ImagePrePullJob{}, &ImagePrePullJobList{},
		&ConfigUpdateJob{}, &ConfigUpdateJobList{}, &NodeJobResult{}, &NodeJobResultList{})
	metav1.AddToGroupVersion(s, GroupVersion())
	return nil
}

//go:embed crds/*.yaml
var crds embed.FS

// CRDs returns the CustomResourceDefinitions of the resources, each as a YAML
// document of its own, in a fixed order.
func CRDs() ([][]byte, error) {
	names, err := fs.Glob(crds, "crds/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("jobs/v1alpha2: %w", err)
	}
	out := make([][]byte, 0, len(names))
	for _, name := range names {
		raw, err := crds.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("jobs/v1alpha2: %w", err)
		}
		out = append(out, raw)
	}
	return out, nil
}
