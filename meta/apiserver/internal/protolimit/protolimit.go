// Package protolimit does for the protobuf form of Kubernetes' types what meta/jsonlimit
// does for JSON: two bytes on the wire can become a Container of 900. Check walks a
// message together with its Go type, by the numbers in the field tags, and refuses one that
// would need more than 16 bytes for each of its own. The package remembers what it learned
// of a type until the program ends.
package protolimit

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// maxDepth is how deep messages may be in each other.
const maxDepth = 100

// shape is what decoding into one type allocates.
type shape struct {
	size   int
	fields map[protowire.Number]field // nil if it is not a message
}

// field is one field of a message.
type field struct {
	name    string
	elem    *shape // of each element
	list    bool   // it may come again and again
	entries bool   // it is a map, and elem what its values are
	pointer bool
}

// shapes is a memo of shapeOf: reflect.Type to *shape.
var shapes sync.Map

// Check returns an error if decoding data into a value of into's type would allocate too
// much, a *jsonlimit.LimitError in most cases. Data that is not valid protobuf is left to
// the decoder.
func Check(data []byte, into any) error {
	t := reflect.TypeOf(into)
	if t == nil || t.Kind() != reflect.Pointer {
		return nil
	}
	w := walker{jsonlimit.NewBudget(len(data))}
	return w.message(shapeOf(t.Elem()), data, 0)
}

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

type builder map[reflect.Type]*shape

func (b builder) shape(t reflect.Type) *shape {
	if s := b[t]; s != nil {
		return s
	}
	s := &shape{size: int(t.Size())}
	b[t] = s
	if t.Kind() != reflect.Struct {
		return s
	}
	s.fields = map[protowire.Number]field{}
	for i := range t.NumField() {
		f := t.Field(i)
		parts := strings.SplitN(f.Tag.Get("protobuf"), ",", 3)
		if len(parts) < 3 {
			continue
		}
		n, err := strconv.Atoi(parts[1])
		if err != nil {
			continue
		}
		s.fields[protowire.Number(n)] = b.field(f)
	}
	return s
}

func (b builder) field(f reflect.StructField) field {
	out, t := field{name: f.Name}, f.Type
	switch t.Kind() {
	case reflect.Map:
		out.entries = true
		t = t.Elem()
	case reflect.Slice:
		if t.Elem().Kind() != reflect.Uint8 {
			out.list = true
			t = t.Elem()
		}
	}
	if t.Kind() == reflect.Pointer {
		out.pointer = true
		t = t.Elem()
	}
	out.elem = b.shape(t)
	return out
}

type walker struct{ budget *jsonlimit.Budget }

// maxNumber is above the number of every field of Kubernetes' types that is a
// list; the elements of one beyond it are counted as if they always made it grow.
const maxNumber = 64

// message walks one message. It allocates nothing unless it fails.
func (w walker) message(s *shape, b []byte, depth int) error {
	if depth > maxDepth {
		return &jsonlimit.LimitError{Length: len(b), Limit: maxDepth, Deep: true}
	}
	var seen elements
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil
		}
		b = b[n:]
		var value []byte
		if typ == protowire.BytesType {
			value, n = protowire.ConsumeBytes(b)
		} else {
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return nil
		}
		b = b[n:]
		f, ok := s.fields[num]
		if !ok {
			continue
		}
		cost, err := seen.cost(f, num, value)
		if err != nil {
			return err
		}
		err = w.budget.Take(f.name, cost)
		if err == nil && f.elem.fields != nil && value != nil {
			if f.entries { // the value is field 2 of a map entry
				value = entryValue(value)
			}
			if err = w.message(f.elem, value, depth+1); err != nil {
				err = within(f.name, err)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// elements counts, by a field's number, the elements of a message's fields, and the places
// that were allocated for them.
type elements struct{ have, used [maxNumber]int }

// cost returns how many bytes one more element of the field takes.
func (e *elements) cost(f field, num protowire.Number, value []byte) (int, error) {
	cost := len(value) + 8
	switch {
	case num >= maxNumber:
		return cost + 6*f.place() + f.elem.size, nil
	case f.list || f.entries:
		if e.used[num] == e.have[num] {
			e.have[num] = grown(e.have[num])
			cost += e.have[num] * f.place()
		}
		if f.entries || f.pointer {
			cost += f.elem.size + 64
		}
	case f.elem.fields != nil && e.used[num] > 0:
		return 0, fmt.Errorf("field %s appears twice: send it once", f.name) // it would be merged, and its lists grow on
	case f.pointer:
		cost += f.elem.size + f.elem.size/8
	case f.elem.fields != nil && len(f.elem.fields) == 0: // a type of its own decoder
		cost += 96
	case value == nil:
		cost = 0
	}
	e.used[num]++
	return cost, nil
}

// within puts name before the path of an error.
func within(name string, err error) error {
	e, ok := errors.AsType[*jsonlimit.LimitError](err)
	if !ok {
		return fmt.Errorf("%s: %w", name, err)
	}
	if e.Path != "" {
		name += "." + e.Path
	}
	return &jsonlimit.LimitError{Path: name, Length: e.Length, Limit: e.Limit, Deep: e.Deep}
}

// place is what one element needs in its slice or map, in bytes.
func (f field) place() int {
	switch {
	case f.pointer:
		return 8
	case f.entries:
		return 2 * (16 + f.elem.size)
	}
	return f.elem.size + f.elem.size/8
}

// grown is how the runtime lets a slice grow.
func grown(n int) int {
	switch {
	case n == 0:
		return 1
	case n < 256:
		return 2 * n
	}
	return n + (n+3*256)/4
}

func entryValue(b []byte) []byte {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil
		}
		b = b[n:]
		if num == 2 && typ == protowire.BytesType {
			v, _ := protowire.ConsumeBytes(b)
			return v
		}
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			return nil
		}
		b = b[n:]
	}
	return nil
}
