package v1_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	v1 "github.com/edgekit/edgekit/bus/rules/v1"
)

func TestCRDs(t *testing.T) {
	docs, err := v1.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"Rule": true, "RuleEndpoint": true, "RuleMessage": true}
	for _, doc := range docs {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(doc, &crd); err != nil {
			t.Fatal(err)
		}
		kind := crd.Spec.Names.Kind
		if !want[kind] {
			t.Errorf("unexpected or doubled kind %q", kind)
		}
		delete(want, kind)
		if crd.Spec.Group != v1.Group || len(crd.Spec.Versions) != 1 || crd.Spec.Versions[0].Name != "v1" || !crd.Spec.Versions[0].Storage {
			t.Errorf("%s: %s %+v", kind, crd.Spec.Group, crd.Spec.Versions)
		}
		if s := crd.Spec.Versions[0].Subresources; (s != nil && s.Status != nil) != (kind == "Rule") {
			t.Errorf("%s: subresources %+v", kind, s)
		}
	}
	if len(want) != 0 {
		t.Errorf("no CRD for %v", want)
	}
}

func TestScheme(t *testing.T) {
	s := runtime.NewScheme()
	if err := v1.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"Rule", "RuleList", "RuleEndpoint", "RuleEndpointList", "RuleMessage", "RuleMessageList"} {
		if _, err := s.New(v1.GroupVersion().WithKind(kind)); err != nil {
			t.Error(err)
		}
	}
}

func TestTypes(t *testing.T) {
	settings := func(keys ...string) map[string]v1.Setting {
		m := make(map[string]v1.Setting)
		for _, k := range keys {
			m[k] = "x"
		}
		return m
	}
	for _, c := range []struct {
		source, target map[string]v1.Setting
		from, to       v1.EndpointType
	}{
		{settings("path"), settings("topic"), v1.Rest, v1.EventBus},
		{settings("path"), settings("path"), v1.Rest, v1.ServiceBus},
		{settings("topic", "node_name"), settings("resource"), v1.EventBus, v1.Rest},
		{settings("target_url", "node_name"), settings("resource"), v1.ServiceBus, v1.Rest},
		{settings(), settings(), "", ""},
	} {
		s := v1.RuleSpec{SourceResource: c.source, TargetResource: c.target}
		if s.SourceType() != c.from || s.TargetType() != c.to {
			t.Errorf("%v to %v: %s to %s", c.source, c.target, s.SourceType(), s.TargetType())
		}
	}
}

// TestExamples: the YAML in examples has no unknown field, and one rule of each pair.
func TestExamples(t *testing.T) {
	pairs := make(map[string]bool)
	endpoints := make(map[string]v1.EndpointType)
	for _, file := range []string{"endpoints.yaml", "rules.yaml"} {
		text, err := os.ReadFile(filepath.Join("../../../examples/rules", file))
		if err != nil {
			t.Fatal(err)
		}
		for doc := range bytes.SplitSeq(text, []byte("\n---\n")) {
			var r v1.Rule
			var e v1.RuleEndpoint
			if yaml.UnmarshalStrict(doc, &e) == nil && e.Kind == "RuleEndpoint" {
				endpoints[e.Name] = e.Spec.RuleEndpointType
				continue
			}
			if err := yaml.UnmarshalStrict(doc, &r); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if endpoints[r.Spec.Source] != r.Spec.SourceType() || endpoints[r.Spec.Target] != r.Spec.TargetType() || r.Spec.SourceType() == "" {
				t.Errorf("rule %s joins other kinds of endpoints than its keys say", r.Name)
			}
			pairs[string(r.Spec.SourceType()+" "+r.Spec.TargetType())] = true
		}
	}
	if len(pairs) != 4 {
		t.Errorf("the examples have %v", pairs)
	}
}

func Example() {
	var r v1.Rule
	err := yaml.UnmarshalStrict([]byte(`
apiVersion: rules.kubeedge.io/v1
kind: Rule
metadata: {name: lamp, namespace: plant}
spec:
  source: cloud-http
  sourceResource: {path: /lamp}
  target: floor-http
  targetResource: {path: /v1/lamp}
`), &r)
	fmt.Println(r.Spec.SourceType(), "to", r.Spec.TargetType(), err)
	// Output: rest to servicebus <nil>
}
