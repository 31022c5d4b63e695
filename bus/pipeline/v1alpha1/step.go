package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Step does one thing with each event, of exactly one kind.
//
// +kubebuilder:validation:XValidation:rule="[has(self.filter), has(self.map), has(self.enrich), has(self.window), has(self.dedupe), has(self.rateLimit), has(self.onChange), has(self.schema)].filter(x, x).size() == 1",message="exactly one of filter, map, enrich, window, dedupe, rateLimit, onChange and schema is required"
type Step struct {
	// Name of the step. The step's state is kept under it when the pipeline changes.
	Name Name `json:"name"`
	// From names the sources and steps whose events come in. The default is the step
	// before; for the first step all sources.
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	From []Name `json:"from,omitempty"`
	// Filter passes the events for which an expression is true.
	Filter *Filter `json:"filter,omitempty"`
	// Map changes the data of events.
	Map *Map `json:"map,omitempty"`
	// Enrich adds a value of a twin or rows of a table.
	Enrich *Enrich `json:"enrich,omitempty"`
	// Window makes one event out of many.
	Window *Window `json:"window,omitempty"`
	// Dedupe passes each key once within a time.
	Dedupe *Dedupe `json:"dedupe,omitempty"`
	// RateLimit passes at most so many events within a time.
	RateLimit *RateLimit `json:"rateLimit,omitempty"`
	// OnChange passes events whose value has changed.
	OnChange *OnChange `json:"onChange,omitempty"`
	// Schema passes events whose data match a schema.
	Schema *Schema `json:"schema,omitempty"`
}

// Filter passes the events for which an expression is true.
type Filter struct {
	// Expression must be a bool.
	Expression Expression `json:"expression"`
}

// Map changes the data of events: first data, then drop, then set. All expressions see the
// event as it came in.
//
// +kubebuilder:validation:XValidation:rule="has(self.data) || has(self.set) || has(self.drop) || has(self.type) || has(self.subject)",message="at least one of data, set, drop, type and subject is required"
type Map struct {
	// Data is an expression for all data.
	Data Expression `json:"data,omitempty"`
	// Set has an expression for each field that is set.
	// +kubebuilder:validation:MaxProperties=64
	Set map[string]Expression `json:"set,omitempty"`
	// Drop names the fields that are removed.
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Drop []string `json:"drop,omitempty"`
	// Type is an expression for the event's type.
	Type Expression `json:"type,omitempty"`
	// Subject is an expression for the event's subject.
	Subject Expression `json:"subject,omitempty"`
}

// Enrich adds a value to the data.
//
// +kubebuilder:validation:XValidation:rule="has(self.twin) != has(self.table)",message="exactly one of twin and table is required"
type Enrich struct {
	// Twin adds the reported value of a property.
	Twin *EnrichTwin `json:"twin,omitempty"`
	// Table adds a row.
	Table *EnrichTable `json:"table,omitempty"`
}

// EnrichTwin adds the reported value of a property, or null if there is none.
type EnrichTwin struct {
	// Device is an expression for the device's name.
	Device Expression `json:"device"`
	// Property of the device.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Property string `json:"property"`
	// As is the field of the data.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	As string `json:"as"`
}

// EnrichTable adds a row of a table, or null if there is none.
type EnrichTable struct {
	// Name of the table.
	Name Name `json:"name"`
	// Key is an expression for the row's key.
	Key Expression `json:"key"`
	// As is the field of the data.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	As string `json:"as"`
}

// Window makes one event out of many. Its data have the aggregates by their names, key, and
// window.start and window.end. Its time is the window's end.
//
// +kubebuilder:validation:XValidation:rule="[has(self.tumbling), has(self.hopping), has(self.session), has(self.count), has(self.state)].filter(x, x).size() == 1",message="exactly one of tumbling, hopping, session, count and state is required"
type Window struct {
	// Tumbling is the length of windows that follow each other.
	// +kubebuilder:validation:Format=duration
	Tumbling *metav1.Duration `json:"tumbling,omitempty"`
	// Hopping windows overlap.
	Hopping *HoppingWindow `json:"hopping,omitempty"`
	// Session windows end when nothing has come for a time.
	Session *SessionWindow `json:"session,omitempty"`
	// Count windows have a number of events.
	Count *CountWindow `json:"count,omitempty"`
	// State windows begin and end with certain events.
	State *StateWindow `json:"state,omitempty"`
	// Key is an expression; each of its values has windows of its own. The default is one
	// for all events.
	Key Expression `json:"key,omitempty"`
	// MaxKeys is how many keys the step holds. An event with one more is a dead letter.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	MaxKeys int32 `json:"maxKeys,omitempty"` // 0 means 10,000
	// Lateness is how long after its end a window waits for events, by their times. An
	// event that comes later is dropped and counted. Not for count and state.
	// +kubebuilder:validation:Format=duration
	Lateness *metav1.Duration `json:"lateness,omitempty"`
	// Aggregate has the results by their names: count(), or one of sum, avg, min, max,
	// first, last, stddev and collect with an expression in brackets.
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=32
	Aggregate map[string]Expression `json:"aggregate"`
}

