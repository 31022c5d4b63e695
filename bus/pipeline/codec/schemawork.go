package codec

import (
	"math"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// workDepth is how many levels of an event are looked at. A schema that leads to itself twice
// is found to be too dear within them.
const workDepth = 16

// workOf is the most schemas that a schema may apply to one value of an event, at any depth to
// workDepth; math.MaxInt if it leads to itself without going down. A few hundred bytes of allOf
// and $ref can make more than all time has room for.
func workOf(s *jsonschema.Schema) int {
	w := work{known: map[place]int{}, open: map[place]bool{}}
	most := 0
	for depth := range workDepth + 1 {
		most = max(most, w.at(s, depth))
	}
	return most
}

type place struct {
	schema *jsonschema.Schema
	depth  int
}

type work struct {
	known map[place]int
	open  map[place]bool // being computed
}

// add adds without overflow: a sum that is too large stays below math.MaxInt, which says that
// there is no end.
func add(a, b int) int {
	switch {
	case a == math.MaxInt || b == math.MaxInt:
		return math.MaxInt
	case a > math.MaxInt-1-b:
		return math.MaxInt - 1
	}
	return a + b
}

// at is how many schemas s applies to a value that is so many levels below its own.
func (w *work) at(s *jsonschema.Schema, depth int) int {
	if s == nil {
		return 0
	}
	p := place{s, depth}
	if n, ok := w.known[p]; ok {
		return n
	}
	if w.open[p] {
		return math.MaxInt
	}
	w.open[p] = true
	n := 1
	if depth > 0 {
		n = w.below(s, depth-1)
	}
	for _, same := range inPlace(s) {
		n = add(n, w.at(same, depth))
	}
	delete(w.open, p)
	w.known[p] = n
	return n
}

// below is what s applies to the values in a value. Of the properties with names one applies.
func (w *work) below(s *jsonschema.Schema, depth int) int {
	named := 0
	for _, p := range s.Properties {
		named = max(named, w.at(p, depth))
	}
	n := named
	for _, p := range s.PatternProperties {
		n = add(n, w.at(p, depth))
	}
	placed := 0
	for _, p := range s.PrefixItems {
		placed = max(placed, w.at(p, depth))
	}
	items, one := s.Items.(*jsonschema.Schema)
	if list, ok := s.Items.([]*jsonschema.Schema); ok {
		for _, p := range list {
			placed = max(placed, w.at(p, depth))
		}
	}
	n = add(n, placed)
	if one {
		n = add(n, w.at(items, depth))
	}
	for _, other := range []any{s.AdditionalProperties, s.AdditionalItems} {
		if o, ok := other.(*jsonschema.Schema); ok {
			n = add(n, w.at(o, depth))
		}
	}
	for _, o := range []*jsonschema.Schema{s.PropertyNames, s.UnevaluatedProperties, s.Contains, s.Items2020, s.UnevaluatedItems, s.ContentSchema} {
		n = add(n, w.at(o, depth))
	}
	return n
}

// inPlace are the schemas that s applies to the value that it is applied to.
func inPlace(s *jsonschema.Schema) []*jsonschema.Schema {
	all := []*jsonschema.Schema{s.Ref, s.RecursiveRef, s.Not, s.If, s.Then, s.Else}
	if s.DynamicRef != nil {
		all = append(all, s.DynamicRef.Ref)
	}
	all = append(all, s.AllOf...)
	all = append(all, s.AnyOf...)
	all = append(all, s.OneOf...)
	for _, d := range s.DependentSchemas {
		all = append(all, d)
	}
	for _, d := range s.Dependencies {
		if d, ok := d.(*jsonschema.Schema); ok {
			all = append(all, d)
		}
	}
	return all
}
