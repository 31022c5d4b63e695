package twin

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// update carries out an Update or, with cloud set, a Sync. With owned set it writes into
// d.Twins; else it copies them first.
func (d Device) update(now time.Time, patches map[string]*Patch, cloud, owned bool) (Device, []Effect) {
	if len(patches) == 0 {
		return d, refuse(CodeInvalid, "update names no twin")
	}
	u := &changes{before: d.Twins, now: now.UnixMilli(), cloud: cloud, result: make(map[string]*Twin, len(patches))}
	for _, name := range sortedKeys(patches) {
		if err := u.apply(name, patches[name]); err != nil {
			effects := []Effect{Refused{Err: err}}
			if err.Code == CodeConflict && cloud {
				effects = append(effects, Report{Twins: []string{name}}) // report what the node has
			}
			return d, effects
		}
	}
	if err := u.checkSize(); err != nil {
		return d, []Effect{Refused{Err: err}}
	}
	d.Twins = u.twins(owned)
	stateChanged := u.reported && d.report(now)
	slices.Sort(u.save.Twins)
	u.save.Device, u.save.LaterDevice = stateChanged, u.reported && !stateChanged
	effects := append(make([]Effect, 0, 5), u.save, Result{Twins: u.result})
	if len(u.past) > 0 {
		effects = append(effects, Past{Values: u.past})
	}
	if len(u.moved) > 0 {
		effects = append(effects, Document{Twins: u.moved})
	}
	if len(u.moved) > 0 || stateChanged {
		effects = append(effects, Report{State: stateChanged, Twins: sortedKeys(u.moved)})
	}
	return d, d.withDelta(effects)
}

// sortedKeys returns the keys of m in order. One key, the usual number, needs no sort.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	if len(keys) > 1 {
		slices.Sort(keys)
	}
	return keys
}

// changes is what an update does to the twins of one device.
type changes struct {
	before map[string]Twin // is only read
	now    int64
	cloud  bool

	next     []namedTwin         // the new forms of the touched twins
	added    int                 // how many of next are new
	dropped  map[string]struct{} // twins that make room; nil for none
	save     Save
	result   map[string]*Twin
	moved    map[string]Transition // nil for none
	past     map[string]Value      // nil for none
	reported bool                  // a client on the node reported an actual value
	grown    bool                  // a twin has more bytes than before
}

type namedTwin struct {
	name string
	twin Twin
}

// twins returns the twins after the update: in u.before itself if it is owned.
func (u *changes) twins(owned bool) map[string]Twin {
	twins := u.before
	if !owned {
		twins = maps.Clone(twins)
	}
	if twins == nil {
		twins = make(map[string]Twin, len(u.next))
	}
	for name := range u.dropped {
		delete(twins, name)
	}
	for _, n := range u.next {
		twins[n.name] = n.twin
	}
	return twins
}

// apply carries out the patch of one twin.
func (u *changes) apply(name string, p *Patch) *Error {
	if err := CheckName(name); err != nil {
		return &Error{Code: CodeInvalid, Reason: err.Error()}
	}
	last, known := u.before[name]
	if _, dropped := u.dropped[name]; dropped {
		last, known = Twin{}, false
	}
	if err := u.makeRoom(name, known, p); err != nil {
		return err
	}
	next, err := last.apply(known, u.now, p, u.cloud)
	if err != nil {
		err.Reason = "twin " + name + ": " + err.Reason
		return err
	}
	if !known && next.Deleted {
		u.result[name] = nil // there was no such twin
		return nil
	}
	if !known {
		u.added++
	}
	u.next = append(u.next, namedTwin{name, next})
	u.result[name] = alive(next, true)
	reported := p != nil && p.Actual != nil && !u.cloud
	u.reported = u.reported || reported
	u.grown = u.grown || next.size() > last.size()
	if known && last.sameButTime(next) {
		u.save.Later = append(u.save.Later, name)
	} else {
		u.save.Twins = append(u.save.Twins, name)
	}
	always := reported && next.Rule.ReportAlways
	if next.Actual != nil && !next.Rule.History.IsZero() && (always || !same(last.Actual, next.Actual)) {
		if u.past == nil {
			u.past = make(map[string]Value)
		}
		u.past[name] = *next.Actual
	}
	step := Transition{Last: alive(last, known), Current: u.result[name]}
	if always || step.moved() {
		if u.moved == nil {
			u.moved = make(map[string]Transition, 1)
		}
		u.moved[name] = step
	}
	return nil
}

// makeRoom refuses a new twin that would be one too many. Deleted twins that nobody
// declared, which are kept for their versions only, go first.
func (u *changes) makeRoom(name string, known bool, p *Patch) *Error {
	count := func() int { return len(u.before) + u.added - len(u.dropped) }
	if known || p == nil || count() < MaxTwins {
		return nil
	}
	drop := func(name string) {
		if u.dropped == nil {
			u.dropped = make(map[string]struct{})
		}
		if _, dropped := u.dropped[name]; !dropped {
			u.dropped[name] = struct{}{}
			u.save.Twins = append(u.save.Twins, name)
		}
	}
	for other, t := range u.before {
		if _, touched := u.result[other]; t.Deleted && !t.Declared && !touched {
			drop(other)
		}
	}
	u.next = slices.DeleteFunc(u.next, func(n namedTwin) bool {
		gone := n.twin.Deleted && !n.twin.Declared
		if _, held := u.before[n.name]; gone && held {
			drop(n.name)
			return true
		}
		return false
	})
	if n := count(); n >= MaxTwins {
		return &Error{Code: CodeTooLarge, Reason: fmt.Sprintf("twin %s: the device has %d twins, which is the limit: delete some (null)", name, n)}
	}
	return nil
}

