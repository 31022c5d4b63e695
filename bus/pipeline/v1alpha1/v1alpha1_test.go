package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
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
	v := crd.Spec.Versions[0]
	if crd.Spec.Group != v1alpha1.Group || crd.Spec.Names.Kind != v1alpha1.Kind || v.Name != "v1alpha1" || !v.Storage || v.Subresources.Status == nil || crd.Spec.Scope != apiextensionsv1.NamespaceScoped {
		t.Errorf("%+v", crd.Spec)
	}
	if n := len(v.AdditionalPrinterColumns); n != 4 {
		t.Errorf("%d printer columns", n)
	}
}

func TestScheme(t *testing.T) {
	s := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"Pipeline", "PipelineList"} {
		if _, err := s.New(v1alpha1.GroupVersion().WithKind(kind)); err != nil {
			t.Error(err)
		}
	}
}

// TestValues wants any JSON to be kept as it is, also in copies.
func TestValues(t *testing.T) {
	for _, raw := range []string{`null`, `1`, `"x"`, `[1,{"a":null}]`, `{"a":1.50}`} {
		var v v1alpha1.Value
		if err := json.Unmarshal([]byte(raw), &v); err != nil {
			t.Fatal(err)
		}
		out, err := json.Marshal(v.DeepCopy())
		if err != nil || string(out) != raw {
			t.Errorf("%s: %s %v", raw, out, err)
		}
	}
	for v, want := range map[json.Marshaler]string{&v1alpha1.Value{}: "null", &v1alpha1.Row{}: "{}"} {
		if out, err := json.Marshal(v); err != nil || string(out) != want {
			t.Errorf("%T: %s %v", v, out, err)
		}
	}
}

func ExampleCRDs() {
	docs, err := v1alpha1.CRDs()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, doc := range docs {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(doc, &crd); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(crd.Name)
	}
	// Output: pipelines.pipelines.edgekit.io
}
