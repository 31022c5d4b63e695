package v1alpha1_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/controller/groups/v1alpha1"
)

func TestCRDs(t *testing.T) {
	docs, err := v1alpha1.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	type shape struct {
		short string
		scope apiextensionsv1.ResourceScope
	}
	want := map[string]shape{"NodeGroup": {"ng", apiextensionsv1.ClusterScoped}, "EdgeApplication": {"eapp", apiextensionsv1.NamespaceScoped}}
	for _, doc := range docs {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(doc, &crd); err != nil {
			t.Fatal(err)
		}
		w, ok := want[crd.Spec.Names.Kind]
		if !ok || len(crd.Spec.Names.ShortNames) != 1 || crd.Spec.Names.ShortNames[0] != w.short || crd.Spec.Scope != w.scope || crd.Spec.Group != v1alpha1.Group {
			t.Errorf("%s: %s %v", crd.Name, crd.Spec.Scope, crd.Spec.Names.ShortNames)
		}
		delete(want, crd.Spec.Names.Kind)
		if v := crd.Spec.Versions[0]; v.Name != "v1alpha1" || v.Subresources == nil || v.Subresources.Status == nil || len(v.AdditionalPrinterColumns) < 4 {
			t.Errorf("%s: %+v", crd.Name, v)
		}
	}
	if len(want) != 0 {
		t.Errorf("no CRD for %v", want)
	}
}

func TestScheme(t *testing.T) {
	s := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{v1alpha1.KindNodeGroup, v1alpha1.KindEdgeApplication} {
		for _, kind := range []string{kind, kind + "List"} {
			if _, err := s.New(v1alpha1.GroupVersion().WithKind(kind)); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestExamples: the YAML in examples has no unknown field.
func TestExamples(t *testing.T) {
	for file, into := range map[string]func() runtime.Object{
		"groups.yaml":      func() runtime.Object { return &v1alpha1.NodeGroup{} },
		"application.yaml": func() runtime.Object { return &v1alpha1.EdgeApplication{} },
	} {
		text, err := os.ReadFile(filepath.Join("../../../examples/sites", file))
		if err != nil {
			t.Fatal(err)
		}
		for doc := range bytes.SplitSeq(text, []byte("\n---\n")) {
			if err := yaml.UnmarshalStrict(doc, into()); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}
