package twin

import (
	"fmt"
	"slices"
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
	Conditions  []Condition     `json:"conditions,omitempty"` // by type, as last reported
	Twins       map[string]Twin `json:"twins,omitempty"`      // by property name, deleted ones included
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

// SetState reports the device's state: online, offline, ok, unknown,
// unhealthy or disabled, in any letter case.
type SetState struct {
	State string
	// Within is the longest time until the device is reported again, by a state or an
	// actual value; after that it is unknown. 0 leaves it to Member.ReportWithin.
	Within time.Duration
}

// ReadState asks for a StateResult.
type ReadState struct{}

// Tick says only that time has passed: a device that reported nothing for
// Member.ReportWithin becomes unknown. The Engine sends it.
type Tick struct{}

// StateResult answers SetState and ReadState.
type StateResult struct {
	State      string
	LastOnline time.Time // when it was last seen online or ok; zero if it never was
}

func (SetState) request()   {}
func (ReadState) request()  {}
func (Tick) request()       {}
func (StateResult) effect() {}

// setState follows PROTOCOLS.md 3.4: the state is kept as given; online and ok note the time.
func (d Device) setState(now time.Time, r SetState) (Device, []Effect) {
	state := r.State
	if !isState(state, "online", "ok", "offline", "unknown", "unhealthy", "disabled") {
		return d, refuse(CodeInvalid, "state %.80q is not one of online, offline, ok, unknown, unhealthy, disabled", state)
	}
	if r.Within < 0 {
		return d, refuse(CodeInvalid, "the time until the next report is %v: it must not be negative", r.Within)
	}
	changed := state != d.State
	saved := changed || r.Within != d.Within
	d.State, d.SilentState, d.Within = state, "", r.Within
	d.report(now)
	effects := []Effect{Save{Device: saved, LaterDevice: !saved}, StateResult{State: d.State, LastOnline: d.LastOnline}}
	if changed {
		effects = append(effects, Report{State: true})
	}
	return d, effects
}

// isState reports whether state is one of names, in any letter case.
func isState(state string, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, state) })
}

// report notes that a client on the node has reported the device, and returns whether its
// state has changed by that.
func (d *Device) report(now time.Time) (changed bool) {
	d.LastReport = now.UTC()
	if d.SilentState != "" {
		d.State, d.SilentState, changed = d.SilentState, "", true
	}
	if isState(d.State, "online", "ok") {
		d.LastOnline = now.UTC().Truncate(time.Second)
	}
	return changed
}

// tick has a device become unknown that should have reported by now. A device that never
// reported a state keeps it that way.
func (d Device) tick(now time.Time) (Device, []Effect) {
	within := d.Within
	if within == 0 {
		within = d.Member.ReportWithin
	}
	if within <= 0 || now.Sub(d.LastReport) <= within || !isState(d.State, "online", "ok", "unhealthy") {
		return d, nil
	}
	d.SilentState, d.State = d.State, "unknown"
	return d, []Effect{Save{Device: true}, StateResult{State: d.State, LastOnline: d.LastOnline}, Report{State: true}}
}

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