// checkSize refuses an update after which the device would have more than MaxBytes.
func (u *changes) checkSize() *Error {
	if !u.grown {
		return nil
	}
	size := 0
	for name, t := range u.before {
		if _, dropped := u.dropped[name]; !dropped {
			size += len(name) + t.size()
		}
	}
	for _, n := range u.next {
		if last, known := u.before[n.name]; known {
			if _, dropped := u.dropped[n.name]; !dropped {
				size -= len(n.name) + last.size()
			}
		}
		size += len(n.name) + n.twin.size()
	}
	if size > MaxBytes {
		return &Error{Code: CodeTooLarge, Reason: fmt.Sprintf("the twins of the device would have %d bytes, and the limit is %d", size, MaxBytes)}
	}
	return nil
}

// size is how many bytes the values of the twin have.
func (t Twin) size() int {
	size := 0
	for _, v := range []*Value{t.Expected, t.Actual} {
		if v != nil {
			size += len(v.Value)
		}
	}
	return size
}

// sameButTime reports whether two states of a twin differ in timestamps only.
func (t Twin) sameButTime(o Twin) bool {
	return same(t.Expected, o.Expected) && same(t.Actual, o.Actual) && equal(t.Desired, o.Desired) &&
		t.Type == o.Type && t.Optional == o.Optional && t.Deleted == o.Deleted && t.Declared == o.Declared && t.Rule == o.Rule &&
		t.ExpectedVersion == o.ExpectedVersion && t.ActualVersion == o.ActualVersion
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
	return a.Value == b.Value && a.Fault == b.Fault
}

// apply returns the twin after a patch. t is the zero Twin if it is not known.
func (t Twin) apply(known bool, now int64, p *Patch, cloud bool) (Twin, *Error) {
	if p == nil {
		return t.remove(known), nil
	}
	if !known || t.Deleted {
		t = Twin{Type: t.typeOf(p), Optional: true, ExpectedVersion: t.ExpectedVersion, ActualVersion: t.ActualVersion, Declared: t.Declared, Rule: t.Rule, Desired: t.Desired}
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
	if p.Expected != nil {
		if err := t.checkDesired(*p.Expected, cloud); err != nil {
			return t, err
		}
		if err := t.ExpectedVersion.move("expected", p.ExpectedVersion, cloud, !t.expects(*p.Expected)); err != nil {
			return t, err
		}
		t.Expected = &Value{Value: *p.Expected, Time: now}
	}
	if p.Actual != nil {
		if err := CheckValue(t.Type, *p.Actual); err != nil {
			return t, &Error{Code: CodeInvalid, Reason: "actual " + err.Error()}
		}
		next := &Value{Value: *p.Actual, Time: now, Measured: measured(p.Measured, now), Fault: t.fault(*p.Actual)}
		if err := t.ActualVersion.move("actual", p.ActualVersion, cloud, !same(t.Actual, next)); err != nil {
			return t, err
		}
		t.Actual = next
	}
	return t, nil
}

// typeOf returns the type of a twin that a patch makes, or brings back. What its owner
// declared, it stays.
func (t Twin) typeOf(p *Patch) string {
	switch {
	case t.Declared:
		return t.Type
	case p.Type == "":
		return "string"
	}
	return p.Type
}

// expects reports whether value is the desired value already.
func (t Twin) expects(value string) bool { return t.Expected != nil && t.Expected.Value == value }

// fault says which of the model's limits an actual value breaks.
func (t Twin) fault(value string) string {
	if err := t.Rule.CheckLimits(t.Type, value); err != nil {
		return err.Error()
	}
	return ""
}

// move brings a version up to date for a new value. request is the version that the request
// names; which is the side, for the error.
func (v *Version) move(which string, request *Version, cloud, changed bool) *Error {
	if cloud && request == nil {
		return &Error{Code: CodeInvalid, Reason: which + " value comes from the cloud without a version"}
	}
	if request != nil && request.behind(*v) {
		return &Error{Code: CodeConflict, Reason: fmt.Sprintf("%s version %d/%d (cloud/edge) is behind %d/%d", which, request.Cloud, request.Edge, v.Cloud, v.Edge)}
	}
	switch {
	case cloud:
		*v = *request
	case changed:
		v.Edge++
	}
	return nil
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
	if delta, open := d.Delta(); open {
		return append(effects, delta)
	}
	return effects
}

// Delta returns the desired values that the device does not have yet, and whether there are
// any.
func (d Device) Delta() (delta Delta, open bool) {
	for _, t := range d.Twins {
		if open = t.differs(); open {
			break
		}
	}
	if !open {
		return Delta{}, false
	}
	delta = Delta{Twins: make(map[string]Twin), Values: make(map[string]string)}
	for name, t := range d.Twins {
		if !t.hasDesired() {
			continue
		}
		delta.Twins[name] = t
		if t.differs() {
			delta.Values[name] = t.Expected.Value
		}
	}
	return delta, true
}
