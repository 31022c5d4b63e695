package twin

import (
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
		return d.update(ev.Time, r.Twins, false)
	case Sync:
		return d.update(ev.Time, r.Twins, true)
	case Read:
		return d, []Effect{Result{Twins: d.live()}}
	case SetState:
		return d.setState(ev.Time, r)
	case ReadState:
		return d, []Effect{StateResult{State: d.State, LastOnline: d.LastOnline}}
	case Tick:
		return d.tick(ev.Time)
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

// setState follows PROTOCOLS.md 3.4: the state is kept as given; online and ok note the time.
func (d Device) setState(now time.Time, r SetState) (Device, []Effect) {
	state := r.State
	if !isState(state, "online", "ok", "offline", "unknown", "unhealthy") {
		return d, refuse(CodeInvalid, "state %.80q is not one of online, offline, ok, unknown, unhealthy", state)
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
