package jsonlimit

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"sync"
)

// kind is how a value is decoded.
type kind uint8

const (
	skipped kind = iota // it is not decoded
	scalar              // a number or a boolean, in place
	text                // a string, or bytes
	pointer
	list
	array // of fixed length, in place
	dict
	object
	anything // an empty interface
	raw      // json.RawMessage
	own      // a type that decodes itself
)

// shape is what decoding into one type allocates.
type shape struct {
	kind   kind
	size   int               // of the value itself, in bytes
	elem   *shape            // of a pointer, list, array or dict
	fields map[string]*shape // of an object, by their names in JSON
	folded map[string]*shape // the same, in lower case

	digits   int  // fewest digits of a number; 0 for a boolean
	unsigned bool // it takes no sign
	quantity bool // it is Kubernetes' Quantity, which allocates little
}

// shapes is a memo of shapeOf: reflect.Type to *shape.
var shapes sync.Map

// shapeOf returns the shape of a type.
func shapeOf(t reflect.Type) *shape {
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	b := builder{}
	s := b.shape(t)
	for t, s := range b {
		shapes.LoadOrStore(t, s)
	}
	return s
}

// builder has the shapes that are not all complete yet, since a type may have
// itself in it.
type builder map[reflect.Type]*shape

func (b builder) shape(t reflect.Type) *shape {
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	if s := b[t]; s != nil {
		return s
	}
	s := &shape{size: int(t.Size())}
	b[t] = s
	switch {
	case t == reflect.TypeFor[json.RawMessage]():
		s.kind = raw
		return s
	case t.Kind() != reflect.Pointer && decodesItself(t):
		s.kind = own
		s.quantity = t.Name() == "Quantity" && t.PkgPath() == "k8s.io/apimachinery/pkg/api/resource"
		return s
	}
	switch t.Kind() {
	case reflect.Pointer:
		s.kind, s.elem = pointer, b.shape(t.Elem())
	case reflect.Slice:
		if s.kind, s.elem = list, b.shape(t.Elem()); t.Elem().Kind() == reflect.Uint8 && s.elem.kind == scalar {
			s.kind = text
		}
	case reflect.Array:
		s.kind, s.elem = array, b.shape(t.Elem())
	case reflect.Map:
		s.kind, s.elem = dict, b.shape(t.Elem())
	case reflect.Struct:
		s.kind, s.fields = object, map[string]*shape{}
		b.add(s.fields, t)
		s.folded = make(map[string]*shape, len(s.fields))
		for name, f := range s.fields {
			s.folded[strings.ToLower(name)] = f
		}
	case reflect.Interface:
		if s.kind = skipped; t.NumMethod() == 0 {
			s.kind = anything
		}
	case reflect.String:
		s.kind = text
	case reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Complex64, reflect.Complex128:
		s.kind = skipped
	case reflect.Bool:
		s.kind = scalar
	default:
		s.kind = scalar
		s.digits = s.size * 9 / 4 // 2, 4, 9 and 18, a sign counted as one
		s.unsigned = t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uintptr
	}
	return s
}

func decodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// add puts the fields of a struct into the set, those of embedded ones last, so
// that the outer name wins.
func (b builder) add(fields map[string]*shape, t reflect.Type) {
	var embedded []reflect.Type
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		name, _, _ := strings.Cut(tag, ",")
		switch {
		case tag == "-":
			continue
		case f.Anonymous && name == "":
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct {
				embedded = append(embedded, inner)
				continue
			}
		}
		if !f.IsExported() {
			continue
		}
		if name == "" {
			name = f.Name
		}
		if fields[name] == nil {
			fields[name] = b.shape(f.Type)
		}
	}
	for _, inner := range embedded {
		b.add(fields, inner)
	}
}

func shapeOfAny() *shape { return shapeOf(reflect.TypeFor[any]()) }
