package twin

import "time"

// Event is a request to one device at a moment.
type Event struct {
	Device  string    // namespace/name
	Time    time.Time // becomes the timestamp of what changes; milliseconds count
	Request Request
}

// Request is a request about a device: one of Put, Remove, Update, Sync, Read, SetState,
// ReadState and Tick.
type Request interface{ request() }

type (
	// Put says that the device belongs to the node, and what its owner declares. It adds
	// the device or updates it.
	Put struct {
		Member     Member
		Properties []Declaration
	}

	// Remove says that the device no longer belongs to the node.
	Remove struct{}

	// Update changes twins on behalf of a client on the node: a mapper, an
	// app. A nil Patch deletes its property. It is carried out whole or
	// refused whole.
	Update struct{ Twins map[string]*Patch }

	// Sync is an Update by the cloud. Each value needs its version, which is
	// adopted.
	Sync struct{ Twins map[string]*Patch }

	// Read asks for a Result with all live twins.
	Read struct{}

	// SetState reports the device's state: online, offline, ok, unknown or
	// unhealthy, in any letter case.
	SetState struct {
		State string
		// Within is the longest time until the device is reported again, by a state or an
		// actual value; after that it is unknown. 0 leaves it to Member.ReportWithin.
		Within time.Duration
	}

	// ReadState asks for a StateResult.
	ReadState struct{}

	// Tick says only that time has passed: a device that reported nothing for
	// Member.ReportWithin becomes unknown. The Engine sends it.
	Tick struct{}
)

func (Put) request()       {}
func (Remove) request()    {}
func (Update) request()    {}
func (Sync) request()      {}
func (Read) request()      {}
func (SetState) request()  {}
func (ReadState) request() {}
func (Tick) request()      {}

// Declaration is a property that the device's owner names.
type Declaration struct {
	Name    string
	Type    string  // see CheckValue; empty means string
	Rule    Rule    // what else the model says of it
	Desired *string // the owner's desired value; nil for none. One that Twin.CheckDesired refuses is ignored.
}

// Patch is a change of one twin. Nil fields stay as they are.
type Patch struct {
	Expected *string // the empty string withdraws the desired value
	Actual   *string
	Optional *bool  // only from true to false, and for a new twin
	Type     string // only for a new twin that its owner has not declared; empty means string

	// ExpectedVersion and ActualVersion, if not nil, refuse the request when they are
	// older than the stored versions. Sync stores them.
	ExpectedVersion *Version
	ActualVersion   *Version
}

// Effect is something to do after a Step: one of Save, Refused, Result,
// Document, Delta, StateResult, Membership and Report.
type Effect interface{ effect() }

type (
	// Save comes first: it names what of the new state must be durable before
	// any other effect is carried out.
	Save struct {
		Device bool     // all but the twins
		Twins  []string // these, where the new state has them; else their records go
		// Later names twins, and the device if LaterDevice is set, that changed in
		// timestamps only. They may be written later, many at once: a device that reports
		// the same values all day must not wear out a flash disk.
		Later       []string `json:",omitempty"`
		LaterDevice bool     `json:",omitempty"`
	}

	// Refused says that nothing was changed, and why.
	Refused struct{ Err *Error }

	// Result answers Update and Sync with the touched twins, and Read with
	// all. A nil Twin is one that is deleted.
	Result struct{ Twins map[string]*Twin }

	// Document has the twins that changed in more than a timestamp.
	Document struct{ Twins map[string]Transition }

	// Delta has the desired values that the device does not have yet.
	Delta struct {
		Twins  map[string]Twin   // all that have a desired value
		Values map[string]string // the desired values that differ from the actual one
	}

	// StateResult answers SetState and ReadState.
	StateResult struct {
		State      string
		LastOnline time.Time // when it was last seen online or ok; zero if it never was
	}

	// Membership says that the owner added or removed the device, or changed more
	// of it than desired values.
	Membership struct {
		Kind   MembershipKind
		Device Device // as it is now; for Removed as it was
	}

	// Report names what has changed for the cloud: the state, or twins.
	Report struct {
		State bool
		Twins []string
	}
)

func (Save) effect()        {}
func (Refused) effect()     {}
func (Result) effect()      {}
func (Document) effect()    {}
func (Delta) effect()       {}
func (StateResult) effect() {}
func (Membership) effect()  {}
func (Report) effect()      {}

// Transition is a twin before and after a change; nil where there was none, or is none any
// more.
type Transition struct{ Last, Current *Twin }

// MembershipKind says what happened to a device.
type MembershipKind int

// The kinds of Membership.
const (
	Added MembershipKind = iota + 1
	Removed
	Changed
)

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
