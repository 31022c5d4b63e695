package v1beta1_test

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/device/v1beta1"
)

// TestExplain reads the generated definitions as kubectl explain shows them: each field has a
// description that reads well, with no name that only the Go types have.
func TestExplain(t *testing.T) {
	docs, err := v1beta1.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]reflect.Type{
		"Device": reflect.TypeFor[v1beta1.Device](), "DeviceModel": reflect.TypeFor[v1beta1.DeviceModel](), "DeviceStatus": reflect.TypeFor[v1beta1.DeviceStatus](),
	}
	for _, doc := range docs {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(doc, &crd); err != nil {
			t.Fatal(err)
		}
		kind := crd.Spec.Names.Kind
		for _, v := range crd.Spec.Versions {
			for _, c := range v.AdditionalPrinterColumns {
				if c.Name != "Age" {
					report(t, kind+" column "+c.Name, badText(c.Description))
				}
			}
			if v.Name == "v1beta1" {
				report(t, kind, badText(v.Schema.OpenAPIV3Schema.Description))
				explained(t, kind, v.Schema.OpenAPIV3Schema, types[kind])
			}
		}
	}
}

func report(t *testing.T, path, fault string) {
	t.Helper()
	if fault != "" {
		t.Errorf("%s %s", path, fault)
	}
}

// explained checks the descriptions of all fields of a schema, made from the given Go type.
func explained(t *testing.T, path string, s *apiextensionsv1.JSONSchemaProps, typ reflect.Type) {
	fields := goFields(typ)
	for name, field := range s.Properties {
		at := path + "." + name
		if name == "apiVersion" || name == "kind" || at == "Device.metadata" || at == "DeviceModel.metadata" || at == "DeviceStatus.metadata" {
			continue // Kubernetes' own
		}
		f, ok := fields[name]
		if !ok {
			t.Errorf("%s is no field of %v", at, typ)
			continue
		}
		report(t, at, badText(field.Description, name))
		report(t, at, goName(field.Description, name, fields))
		explained(t, at, &field, f.Type)
	}
	if s.Items != nil && s.Items.Schema != nil {
		explained(t, path+"[]", s.Items.Schema, typ)
	}
}

// goFields returns the fields of a struct, or of the elements of a list of them, by their names in
// JSON.
func goFields(typ reflect.Type) map[string]reflect.StructField {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	fields := make(map[string]reflect.StructField)
	if typ.Kind() != reflect.Struct {
		return fields
	}
	for _, f := range reflect.VisibleFields(typ) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			fields[name] = f
		}
	}
	return fields
}

var (
	programmers = regexp.MustCompile(`\b(TODO|FIXME|XXX|nil|struct|pointer|func|package|interface\{\}|omitempty)\b|\+kubebuilder`)
	word        = regexp.MustCompile(`[A-Za-z0-9]+`)
	humps       = regexp.MustCompile(`^[A-Z]+[a-z0-9]+[A-Z]`)
)

// badText says why a description does not read well; names are those with which it may begin in
// small letters.
func badText(text string, names ...string) string {
	first := word.FindString(text)
	switch {
	case text == "":
		return "has no description"
	case programmers.MatchString(text):
		return "has the word " + programmers.FindString(text) + ", which is for programmers: " + text
	case len(strings.Fields(text)) < 3:
		return "is described in less than three words: " + text
	case !strings.HasSuffix(text, "."):
		return "has no full stop at its end: " + text
	case first[0] < 'A' || first[0] > 'Z':
		if !slices.Contains(names, first) && first != "online" { // the columns of states begin with one
			return "begins with a small letter: " + text
		}
	}
	return ""
}

// goName finds a name in a description that users do not know: a Go field's that has another name in
// JSON.
func goName(text, name string, fields map[string]reflect.StructField) string {
	for i, w := range word.FindAllString(text, -1) {
		for other, f := range fields {
			own := i == 0 && other == name
			switch {
			case w != f.Name || w == other:
			case own && strings.EqualFold(w, other): // as Kubernetes writes them
			case w == "MySQL": // a product
			case own || humps.MatchString(w):
				return "has the Go name " + w + " in place of " + other + ": " + text
			}
		}
	}
	return ""
}

// TestExplainFinds has descriptions that do not read well.
func TestExplainFinds(t *testing.T) {
	type sample struct {
		ModelRef string `json:"deviceModelRef"`
		OnChange bool   `json:"onChange"`
		Name     string `json:"name"`
	}
	fields := goFields(reflect.TypeFor[[]*sample]())
	for text, want := range map[string]string{
		"":                               "no description",
		"TODO: describe the field.":      "TODO",
		"It wants nothing if it is nil.": "nil",
		"The name.":                      "three words",
		"Name of the device":             "full stop",
		"the name of the device.":        "small letter",
		"ModelRef names the model.":      "Go name ModelRef",
		"This implies OnChange.":         "Go name OnChange",
		"Name of the device.":            "",
		"name of the device.":            "",
		"DeviceModelRef is the model.":   "",
		"This implies onChange.":         "",
	} {
		name := "name"
		if strings.HasPrefix(text, "ModelRef") {
			name = "deviceModelRef"
		}
		got := badText(text, name) + goName(text, name, fields)
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
