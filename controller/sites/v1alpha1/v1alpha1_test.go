package v1alpha1_test

import (
	"bytes"
	"os"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/controller/sites/v1alpha1"
)

func TestCRDs(t *testing.T) {
	docs, err := v1alpha1.CRDs()
	if err != nil || len(docs) != 1 {
		t.Fatal(len(docs), err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(docs[0], &crd); err != nil {
		t.Fatal(err)
	}
	if crd.Spec.Names.Kind != v1alpha1.KindEdgeSync || crd.Spec.Names.Plural != v1alpha1.EdgeSyncs || crd.Spec.Scope != apiextensionsv1.ClusterScoped || crd.Spec.Group != v1alpha1.Group {
		t.Errorf("%s: %s %+v", crd.Name, crd.Spec.Scope, crd.Spec.Names)
	}
	if v := crd.Spec.Versions[0]; v.Name != "v1alpha1" || v.Subresources == nil || v.Subresources.Status == nil || len(v.AdditionalPrinterColumns) < 5 {
		t.Errorf("%+v", v)
	}
}

func TestScheme(t *testing.T) {
	s := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{v1alpha1.KindEdgeSync, v1alpha1.KindEdgeSync + "List"} {
		if _, err := s.New(v1alpha1.GroupVersion().WithKind(kind)); err != nil {
			t.Error(err)
		}
	}
}

// TestExample: the YAML in examples has no unknown field.
func TestExample(t *testing.T) {
	text, err := os.ReadFile("../../../examples/sites/edgesync.yaml")
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := bytes.Cut(text, []byte("\n---\n"))
	var sync v1alpha1.EdgeSync
	if err := yaml.UnmarshalStrict(first, &sync); err != nil || sync.Spec.Resource.Resource != "recipes" {
		t.Errorf("%+v, %v", sync.Spec, err)
	}
}
