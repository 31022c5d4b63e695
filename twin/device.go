package twin

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Device is the state of one device. A Device is a value: Step never changes the one that it
// gets, nor its maps.
type Device struct {
	ID         string    `json:"id"`                  // namespace/name; empty if there is no such device
	Member     Member    `json:"member"`              // what its owner declares
	State      string    `json:"state,omitempty"`     // as last reported, for example "online"; empty before the first report
	LastOnline time.Time `json:"lastOnline,omitzero"` // when it was last seen online or ok, in whole seconds; zero if it never was
	LastReport time.Time `json:"lastReport,omitzero"` // of a state or an actual value by a client on the node
	// Within is that of the SetState that State is from.
	Within time.Duration `json:"within,omitempty"`
	// SilentState is the state that the device had when it became "unknown" because it
	// reported nothing for Within, or else Member.ReportWithin; empty otherwise. The next report brings it
	// back.
	SilentState string          `json:"silentState,omitempty"`
	Twins       map[string]Twin `json:"twins,omitempty"` // by property name, deleted ones included
}

// Namespace is the first part of the ID.
func (d Device) Namespace() string {
	namespace, _, _ := strings.Cut(d.ID, "/")
	return namespace
}

// Name is the second part of the ID.
func (d Device) Name() string {
	_, name, _ := strings.Cut(d.ID, "/")
	return name
}

// Member is what the owner of a device declares about it.
type Member struct {
	Description string `json:"description,omitempty"`
	// Owner names the component that put the device, so that each owner removes only its
	// own devices: twin/devicesync uses "cloud".
	Owner string `json:"owner,omitempty"`
	// Incarnation differs when another device has the same ID (a Device object that was
	// deleted and created again); its twins then start empty.
	Incarnation string `json:"incarnation,omitempty"`
	// Version of the owner's desired values. A Put with a lower one is ignored.
	Version uint64 `json:"version,omitempty"`
	// ReportWithin is the longest time between two reports of a device that works. One that
	// is silent for longer becomes "unknown". 0 means that silence says nothing.
	ReportWithin time.Duration `json:"reportWithin,omitempty"`
	// Spec and Model are for the driver; twin does not look into them.
	Spec  json.RawMessage `json:"spec,omitempty"`
	Model json.RawMessage `json:"model,omitempty"`
}

// Twin is one property of a device.
type Twin struct {
	Expected *Value `json:"expected,omitempty"` // the desired value; nil for none
	Actual   *Value `json:"actual,omitempty"`   // the value that the device reported; nil before its first report
	Type     string `json:"type"`               // one of the types in CheckValue
	Optional bool   `json:"optional,omitempty"` // it may be deleted
	Deleted  bool   `json:"deleted,omitempty"`  // it is only remembered for its versions

	ExpectedVersion Version `json:"expectedVersion,omitzero"`
	ActualVersion   Version `json:"actualVersion,omitzero"`

	// Declared says that the device's owner declared the property, with Rule.
	Declared bool `json:"declared,omitempty"`
	Rule     Rule `json:"rule,omitzero"`
	// Desired is what the owner desired last. A local edit after that changes
	// Expected only.
	Desired *string `json:"desired,omitempty"`
}

// differs reports whether the device does not have the desired value yet.
func (t Twin) differs() bool {
	return t.hasDesired() && (t.Actual == nil || t.Actual.Value != t.Expected.Value)
}

// hasDesired reports whether there is a desired value; an empty string counts as none.
func (t Twin) hasDesired() bool { return !t.Deleted && t.Expected != nil && t.Expected.Value != "" }

// Value is one side of a Twin.
type Value struct {
	Value string `json:"value"`
	Time  int64  `json:"time"` // when the edge stored it, in milliseconds since 1970
	// Fault says which limit of the model an actual value breaks; empty for none. The value
	// is kept: it is what the device says.
	Fault string `json:"fault,omitempty"`
}

// Version counts the changes of one value of a Twin, those of the cloud and those of the edge.
type Version struct {
	Cloud uint64 `json:"cloud,omitempty"`
	Edge  uint64 `json:"edge,omitempty"`
}

// behind reports whether a request with version v is older than the stored version.
func (v Version) behind(held Version) bool { return v.Cloud < held.Cloud || v.Edge < held.Edge }

// CheckID says why id cannot be a device's: it must be namespace/name, both
// without slashes, MQTT wildcards or control characters.
func CheckID(id string) error {
	namespace, name, ok := strings.Cut(id, "/")
	if !ok || namespace == "" || name == "" || len(id) > 512 || !utf8.ValidString(id) ||
		strings.ContainsAny(name, "/") || strings.ContainsAny(id, "+#") || strings.ContainsFunc(id, unicode.IsControl) {
		return fmt.Errorf("device id %.80q: use namespace/name without slashes, wildcards or control characters", id)
	}
	return nil
}

// Text returns a pointer to s, for a Patch.
func Text(s string) *string { return &s }
