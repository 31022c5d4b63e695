package v1alpha2

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	yamlstream "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/device/v1beta1"
)

// Problem is a field that could not be converted, or that needs a look.
type Problem struct {
	Object string // kind, namespace and name, for example "Device plant/boiler"
	Path   string // of the field in the old form, for example "spec.nodeSelector"
	Text   string // what became of it, and what to do
}

// String returns the problem in one line.
func (p Problem) String() string { return p.Object + ": " + p.Path + ": " + p.Text }

// Convert returns the objects of a YAML stream or a JSON object with every Device and
// DeviceModel of v1alpha1 and v1alpha2 in the form of v1beta1, as a YAML stream. Objects of
// other kinds and versions stay as they are; a List becomes its items. What a server has
// added to the metadata is left out. The error names the document that cannot be read, by
// its number from 1.
func Convert(text []byte) (converted []byte, problems []Problem, err error) {
	reader := yamlstream.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	var out bytes.Buffer
	for n := 1; ; n++ {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return out.Bytes(), problems, nil
		}
		var obj map[string]any
		if err == nil {
			err = yaml.Unmarshal(doc, &obj)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("v1alpha2: document %d: %w", n, err)
		}
		for _, item := range items(obj) {
			c := &conversion{old: item, object: describe(item)}
			raw, err := yaml.Marshal(c.convert())
			if err != nil {
				return nil, nil, fmt.Errorf("v1alpha2: document %d: %w", n, err)
			}
			problems = append(problems, c.problems...)
			out.WriteString("---\n")
			out.Write(raw)
		}
	}
}

// items returns the objects of a document: none of an empty one, several of a List.
func items(obj map[string]any) []map[string]any {
	if len(obj) == 0 {
		return nil
	}
	list, ok := obj["items"].([]any)
	if kind, _ := obj["kind"].(string); !ok || !strings.HasSuffix(kind, "List") {
		return []map[string]any{obj}
	}
	var out []map[string]any
	for _, item := range list {
		if o, ok := item.(map[string]any); ok {
			out = append(out, o)
		}
	}
	return out
}

// describe names an object for a Problem.
func describe(obj map[string]any) string {
	meta := child(obj, "metadata")
	name := text(meta["name"])
	if ns := text(meta["namespace"]); ns != "" {
		name = ns + "/" + name
	}
	return text(obj["kind"]) + " " + name
}

// conversion is the conversion of one object.
type conversion struct {
	old      map[string]any
	object   string
	problems []Problem
}

func (c *conversion) problem(path, format string, args ...any) {
	c.problems = append(c.problems, Problem{Object: c.object, Path: path, Text: fmt.Sprintf(format, args...)})
}

func (c *conversion) convert() map[string]any {
	switch text(c.old["apiVersion"]) {
	case v1beta1.Group + "/v1alpha1", v1beta1.Group + "/v1alpha2":
	default:
		return c.old
	}
	spec := child(c.old, "spec")
	switch text(c.old["kind"]) {
	case "Device":
		spec = c.device(spec, child(c.old, "status"))
	case "DeviceModel":
		spec = c.model(spec)
	default:
		c.problem("kind", "v1beta1 has no such kind; the object is left as it is")
		return c.old
	}
	return map[string]any{
		"apiVersion": v1beta1.GroupVersion().String(), "kind": c.old["kind"], "metadata": metadata(child(c.old, "metadata")), "spec": spec,
	}
}

// metadata is the part of the metadata that an author writes.
func metadata(old map[string]any) map[string]any {
	out := make(map[string]any)
	for _, key := range []string{"name", "generateName", "namespace", "labels", "annotations"} {
		if v, ok := old[key]; ok {
			out[key] = v
		}
	}
	if a, ok := out["annotations"].(map[string]any); ok {
		delete(a, "kubectl.kubernetes.io/last-applied-configuration")
		if len(a) == 0 {
			delete(out, "annotations")
		}
	}
	return out
}

