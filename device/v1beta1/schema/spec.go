package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// The data types that a property can have. Their names are those of the
// DeviceModel resource.
const (
	TypeInt     Type = "INT"     // 64-bit signed integer in decimal
	TypeFloat   Type = "FLOAT"   // floating point, 64 bits wherever the peer can take it
	TypeDouble  Type = "DOUBLE"  // floating point, 64 bits
	TypeString  Type = "STRING"  // any UTF-8 text
	TypeBoolean Type = "BOOLEAN" // "true" or "false"
	TypeBytes   Type = "BYTES"   // base64
	TypeStream  Type = "STREAM"  // a stream of data outside of the twin, for example video
)

// Type is the data type of a property.
//
// +kubebuilder:validation:Enum=INT;FLOAT;DOUBLE;STRING;BOOLEAN;BYTES;STREAM
type Type string

// The ways in which a property can be used.
const (
	ReadWrite AccessMode = "ReadWrite"
	ReadOnly  AccessMode = "ReadOnly"
)

// AccessMode says whether a property can be set or only read.
//
// +kubebuilder:validation:Enum=ReadWrite;ReadOnly
type AccessMode string

// The ways in which a desired value may be set.
const (
	DesiredByBoth  DesiredBy = "both"  // the cloud and clients on the node; the last one wins
	DesiredByCloud DesiredBy = "cloud" // the Device alone
	DesiredByEdge  DesiredBy = "edge"  // clients on the node alone
)

// DesiredBy says who may set the desired value of a property. Empty is DesiredByBoth.
//
// +kubebuilder:validation:Enum=both;cloud;edge
type DesiredBy string

// Options are a free JSON object: what only the driver of a protocol
// understands. The zero value is no object at all and is left out of the JSON
// of what holds it. Options are not changed once they are made; to compare two,
// decode them.
type Options []byte

// NewOptions makes Options of a struct or map by its JSON form. It fails if v
// does not give a JSON object.
func NewOptions(v any) (Options, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("device: options: %w", err)
	}
	var o Options
	return o, o.UnmarshalJSON(raw)
}

// Decode reads the object into a struct or map of the caller's, by the rules
// of encoding/json. Fields that the object lacks keep the value that they
// have, so defaults are set before the call; empty Options change nothing. Options come
// from a Device, that is from outside: the error is a *jsonlimit.LimitError for
// those that would take much more memory than their text.
func (o Options) Decode(into any) error {
	if len(o) == 0 {
		return nil
	}
	if err := jsonlimit.Unmarshal(o, into); err != nil {
		return fmt.Errorf("device: options: %w", err)
	}
	return nil
}

// Merge returns o laid over defaults: a key at the top level that o lacks comes
// from defaults. Keys below the top level are not merged, since a nested
// object means something only as a whole to the driver.
func (o Options) Merge(defaults Options) (Options, error) {
	if len(defaults) == 0 {
		return o, nil
	}
	if len(o) == 0 {
		return defaults, nil
	}
	base, over := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if err := errors.Join(defaults.Decode(&base), o.Decode(&over)); err != nil {
		return nil, err
	}
	maps.Copy(base, over)
	return NewOptions(base)
}

// MarshalJSON returns the object, or null for the zero value.
func (o Options) MarshalJSON() ([]byte, error) {
	if len(o) == 0 {
		return []byte("null"), nil
	}
	return o, nil
}

// UnmarshalJSON takes a JSON object or null; anything else is an error.
func (o *Options) UnmarshalJSON(raw []byte) error {
	raw = bytes.TrimSpace(raw)
	if string(raw) == "null" {
		*o = nil
		return nil
	}
	if len(raw) == 0 || raw[0] != '{' || !json.Valid(raw) {
		return errors.New("device: options: want a JSON object")
	}
	*o = bytes.Clone(raw)
	return nil
}

// String returns the object's JSON, for logs.
func (o Options) String() string { return string(o) }