// HoppingWindow is a window of Size that begins each Every.
type HoppingWindow struct {
	// Size is the length of a window.
	// +kubebuilder:validation:Format=duration
	Size metav1.Duration `json:"size"`
	// Every is the time between the begins of two windows.
	// +kubebuilder:validation:Format=duration
	Every metav1.Duration `json:"every"`
}

// SessionWindow ends when no event has come for Gap.
type SessionWindow struct {
	// Gap is the time without events that ends the window.
	// +kubebuilder:validation:Format=duration
	Gap metav1.Duration `json:"gap"`
	// Max is the greatest length of a window; 0 means 24h.
	// +kubebuilder:validation:Format=duration
	Max *metav1.Duration `json:"max,omitempty"`
}

// CountWindow ends with its last event.
type CountWindow struct {
	// Size is the number of events.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Size int32 `json:"size"`
}

// StateWindow begins with the first event for which Start is true and ends with the next for
// which End is true, both included.
type StateWindow struct {
	// Start must be a bool.
	Start Expression `json:"start"`
	// End must be a bool.
	End Expression `json:"end"`
	// Max is the greatest length of a window, by the node's clock; 0 means 24h.
	// +kubebuilder:validation:Format=duration
	Max *metav1.Duration `json:"max,omitempty"`
}

// Dedupe passes each key once within a time.
type Dedupe struct {
	// Key is an expression; the default is the event's id.
	Key Expression `json:"key,omitempty"`
	// Within is how long a key is known after it was passed.
	// +kubebuilder:validation:Format=duration
	Within metav1.Duration `json:"within"`
	// MaxKeys is how many keys the step holds; the oldest is forgotten for one more.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	MaxKeys int32 `json:"maxKeys,omitempty"` // 0 means 10,000
}

// RateLimit passes at most Events within Per, and drops and counts the rest.
type RateLimit struct {
	// Events that may pass.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Events int32 `json:"events"`
	// Per is the time in which they may.
	// +kubebuilder:validation:Format=duration
	Per metav1.Duration `json:"per"`
	// Key is an expression; each of its values has a limit of its own. The default is one
	// for all events.
	Key Expression `json:"key,omitempty"`
	// MaxKeys is how many keys the step holds; the oldest is forgotten for one more.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	MaxKeys int32 `json:"maxKeys,omitempty"` // 0 means 10,000
}

// OnChange passes events whose value differs from that of the event that passed before.
type OnChange struct {
	// Key is an expression; each of its values is looked at by itself. The default is one
	// for all events.
	Key Expression `json:"key,omitempty"`
	// Value is an expression for what is compared; the default is all data.
	Value Expression `json:"value,omitempty"`
	// DeadBand is a decimal number; a number that differs by less has not changed.
	// +kubebuilder:validation:Pattern=`^[0-9]+(\.[0-9]+)?$`
	DeadBand string `json:"deadBand,omitempty"`
	// AtLeastEvery passes an event without change if none has passed for so long.
	// +kubebuilder:validation:Format=duration
	AtLeastEvery *metav1.Duration `json:"atLeastEvery,omitempty"`
	// MaxKeys is how many keys the step holds; the oldest is forgotten for one more.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	MaxKeys int32 `json:"maxKeys,omitempty"` // 0 means 10,000
}

// What becomes of an event that does not match a schema.
const (
	OnFailureDeadLetter = "deadLetter"
	OnFailureDrop       = "drop"
)

// Schema passes events whose data match a schema.
type Schema struct {
	// JSON is a JSON Schema.
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=65536
	JSON string `json:"json"`
	// OnFailure is what becomes of other events; the default is deadLetter.
	// +kubebuilder:validation:Enum=deadLetter;drop
	OnFailure string `json:"onFailure,omitempty"`
}