// model converts the spec of a DeviceModel. In v1alpha1 it also has the visitors.
func (c *conversion) model(old map[string]any) map[string]any {
	var properties []any
	for i, p := range children(old, "properties") {
		properties = append(properties, c.modelProperty(fmt.Sprintf("spec.properties[%d]", i), p))
	}
	for i, v := range children(old, "propertyVisitors") {
		path := fmt.Sprintf("spec.propertyVisitors[%d]", i)
		name := text(v["propertyName"])
		p := find(properties, name)
		if p == nil {
			c.problem(path, "the model has no property %q: left out", name)
			continue
		}
		_, visitor := c.visitor(path, v)
		p["visitors"] = visitor
		for _, cycle := range []string{"reportCycle", "collectCycle"} {
			if v[cycle] != nil {
				c.problem(path+"."+cycle, "a model has no cycles any more: set it in the property of each Device")
			}
		}
	}
	out := map[string]any{"properties": properties}
	if len(properties) == 0 {
		delete(out, "properties")
	}
	if protocol := text(old["protocol"]); protocol != "" {
		out["protocol"] = protocol
	}
	c.rest("spec", old, "properties", "propertyVisitors", "protocol")
	return out
}

func (c *conversion) modelProperty(path string, old map[string]any) map[string]any {
	out := map[string]any{"name": old["name"]}
	copyKeys(out, old, "description")
	c.rest(path, old, "name", "description", "type")
	types := child(old, "type")
	if len(types) != 1 {
		c.problem(path+".type", "want one type and found %d: set type in the result", len(types))
		return out
	}
	for name, value := range types {
		known := map[string]string{"int": "INT", "string": "STRING", "double": "DOUBLE", "float": "FLOAT", "boolean": "BOOLEAN", "bytes": "BYTES"}
		if out["type"] = known[name]; out["type"] == "" {
			c.problem(path+".type."+name, "not a type of v1beta1: set type in the result")
		}
		detail, _ := value.(map[string]any)
		copyKeys(out, detail, "accessMode", "unit")
		for _, limit := range []string{"minimum", "maximum"} {
			if v, ok := detail[limit]; ok {
				out[limit] = text(v)
			}
		}
		if v := detail["defaultValue"]; v != nil && text(v) != "0" && text(v) != "" && text(v) != "false" {
			c.problem(path+".type."+name+".defaultValue", "v1beta1 has no default value: set desired.value to %q in the Devices that need it", text(v))
		}
		c.rest(path+".type."+name, detail, "accessMode", "unit", "minimum", "maximum", "defaultValue")
	}
	return out
}

// rest names the fields that nothing was made of.
func (c *conversion) rest(path string, old map[string]any, known ...string) {
	for _, key := range slices.Sorted(maps.Keys(old)) {
		if !slices.Contains(known, key) {
			c.problem(path+"."+key, "unknown field: left out")
		}
	}
}

func child(m map[string]any, key string) map[string]any {
	out, _ := m[key].(map[string]any)
	return out
}

// children returns the objects of a list.
func children(m map[string]any, key string) []map[string]any {
	list, _ := m[key].([]any)
	var out []map[string]any
	for _, item := range list {
		if o, ok := item.(map[string]any); ok {
			out = append(out, o)
		}
	}
	return out
}

// find returns the property with a name.
func find(properties []any, name string) map[string]any {
	for _, p := range properties {
		if o, _ := p.(map[string]any); text(o["name"]) == name {
			return o
		}
	}
	return nil
}

func copyKeys(to, from map[string]any, keys ...string) {
	for _, key := range keys {
		if v, ok := from[key]; ok {
			to[key] = v
		}
	}
}

// text returns a scalar as text; "" for nil.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strings.TrimSuffix(fmt.Sprintf("%.15g", v), ".0")
	}
	return fmt.Sprint(v)
}