// DeviceSpec is what the owner of a device wants of it: the spec of the Device
// resource.
//
// +kubebuilder:object:generate=true
type DeviceSpec struct {
	// DeviceModelRef names the DeviceModel, in the device's own namespace.
	ModelRef ModelRef `json:"deviceModelRef"`
	// NodeName is the edge node that the device hangs on. A change moves the
	// device to another node.
	NodeName string `json:"nodeName,omitempty"`
	// Properties of this device: what is wanted and how each is reached.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=1024
	Properties []Property `json:"properties,omitempty"`
	// Protocol says how the device is reached as a whole.
	Protocol Protocol `json:"protocol,omitempty"`
	// Methods are named groups of properties that a mapper offers to others.
	// +listType=map
	// +listMapKey=name
	Methods []Method `json:"methods,omitempty"`
	// StateReport says whether and how often the device's state is polled.
	StateReport *StateReport `json:"stateReport,omitempty"`
	// Disabled takes the device out of service: it is not opened, read or written. KubeEdge has
	// no such field.
	Disabled bool `json:"disabled,omitempty"`
}

// WithDefaults returns the spec as a driver must see it: protocol, connection
// data and visitors that the device leaves out come from its model.
func (s DeviceSpec) WithDefaults(model DeviceModelSpec) (DeviceSpec, error) {
	out := *s.DeepCopy()
	if out.Protocol.Name == "" {
		out.Protocol.Name = model.Protocol
	}
	var err error
	if out.Protocol.Config, err = s.Protocol.Config.Merge(model.ProtocolConfig); err != nil {
		return DeviceSpec{}, fmt.Errorf("device: protocol.configData: %w", err)
	}
	for i, p := range out.Properties {
		want := model.Property(p.Name)
		if want == nil || want.Visitors == nil {
			continue
		}
		if p.Visitors == nil {
			out.Properties[i].Visitors = want.Visitors.DeepCopy()
			continue
		}
		if p.Visitors.Config, err = p.Visitors.Config.Merge(want.Visitors.Config); err != nil {
			return DeviceSpec{}, fmt.Errorf("device: property %s: visitors.configData: %w", p.Name, err)
		}
		if p.Visitors.ProtocolName == "" {
			p.Visitors.ProtocolName = want.Visitors.ProtocolName
		}
	}
	return out, nil
}

// ModelRef names a DeviceModel in the same namespace.
//
// +kubebuilder:object:generate=true
type ModelRef struct {
	// Name of the DeviceModel.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
}

// Protocol says how a device is reached.
//
// +kubebuilder:object:generate=true
type Protocol struct {
	// ProtocolName selects the mapper: it is the string that the mapper registers.
	Name string `json:"protocolName,omitempty"`
	// ConfigData is the connection data: addresses, ports, whatever the driver of
	// the protocol needs.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Config Options `json:"configData,omitempty"`
}

// Property is one value of a device.
//
// +kubebuilder:object:generate=true
type Property struct {
	// Name of the property, which should be in the device's model.
	// +kubebuilder:validation:Pattern=`^[a-zA-Z0-9\-_.,:/@#]+$`
	// +kubebuilder:validation:MaxLength=128
	Name string `json:"name"`
	// Desired is the value that the user wants. Without it the property is only read.
	Desired *Value `json:"desired,omitempty"`
	// Visitors say how the driver gets at the property.
	Visitors *Visitor `json:"visitors,omitempty"`
	// ReportCycle is the time between two reports, in milliseconds; more than a day has are
	// nanoseconds, as in files for KubeEdge up to 1.17.
	// +kubebuilder:validation:Minimum=0
	ReportCycle int64 `json:"reportCycle,omitempty"`
	// CollectCycle is the time between two readings, in the unit of reportCycle.
	// +kubebuilder:validation:Minimum=0
	CollectCycle int64 `json:"collectCycle,omitempty"`
	// ReportToCloud turns the property's twin reports on.
	ReportToCloud bool `json:"reportToCloud,omitempty"`
	// PushMethod sends readings somewhere else as well.
	PushMethod *PushMethod `json:"pushMethod,omitempty"`
}

// Collect is the time between two readings; 0 if the property names none.
func (p Property) Collect() time.Duration { return cycle(p.CollectCycle) }

