package v1alpha2_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

func TestCRDs(t *testing.T) {
	docs, err := v1alpha2.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"NodeUpgradeJob": "nuj", "ImagePrePullJob": "ipj", "ConfigUpdateJob": "cuj", "NodeJobResult": "njr"}
	older := map[string]bool{"NodeUpgradeJob": true, "ImagePrePullJob": true}
	for _, doc := range docs {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(doc, &crd); err != nil {
			t.Fatal(err)
		}
		kind := crd.Spec.Names.Kind
		if len(crd.Spec.Names.ShortNames) != 1 || crd.Spec.Names.ShortNames[0] != want[kind] || crd.Spec.Group != v1alpha2.Group || crd.Spec.Scope != apiextensionsv1.ClusterScoped {
			t.Errorf("%s: %s %s %v", kind, crd.Spec.Group, crd.Spec.Scope, crd.Spec.Names.ShortNames)
		}
		delete(want, kind)
		if (len(crd.Spec.Versions) == 2) != older[kind] {
			t.Errorf("%s has %d versions", kind, len(crd.Spec.Versions))
		}
		for _, v := range crd.Spec.Versions {
			if newest := v.Name == "v1alpha2"; v.Storage != newest || v.Deprecated == newest || !v.Served || v.Subresources == nil || v.Subresources.Status == nil || len(v.AdditionalPrinterColumns) < 6 {
				t.Errorf("%s %s: %+v", kind, v.Name, v)
			}
		}
		// With one schema nothing is pruned between the versions.
		if older[kind] {
			schemas := [2]*apiextensionsv1.JSONSchemaProps{crd.Spec.Versions[0].Schema.OpenAPIV3Schema, crd.Spec.Versions[1].Schema.OpenAPIV3Schema}
			schemas[0].Description = schemas[1].Description
			if !reflect.DeepEqual(schemas[0], schemas[1]) {
				t.Errorf("%s: the schemas of the versions differ", kind)
			}
		}
	}
	if len(want) != 0 {
		t.Errorf("no CRD for %v", want)
	}
}

func TestScheme(t *testing.T) {
	s := runtime.NewScheme()
	if err := v1alpha2.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{v1alpha2.KindNodeUpgradeJob, v1alpha2.KindImagePrePullJob, v1alpha2.KindConfigUpdateJob, "NodeJobResult"} {
		for _, kind := range []string{kind, kind + "List"} {
			if _, err := s.New(v1alpha2.GroupVersion().WithKind(kind)); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestExamples: the YAML in examples has no unknown field. controller/install applies it.
func TestExamples(t *testing.T) {
	for file, into := range map[string]runtime.Object{"upgrade.yaml": &v1alpha2.NodeUpgradeJob{}, "prepull.yaml": &v1alpha2.ImagePrePullJob{}, "config.yaml": &v1alpha2.ConfigUpdateJob{}} {
		text, err := os.ReadFile(filepath.Join("../../../examples/jobs", file))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(text, into); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestNodeTaskStatus(t *testing.T) {
	s := v1alpha2.NodeTaskStatus{ActionFlow: []v1alpha2.ActionStatus{{Action: v1alpha2.ActionCheck, Status: "True"}, {Action: v1alpha2.ActionUpgrade, Status: "Unknown"}}}
	if !s.Done(v1alpha2.ActionCheck) || s.Done(v1alpha2.ActionUpgrade) || s.Done(v1alpha2.ActionPull) {
		t.Error("wrong steps are done")
	}
	for phase, final := range map[v1alpha2.NodeTaskPhase]bool{"": false, v1alpha2.NodePending: false, v1alpha2.NodeInProgress: false, v1alpha2.NodeUnknown: false, v1alpha2.NodeSuccessful: true, v1alpha2.NodeFailure: true, v1alpha2.NodeRolledBack: true} {
		if phase.Final() != final {
			t.Error(phase)
		}
	}
}
