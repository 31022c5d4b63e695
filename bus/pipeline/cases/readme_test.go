package cases_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cases"
	"github.com/edgekit/edgekit/bus/pipeline/cel"
	"github.com/edgekit/edgekit/bus/pipeline/codec"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReadmePipelines compiles the pipelines of the user's page and runs their cases.
func TestReadmePipelines(t *testing.T) {
	blocks := strings.Split(readme(t), "```yaml\n")[1:]
	if len(blocks) == 0 {
		t.Fatal("the README has no pipeline")
	}
	for _, b := range blocks {
		text, _, _ := strings.Cut(b, "```")
		runCases(t, []byte(text))
	}
}

// TestExamples runs the cases of the pipelines in examples.
func TestExamples(t *testing.T) {
	const dir = "../../../examples/pipelines/"
	for _, name := range []string{"exceptions.yaml", "inference/pipeline.yaml", "nats/pipeline.yaml", "kafka/pipeline.yaml"} {
		text, err := os.ReadFile(dir + name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { runCases(t, text) })
	}
}

func runCases(t *testing.T, text []byte) {
	t.Helper()
	all, err := pipeline.ParseYAML(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	x, err := cel.New(cel.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		plan, err := pipeline.Compile(p, pipeline.Options{Expressions: x, Decoder: codec.New, Schema: codec.Schema})
		if err != nil {
			t.Errorf("%s: %v", p.Name, err)
			continue
		}
		if len(p.Spec.Tests) == 0 {
			t.Errorf("%s has no tests", p.Name)
		}
		for _, test := range p.Spec.Tests {
			r, err := cases.Run(plan, test, cases.Config{Node: "edge-7"})
			if err != nil {
				t.Errorf("%s: %s: %v", p.Name, test.Name, err)
			} else if !r.Passed() {
				t.Error(r)
			}
		}
	}
}

// TestReadmeFields: each field of the spec is on the user's page.
func TestReadmeFields(t *testing.T) {
	text := readme(t)
	seen := map[reflect.Type]bool{}
	var look func(path string, typ reflect.Type)
	look = func(path string, typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] || typ.PkgPath() != reflect.TypeFor[v1alpha1.Pipeline]().PkgPath() {
			return
		}
		seen[typ] = true
		for _, f := range reflect.VisibleFields(typ) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" || name == "-" {
				continue
			}
			if !strings.Contains(text, "`"+name+"`") && !strings.Contains(text, "."+name+"`") {
				t.Errorf("the README lacks %s.%s", path, name)
			}
			look(path+"."+name, f.Type)
		}
	}
	look("spec", reflect.TypeFor[v1alpha1.PipelineSpec]())
}
