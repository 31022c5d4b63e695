package kubeletconfig

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubelet "k8s.io/kubelet/config/v1beta1"
)

// leaves lists the fields of the type below t, by path, with their Go types.
func leaves(t reflect.Type, prefix string, out map[string]reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			if f.Type != reflect.TypeFor[metav1.TypeMeta]() {
				leaves(f.Type, prefix, out)
			}
			continue
		}
		if name == "-" || name == "" {
			continue
		}
		path, of := prefix+name, f.Type
		for of.Kind() == reflect.Pointer && of.Elem().Kind() == reflect.Struct && !isLeaf(of.Elem()) {
			of = of.Elem()
		}
		switch {
		case of.Kind() == reflect.Struct && !isLeaf(of):
			leaves(of, path+".", out)
		case of.Kind() == reflect.Slice && of.Elem().Kind() == reflect.Struct && !isLeaf(of.Elem()):
			leaves(of.Elem(), path+"[].", out)
		default:
			out[path] = f.Type
		}
	}
}

// isLeaf reports whether a struct has a form of its own in JSON.
func isLeaf(t reflect.Type) bool {
	return t.Implements(reflect.TypeFor[json.Marshaler]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]())
}

// kindOf is the Kind that a field of the type must have.
func kindOf(t reflect.Type) Kind {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == reflect.TypeFor[metav1.Duration]() {
		return Duration
	}
	switch t.Kind() {
	case reflect.String:
		return String
	case reflect.Bool:
		return Bool
	case reflect.Int32, reflect.Int64, reflect.Uint32:
		return Int
	case reflect.Float64:
		return Float
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Int32 {
			return Ints
		}
		return Strings
	case reflect.Map:
		switch t.Elem().Kind() {
		case reflect.String:
			return StringMap
		case reflect.Bool:
			return BoolMap
		case reflect.Slice:
			return ListMap
		}
		return Quantities
	}
	return Any
}

// TestEveryFieldIsDecided compares the table with the type of Kubernetes. A field that a
// new release has added fails it until the table says what edgecore does with it.
func TestEveryFieldIsDecided(t *testing.T) {
	want := make(map[string]reflect.Type)
	leaves(reflect.TypeFor[kubelet.KubeletConfiguration](), "", want)
	if len(want) < 130 {
		t.Fatalf("only %d fields were found", len(want))
	}
	for _, f := range Fields() {
		of, ok := want[f.Path]
		delete(want, f.Path)
		switch {
		case !ok:
			t.Errorf("%s is there twice, or no field any more", f.Path)
		case f.Kind != kindOf(of):
			t.Errorf("%s is a %s: its Kind is wrong", f.Path, of)
		case f.Pointer != (of.Kind() == reflect.Pointer):
			t.Errorf("%s is a %s: Pointer is wrong", f.Path, of)
		case (f.Use == Used || f.Use == NotYet) != (f.Why == ""):
			t.Errorf("%s: the reason is for what is not used, and only for that", f.Path)
		case f.Use != Used && f.Use != NotYet && f.Flag != "":
			t.Errorf("%s: it has no use, and the setting %s", f.Path, f.Flag)
		}
	}
	for path, of := range want {
		t.Errorf("%s (%s) is a new field: decide about it in Fields, and make docs", path, of)
	}
	paths := make([]string, 0, len(Fields()))
	for _, f := range Fields() {
		paths = append(paths, f.Path)
	}
	slices.Sort(paths)
	if len(slices.Compact(paths)) != len(Fields()) {
		t.Error("a field is there twice")
	}
}
