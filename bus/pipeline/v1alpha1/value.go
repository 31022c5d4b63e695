package v1alpha1

import (
	"encoding/json"
	"slices"
)

// Value is any JSON value.
type Value struct {
	// Raw is the value as JSON; empty means null.
	Raw json.RawMessage `json:"-"`
}

// MarshalJSON returns the value's JSON.
func (v Value) MarshalJSON() ([]byte, error) {
	if len(v.Raw) == 0 {
		return []byte("null"), nil
	}
	return v.Raw, nil
}

// UnmarshalJSON keeps a copy of the JSON.
func (v *Value) UnmarshalJSON(b []byte) error {
	v.Raw = slices.Clone(b)
	return nil
}

// Row is a JSON object: one row of a Table.
//
// +kubebuilder:validation:Type=object
// +kubebuilder:validation:XPreserveUnknownFields
type Row struct {
	// Raw is the object as JSON; empty means {}.
	Raw json.RawMessage `json:"-"`
}

// MarshalJSON returns the row's JSON.
func (r Row) MarshalJSON() ([]byte, error) {
	if len(r.Raw) == 0 {
		return []byte("{}"), nil
	}
	return r.Raw, nil
}

// UnmarshalJSON keeps a copy of the JSON.
func (r *Row) UnmarshalJSON(b []byte) error {
	r.Raw = slices.Clone(b)
	return nil
}
