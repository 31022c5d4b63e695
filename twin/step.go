package twin

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Step applies ev to d and returns the effects that the caller must then execute, in order.
// It reads no clock and changes nothing that it gets: it copies d.Twins before it writes. A
// device that does not exist is a Device without ID; a Put makes it.
func Step(d Device, ev Event) (Device, []Effect) {
	now := ev.Time.UnixMilli()
	if put, ok := ev.Request.(Put); ok {
		return d.put(ev.Device, now, put)
	}
	if d.ID == "" {
		return d, refuse(CodeUnknown, "device is not known on this node")
	}
	switch r := ev.Request.(type) {
	case Remove:
		return Device{}, []Effect{
			Save{Device: true, Twins: slices.Sorted(maps.Keys(d.Twins))},
			Membership{Kind: Removed, Device: d},
		}
	case Update:
		return d.update(now, r.Twins, false)
	case Sync:
		return d.update(now, r.Twins, true)
	case Read:
		return d, []Effect{Result{Twins: d.live()}}
	case SetState:
		return d.setState(ev.Time, r.State)
	case ReadState:
		return d, []Effect{StateResult{State: d.State, LastOnline: d.LastOnline}}
	}
	return d, refuse(CodeInvalid, "unknown request %T", ev.Request)
}

func refuse(code int, format string, args ...any) []Effect {
	return []Effect{Refused{Err: &Error{Code: code, Reason: fmt.Sprintf(format, args...)}}}
}

// live returns all twins that are not deleted.
func (d Device) live() map[string]*Twin {
	live := make(map[string]*Twin, len(d.Twins))
	for name, t := range d.Twins {
		if !t.Deleted {
			live[name] = &t
		}
	}
	return live
}

// setState follows PROTOCOLS.md 3.4: the state is kept as given; online and
// ok note the time, the others clear it.
func (d Device) setState(now time.Time, state string) (Device, []Effect) {
	changed := state != d.State
	switch strings.ToLower(state) {
	case "online", "ok":
		d.LastOnline = now.UTC().Truncate(time.Second)
	case "offline", "unknown", "unhealthy":
		d.LastOnline = time.Time{}
	default:
		return d, refuse(CodeInvalid, "state %.80q is not one of online, offline, ok, unknown, unhealthy", state)
	}
	d.State = state
	effects := []Effect{Save{Device: true}, StateResult{State: d.State, LastOnline: d.LastOnline}}
	if changed {
		effects = append(effects, Report{State: true})
	}
	return d, effects
}

// update carries out an Update or, with cloud set, a Sync.
func (d Device) update(now int64, patches map[string]*Patch, cloud bool) (Device, []Effect) {
	if len(patches) == 0 {
		return d, refuse(CodeInvalid, "update names no twin")
	}
	names := slices.Sorted(maps.Keys(patches))
	twins := maps.Clone(d.Twins)
	if twins == nil {
		twins = make(map[string]Twin, len(patches))
	}
	result := make(map[string]*Twin, len(patches))
	moved := make(map[string]Transition)
	for _, name := range names {
		if err := CheckName(name); err != nil {
			return d, refuse(CodeInvalid, "%v", err)
		}
		last, known := twins[name]
		next, err := last.apply(known, now, patches[name], cloud)
		if err != nil {
			err.Reason = "twin " + name + ": " + err.Reason
			effects := []Effect{Refused{Err: err}}
			if err.Code == CodeConflict && cloud {
				effects = append(effects, Report{Twins: []string{name}}) // report what the node has
			}
			return d, effects
		}
		if !known && next.Deleted {
			result[name] = nil // there was no such twin
			continue
		}
		twins[name] = next
		result[name] = alive(next, true)
		if step := (Transition{Last: alive(last, known), Current: alive(next, true)}); step.moved() {
			moved[name] = step
		}
	}
	d.Twins = twins
	effects := []Effect{Save{Twins: names}, Result{Twins: result}}
	if len(moved) > 0 {
		effects = append(effects, Document{Twins: moved}, Report{Twins: slices.Sorted(maps.Keys(moved))})
	}
	return d, d.withDelta(effects)
}

// alive returns a pointer to t, or nil for a twin that is deleted or does not exist.
func alive(t Twin, known bool) *Twin {
	if !known || t.Deleted {
		return nil
	}
	return &t
}

// moved reports whether anything but timestamps has changed for clients.
func (t Transition) moved() bool {
	if t.Last == nil || t.Current == nil {
		return t.Last != t.Current
	}
	a, b := t.Last, t.Current
	return !same(a.Expected, b.Expected) || !same(a.Actual, b.Actual) || a.Type != b.Type || a.Optional != b.Optional
}

func same(a, b *Value) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Value == b.Value
}

