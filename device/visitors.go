package device

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// Visitors is what a driver has read of the visitors of a device's properties: for each property,
// where its value is. A property whose visitor is wrong fails alone. The zero value has none. It
// does not change.
type Visitors[V any] struct {
	good map[string]V
	bad  map[string]error
}

// NewVisitors calls read with each property of a device.
func NewVisitors[V any](dev Instance, read func(schema.Property) (V, error)) Visitors[V] {
	v := Visitors[V]{make(map[string]V), make(map[string]error)}
	for _, p := range dev.Spec.Properties {
		if visitor, err := read(p); err != nil {
			v.bad[p.Name] = err
		} else {
			v.good[p.Name] = visitor
		}
	}
	return v
}

// Of returns what was read for a property. The error is the one of read, or says that the device
// has no such property.
func (v Visitors[V]) Of(property string) (visitor V, err error) {
	if err := v.bad[property]; err != nil {
		return visitor, err
	}
	visitor, ok := v.good[property]
	if !ok {
		return visitor, fmt.Errorf("the device has no property %q", property)
	}
	return visitor, nil
}

// All gives what was read, by property, without those that failed.
func (v Visitors[V]) All() iter.Seq2[string, V] { return maps.All(v.good) }

// ReadOne reads one property by ReadMany. A BatchReader has it in its Read and ReadRaw.
func ReadOne(ctx context.Context, driver BatchReader, property string) (Reading, error) {
	readings, err := driver.ReadMany(ctx, []string{property})
	r := readingOf(readings, err, property)
	return r, r.Err
}

// readingOf is the reading of a property of what ReadMany returned.
func readingOf(readings map[string]Reading, err error, property string) Reading {
	r, ok := readings[property]
	switch {
	case err != nil:
		return Reading{Err: err}
	case !ok:
		return Reading{Err: errors.New("the driver has not read it")}
	}
	return r
}