// Report is the time between two reports; 0 if the property names none.
func (p Property) Report() time.Duration { return cycle(p.ReportCycle) }

// maxCycle is the longest cycle in milliseconds: a day.
const maxCycle = 24 * 60 * 60 * 1000

// cycle reads a cycle. More milliseconds than a day has are nanoseconds: that is the unit in
// Device files that were written for KubeEdge up to 1.17.
func cycle(value int64) time.Duration {
	if value > maxCycle {
		return time.Duration(value)
	}
	return time.Duration(value) * time.Millisecond
}

// Value is a property's value as text, with what else is said of it, for
// example a timestamp or a type.
//
// +kubebuilder:object:generate=true
type Value struct {
	// Value as text in the form that the property's type demands.
	Value string `json:"value"`
	// Metadata about the value: its "type", and in milliseconds since 1970 "timestamp", when the
	// node stored it, and "measured", when the mapper read it, if the mapper says so.
	Metadata map[string]string `json:"metadata,omitempty"`
}

// Visitor says how a driver gets at one property.
//
// +kubebuilder:object:generate=true
type Visitor struct {
	// ProtocolName is the protocol that configData belongs to.
	ProtocolName string `json:"protocolName,omitempty"`
	// ConfigData is for the driver: registers, offsets, scale.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Config Options `json:"configData,omitempty"`
}

// Method is a named group of properties that a mapper offers to others.
//
// +kubebuilder:object:generate=true
type Method struct {
	// Name of the method.
	Name string `json:"name"`
	// Description for people.
	Description string `json:"description,omitempty"`
	// PropertyNames that the method works on.
	PropertyNames []string `json:"propertyNames,omitempty"`
}

// StateReport says whether and how often a device's state is polled.
//
// +kubebuilder:object:generate=true
type StateReport struct {
	// ReportToCloud turns state reports on.
	ReportToCloud bool `json:"reportToCloud,omitempty"`
	// ReportCycle is the time between two polls, in milliseconds.
	// +kubebuilder:validation:Minimum=0
	ReportCycle int64 `json:"reportCycle,omitempty"`
}

// DeviceModelSpec describes a kind of device: the spec of the DeviceModel resource.
//
// +kubebuilder:object:generate=true
type DeviceModelSpec struct {
	// Properties that devices of this model have.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=1024
	Properties []ModelProperty `json:"properties,omitempty"`
	// Protocol of devices of this model, unless the device names another.
	Protocol string `json:"protocol,omitempty"`
	// ProtocolConfigData is the connection data that a device inherits and can
	// override key by key.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	ProtocolConfig Options `json:"protocolConfigData,omitempty"`
}

// Property returns the property with that name, or nil.
func (m *DeviceModelSpec) Property(name string) *ModelProperty {
	for i := range m.Properties {
		if m.Properties[i].Name == name {
			return &m.Properties[i]
		}
	}
	return nil
}

