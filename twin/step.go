package twin

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Event is a request to one device at a moment.
type Event struct {
	Device  string    // namespace/name
	Time    time.Time // becomes the timestamp of what changes; milliseconds count
	Request Request
}

// Request is a request about a device: one of Put, Remove, Update, Sync, Read, SetState,
// SetConditions, ReadState and Tick.
type Request interface{ request() }

// Effect is something to do after a Step: one of Save, Refused, Result,
// Past, Document, Delta, StateResult, Membership and Report.
type Effect interface{ effect() }

// Save comes first: it names what of the new state must be durable before
// any other effect is carried out.
type Save struct {
	Device bool     // all but the twins
	Twins  []string // these, where the new state has them; else their records go
	// Later names twins, and the device if LaterDevice is set, that changed in
	// timestamps only. They may be written later, many at once: a device that reports
	// the same values all day must not wear out a flash disk.
	Later       []string `json:",omitempty"`
	LaterDevice bool     `json:",omitempty"`
}

// Refused says that nothing was changed, and why.
type Refused struct{ Err *Error }

// Report names what has changed for the cloud: the state, or twins.
type Report struct {
	State bool
	Twins []string
}

func (Save) effect()    {}
func (Refused) effect() {}
func (Report) effect()  {}

// The codes of an Error.
const (
	CodeInvalid   = 400 // the request is wrong as it is
	CodeForbidden = 403 // the property is ReadOnly, or its Authority is another
	CodeUnknown   = 404 // the device is not known on this node
	CodeConflict  = 409 // the request lost on version
	CodeTooLarge  = 413 // the device would have more than MaxTwins or MaxBytes
	CodeInternal  = 500 // the store failed; the request may be repeated
)

// Error is a refused request. Code is one of the codes above.
type Error struct {
	Code   int
	Reason string
}

func (e *Error) Error() string { return "twin: " + e.Reason }

// Is makes errors.Is(err, &Error{Code: c}) true for every Error with that
// code, when the target's Reason is empty.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && (t.Reason == "" || t.Reason == e.Reason)
}

// Step applies ev to d and returns the effects that the caller must then execute, in order.
// It reads no clock and changes nothing that it gets: it copies d.Twins before it writes. A
// device that does not exist is a Device without ID; a Put makes it.
func Step(d Device, ev Event) (Device, []Effect) { return d.step(ev, false) }

// step is Step. With owned set an update writes into d.Twins: nobody else has them.
func (d Device) step(ev Event, owned bool) (Device, []Effect) {
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
			Membership{Kind: Removed, Device: d, Last: d.Member},
		}
	case Update:
		return d.update(ev.Time, r.Twins, false, owned)
	case Sync:
		return d.update(ev.Time, r.Twins, true, owned)
	case Read:
		return d, []Effect{Result{Twins: d.live()}}
	case SetState:
		return d.setState(ev.Time, r)
	case SetConditions:
		return d.setConditions(ev.Time, r)
	case ReadState:
		return d, []Effect{StateResult{State: d.State, LastOnline: d.LastOnline}}
	case Tick:
		return d.tick(ev.Time)
	}
	return d, refuse(CodeInvalid, "unknown request %T", ev.Request)
}

func refuse(code int, format string, args ...any) []Effect {
	return []Effect{Refused{Err: refusal(code, format, args...)}}
}

func refusal(code int, format string, args ...any) *Error {
	return &Error{Code: code, Reason: fmt.Sprintf(format, args...)}
}
