package twin

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"time"
)

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
	// Protocol selects the mapper: spec.protocol.protocolName of a Device. Empty for none.
	Protocol string `json:"protocol,omitempty"`
	// Spec and Model are for the driver; twin does not look into them.
	Spec  json.RawMessage `json:"spec,omitempty"`
	Model json.RawMessage `json:"model,omitempty"`
}

// Declaration is a property that the device's owner names.
type Declaration struct {
	Name    string
	Type    string  // see CheckValue; empty means string
	Rule    Rule    // what else the model says of it
	Desired *string // the owner's desired value; nil for none. One that Twin.CheckDesired refuses is ignored.
}

// Put says that the device belongs to the node, and what its owner declares. It adds
// the device or updates it.
type Put struct {
	Member     Member
	Properties []Declaration
}

// Remove says that the device no longer belongs to the node.
type Remove struct{}

// Membership says that the owner added or removed the device, or changed more
// of it than desired values.
type Membership struct {
	Kind   MembershipKind
	Device Device // as it is now; for Removed as it was
	// Last is what the owner declared before; zero for Added.
	Last Member
	// Anew says that the Device is another one than before with this ID; its twins began empty.
	Anew bool
}

// MembershipKind says what happened to a device.
type MembershipKind int

// The kinds of Membership.
const (
	Added MembershipKind = iota + 1
	Removed
	Changed
)

func (Put) request()       {}
func (Remove) request()    {}
func (Membership) effect() {}

// put applies a Put.
func (d Device) put(id string, now int64, r Put) (Device, []Effect) {
	added := d.ID == ""
	if err := CheckID(id); err != nil {
		return d, refuse(CodeInvalid, "%v", err)
	}
	d.ID = id
	var dropped []string
	anew := !added && d.Member.Incarnation != r.Member.Incarnation
	switch {
	case anew:
		dropped = slices.Collect(maps.Keys(d.Twins))
		d.Twins, d.State, d.Within, d.SilentState, d.LastOnline, d.LastReport = nil, "", 0, "", time.Time{}, time.Time{}
	case r.Member.Version < d.Member.Version:
		return d, nil // an older Put that came late
	}
	member, last := r.Member, d.Member
	respecified := !added && !d.Member.equal(member)
	saved := added || respecified || d.Member.Version != member.Version
	before := d.Twins
	twins, touched := declare(d.Twins, now, r)
	d.Member, d.Twins = member, twins

	moved := make(map[string]Transition)
	for _, name := range touched {
		last, known := before[name]
		next, stays := twins[name]
		if step := (Transition{Last: alive(last, known), Current: alive(next, stays)}); step.moved() {
			moved[name] = step
		}
	}
	names := append(touched, dropped...)
	slices.Sort(names)
	names = slices.Compact(names)
	if !saved && len(names) == 0 {
		return d, nil
	}
	effects := []Effect{Save{Device: saved, Twins: names}}
	switch {
	case added:
		effects = append(effects, Membership{Kind: Added, Device: d})
	case respecified:
		effects = append(effects, Membership{Kind: Changed, Device: d, Last: last, Anew: anew})
	}
	if len(moved) == 0 {
		return d, effects
	}
	effects = append(effects, Document{Twins: moved}, Report{Twins: slices.Sorted(maps.Keys(moved))})
	return d, d.withDelta(effects)
}

// equal ignores Version: a new one often means that only desired values changed.
func (m Member) equal(o Member) bool {
	return m.Description == o.Description && m.Owner == o.Owner && m.Incarnation == o.Incarnation && m.ReportWithin == o.ReportWithin && m.Protocol == o.Protocol &&
		bytes.Equal(m.Spec, o.Spec) && bytes.Equal(m.Model, o.Model)
}

// declare applies the owner's declarations to the twins. It returns the new twins and the
// names of those that are new, changed or removed.
func declare(held map[string]Twin, now int64, r Put) (twins map[string]Twin, touched []string) {
	twins = maps.Clone(held)
	if twins == nil {
		twins = make(map[string]Twin, len(r.Properties))
	}
	named := make(map[string]bool, len(r.Properties))
	for _, p := range r.Properties {
		if CheckName(p.Name) != nil || named[p.Name] {
			continue // the owner's schema refuses such a name; the other properties are applied
		}
		named[p.Name] = true
		t, known := held[p.Name]
		if next, altered := t.declare(known, now, r.Member.Version, p); altered {
			twins[p.Name] = next
			touched = append(touched, p.Name)
		}
	}
	for name, t := range held {
		if t.Declared && !named[name] {
			delete(twins, name)
			touched = append(touched, name)
		}
	}
	return twins, touched
}

// declare returns the twin as its owner declares it, and whether it has changed.
func (t Twin) declare(known bool, now int64, version uint64, p Declaration) (Twin, bool) {
	altered := false
	typ := p.Type
	if typ == "" || CheckType(typ) != nil {
		typ = "string"
	}
	ruled := Twin{Type: typ, Rule: p.Rule}
	desired := p.Desired
	if !ruled.allows(desired) {
		if desired = t.Desired; !ruled.allows(desired) { // the last good one stays, if it still is
			desired = nil
		}
	}
	changed := !equal(desired, t.Desired)
	if !known || (t.Deleted && (changed || !t.Declared)) {
		t.Deleted, t.Optional = false, true
		altered = true
	}
	if !t.Declared {
		t.Declared, altered = true, true
	}
	if t.Type != typ || t.Rule != p.Rule {
		t.Type, t.Rule, altered = typ, p.Rule, true
		t.refit()
	}
	if !changed {
		return t, altered
	}
	switch {
	case desired != nil:
		t.Expected = &Value{Value: *desired, Time: now}
	case t.Expected != nil && t.Desired != nil && t.Expected.Value == *t.Desired:
		t.Expected = nil // the owner no longer desires a value; a local edit after that would stay
	}
	t.Desired = desired
	t.ExpectedVersion.Cloud = max(t.ExpectedVersion.Cloud, version) // a Sync may have brought a higher one
	return t, true
}

func equal(a, b *string) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// allows reports whether the owner may desire the value.
func (t Twin) allows(value *string) bool { return value == nil || t.checkDesired(*value, true) == nil }

// refit drops the values that a new type or rule refuses, and judges the actual one anew.
func (t *Twin) refit() {
	if v := t.Expected; v != nil && v.Value != "" && (t.Rule.ReadOnly || t.checkWritten(v.Value) != nil) {
		t.Expected = nil
	}
	if v := t.Actual; v != nil {
		if t.Actual = nil; CheckValue(t.Type, v.Value) == nil {
			t.Actual = &Value{Value: v.Value, Time: v.Time, Measured: v.Measured, Fault: t.fault(v.Value)}
		}
	}
}