// ModelProperty describes one property of a kind of device.
//
// +kubebuilder:object:generate=true
// +kubebuilder:validation:XValidation:rule="self.type != 'INT' || !has(self.minimum) || size(self.minimum) == 0 || (self.minimum.matches('^[+-]?[0-9]+$') && int(self.minimum) <= 9223372036854775807)",message="minimum must be a 64-bit integer, as type is INT"
// +kubebuilder:validation:XValidation:rule="self.type != 'INT' || !has(self.maximum) || size(self.maximum) == 0 || (self.maximum.matches('^[+-]?[0-9]+$') && int(self.maximum) <= 9223372036854775807)",message="maximum must be a 64-bit integer, as type is INT"
// +kubebuilder:validation:XValidation:rule="!(self.type in ['FLOAT', 'DOUBLE']) || !has(self.minimum) || size(self.minimum) == 0 || self.minimum.matches('^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$')",message="minimum must be a number, as type is FLOAT or DOUBLE"
// +kubebuilder:validation:XValidation:rule="!(self.type in ['FLOAT', 'DOUBLE']) || !has(self.maximum) || size(self.maximum) == 0 || self.maximum.matches('^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$')",message="maximum must be a number, as type is FLOAT or DOUBLE"
// +kubebuilder:validation:XValidation:rule="!(self.type in ['INT', 'FLOAT', 'DOUBLE']) || !has(self.minimum) || !has(self.maximum) || size(self.minimum) == 0 || size(self.maximum) == 0 || double(self.minimum) <= double(self.maximum)",message="minimum must not be above maximum"
type ModelProperty struct {
	// Name of the property, unique in the model.
	// +kubebuilder:validation:Pattern=`^[a-zA-Z0-9\-_.,:/@#]+$`
	// +kubebuilder:validation:MaxLength=128
	Name string `json:"name"`
	// Description for people.
	Description string `json:"description,omitempty"`
	// Type of the value.
	Type Type `json:"type"`
	// AccessMode says whether the property can be set; empty is ReadOnly.
	AccessMode AccessMode `json:"accessMode,omitempty"`
	// Minimum that the value may have, as text; only for numbers.
	// +kubebuilder:validation:MaxLength=64
	Minimum string `json:"minimum,omitempty"`
	// Maximum that the value may have, as text; only for numbers.
	// +kubebuilder:validation:MaxLength=64
	Maximum string `json:"maximum,omitempty"`
	// Unit of the value, for people.
	Unit string `json:"unit,omitempty"`
	// DesiredBy says who may set the desired value: cloud, edge (clients on the node), or
	// both, which is the default. KubeEdge has no such field.
	DesiredBy DesiredBy `json:"desiredBy,omitempty"`
	// ReportAlways has a value that is reported again as it was count as a change. KubeEdge
	// has no such field.
	ReportAlways bool `json:"reportAlways,omitempty"`
	// History says how many past values the node keeps; without it, none. KubeEdge has no
	// such field.
	History *History `json:"history,omitempty"`
	// Visitors that a device inherits and can override key by key.
	Visitors *Visitor `json:"visitors,omitempty"`
	// Transform says how the value comes from what the device has, and when it is reported.
	// KubeEdge has no such field.
	Transform *Transform `json:"transform,omitempty"`
}

// History says how many past values of a property the node keeps: the last so many, those of
// the last so long, or with both fields what satisfies both.
//
// +kubebuilder:object:generate=true
// +kubebuilder:validation:XValidation:rule="has(self.values) || has(self.duration)",message="name values, duration or both"
type History struct {
	// Values is how many of the newest values are kept.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Values int `json:"values,omitempty"`
	// Duration is the age up to which values are kept, for example "24h" or "90m".
	// +kubebuilder:validation:Pattern=`^([0-9]+(h|m|s))+$`
	// +kubebuilder:validation:MaxLength=32
	Duration string `json:"duration,omitempty"`
}

// MaxAge is Duration; 0 if it is empty, or not a duration, which the resource's schema refuses.
func (h History) MaxAge() time.Duration {
	d, err := time.ParseDuration(h.Duration)
	if err != nil || d < 0 {
		return 0
	}
	return d
}

// Status is what is known of a device: the core of the status of the
// DeviceStatus resource.
//
// +kubebuilder:object:generate=true
type Status struct {
	// Twins are the properties as last reported.
	// +listType=map
	// +listMapKey=propertyName
	Twins []Twin `json:"twins,omitempty"`
	// State of the device: online, offline, ok, unknown, unhealthy or disabled.
	State string `json:"state,omitempty"`
	// LastOnlineTime is when the device was last seen online, in RFC 3339.
	LastOnlineTime string `json:"lastOnlineTime,omitempty"`
	// Extensions are whatever else a mapper says of the device.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Extensions Options `json:"extensions,omitempty"`
}

// Twin is one property as the cloud sees it.
//
// +kubebuilder:object:generate=true
type Twin struct {
	// PropertyName is the name of the property.
	// +kubebuilder:validation:MaxLength=128
	PropertyName string `json:"propertyName"`
	// Reported is the value that the device has. There is none before the first report.
	Reported *Value `json:"reported,omitempty"`
	// ObservedDesired is the desired value that the node knows of; it differs
	// from the Device's own while a change is on its way.
	ObservedDesired *Value `json:"observedDesired,omitempty"`
}