// apply returns the twin after a patch. t is the zero Twin if it is not known.
func (t Twin) apply(known bool, now int64, p *Patch, cloud bool) (Twin, *Error) {
	if p == nil {
		return t.remove(known), nil
	}
	if !known || t.Deleted {
		t = Twin{Type: p.Type, Optional: true, ExpectedVersion: t.ExpectedVersion, ActualVersion: t.ActualVersion, Declared: t.Declared, Desired: t.Desired}
		if p.Type == "" {
			t.Type = "string"
		}
		if err := CheckType(t.Type); err != nil {
			return t, &Error{Code: CodeInvalid, Reason: err.Error()}
		}
		if p.Optional != nil {
			t.Optional = *p.Optional
		}
	}
	if p.Optional != nil && !*p.Optional {
		t.Optional = false // never back to true
	}
	var err *Error
	if t.Expected, err = t.side("expected", t.Expected, &t.ExpectedVersion, now, p.Expected, p.ExpectedVersion, cloud); err != nil {
		return t, err
	}
	t.Actual, err = t.side("actual", t.Actual, &t.ActualVersion, now, p.Actual, p.ActualVersion, cloud)
	return t, err
}

// side returns expected or actual after a patch and moves its version.
func (t Twin) side(which string, held *Value, version *Version, now int64, text *string, want *Version, cloud bool) (*Value, *Error) {
	if text == nil {
		return held, nil
	}
	if err := CheckValue(t.Type, *text); err != nil {
		return held, &Error{Code: CodeInvalid, Reason: which + " " + err.Error()}
	}
	if cloud && want == nil {
		return held, &Error{Code: CodeInvalid, Reason: which + " value comes from the cloud without a version"}
	}
	if want != nil && want.behind(*version) {
		return held, &Error{Code: CodeConflict, Reason: fmt.Sprintf("%s version %d/%d (cloud/edge) is behind %d/%d", which, want.Cloud, want.Edge, version.Cloud, version.Edge)}
	}
	next := &Value{Value: *text, Time: now}
	switch {
	case cloud:
		*version = *want
	case !same(held, next):
		version.Edge++
	}
	return next, nil
}

// remove returns the twin after its deletion. One that is not optional stays as it is.
func (t Twin) remove(known bool) Twin {
	if known && (!t.Optional || t.Deleted) {
		return t
	}
	t.Expected, t.Actual, t.Deleted = nil, nil, true
	t.ExpectedVersion.Edge++
	t.ActualVersion.Edge++
	return t
}

// withDelta adds a Delta to the effects while any device value differs from the
// desired one.
func (d Device) withDelta(effects []Effect) []Effect {
	open := false
	for _, t := range d.Twins {
		if open = t.differs(); open {
			break
		}
	}
	if !open {
		return effects
	}
	delta := Delta{Twins: make(map[string]Twin), Values: make(map[string]string)}
	for name, t := range d.Twins {
		if !t.hasDesired() {
			continue
		}
		delta.Twins[name] = t
		if t.differs() {
			delta.Values[name] = t.Expected.Value
		}
	}
	return append(effects, delta)
}

// put applies a Put.
func (d Device) put(id string, now int64, r Put) (Device, []Effect) {
	added := d.ID == ""
	if err := CheckID(id); err != nil {
		return d, refuse(CodeInvalid, "%v", err)
	}
	d.ID = id
	var dropped []string
	switch {
	case !added && d.Member.Incarnation != r.Member.Incarnation:
		dropped = slices.Collect(maps.Keys(d.Twins))
		d.Twins, d.State, d.LastOnline = nil, "", time.Time{}
	case r.Member.Version < d.Member.Version:
		return d, nil // an older Put that came late
	}
	member := r.Member
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
		effects = append(effects, Membership{Kind: Changed, Device: d})
	}
	if len(moved) == 0 {
		return d, effects
	}
	effects = append(effects, Document{Twins: moved}, Report{Twins: slices.Sorted(maps.Keys(moved))})
	return d, d.withDelta(effects)
}

// equal ignores Version: a new one often means that only desired values changed.
func (m Member) equal(o Member) bool {
	return m.Description == o.Description && m.Owner == o.Owner && m.Incarnation == o.Incarnation &&
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
	desired := p.Desired
	if desired != nil && CheckValue(typ, *desired) != nil {
		desired = t.Desired // not a value of the type: the last good one stays
	}
	changed := !equal(desired, t.Desired)
	if !known || (t.Deleted && (changed || !t.Declared)) {
		t.Deleted, t.Optional, t.Type = false, true, typ
		altered = true
	}
	if !t.Declared {
		t.Declared, altered = true, true
	}
	if t.Type != typ && !t.Deleted {
		t.Type, altered = typ, true
		t.Expected, t.Actual = fitting(typ, t.Expected), fitting(typ, t.Actual)
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
	t.ExpectedVersion.Cloud = version
	return t, true
}

func equal(a, b *string) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// fitting returns v if it is of the type, else nil.
func fitting(typ string, v *Value) *Value {
	if v == nil || CheckValue(typ, v.Value) != nil {
		return nil
	}
	return v
}
