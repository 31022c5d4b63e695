package replica

import (
	"time"

	"github.com/edgekit/edgekit/hub/internal/message"
)

// Effect is what a machine asks the session to do. The session must handle every type
// of this file: hub's TestEveryEffectIsPerformed reads them from here.
type Effect interface{ effect() }

// Effects of every machine.
type (
	// RetryAfter feeds RetryDue to the machine after the delay. A machine has one
	// such delay under way at most.
	RetryAfter struct{ After time.Duration }
	// Fail ends the session: the peer broke the protocol or a limit.
	Fail struct{ Err error }
)

// Effects of the sender of state.
type (
	// ListSource lists the Source and reports SourceListed.
	ListSource struct{}
	// ReportEqual says that the digests of both sides are the same.
	ReportEqual struct{}
	// AskVersions asks the peer for its versions.
	AskVersions struct{}
	// Load loads the key and reports Loaded. At most MaxLoads are under way.
	Load struct {
		Key  message.Key
		Held string
	}
	// SendObject sends the object.
	SendObject struct {
		Seq       uint64
		Operation message.Operation
		Object    message.Object
	}
	// ReportDelivered is passed to the Acker, in order with others of its kind.
	ReportDelivered struct{ Objects []message.Object }
	// ReportBehind says that the owner has stayed behind what the peer holds for some
	// seconds; once for each time that it happens to a key. Version is empty if the
	// Source gave none.
	ReportBehind struct {
		Key           message.Key
		Version, Held string
	}
)

// ReportDropped says that an object will not be sent (again), or not be applied, in
// this session. Both machines of state give it.
type ReportDropped struct {
	Key message.Key
	Err error
}

// Effects of the receiver of state.
type (
	// Apply passes the objects to the Sink and reports Applied.
	Apply struct{ Objects []message.Object }
	// SendAck acknowledges all objects up to Seq.
	SendAck struct{ Seq uint64 }
	// SendNack gives one object back to its owner.
	SendNack struct {
		Seq uint64
		Err *message.Error
	}
)

// Effects of the sender of events.
type (
	// ReadNext reads the source's next event and reports EventRead.
	ReadNext struct {
		Source string
		After  uint64
	}
	// SendEvent sends the event.
	SendEvent struct{ Event message.Event }
	// ForgetEvents is passed to the Outbox, in order with others of its kind.
	// Presumed says that the peer had the events before the session began.
	ForgetEvents struct {
		Source   string
		ID       uint64
		Presumed bool
	}
)

// ReportLost says that an event will not be sent, or not be applied; ID 0 stands for
// what could not be read. Both machines of events give it.
type ReportLost struct {
	Source string
	ID     uint64
	Err    error
}

// Effects of the receiver of events.
type (
	// AppendEvents passes the events to the Inbox and reports AppendDone.
	AppendEvents struct {
		Source string
		Events []message.Event
	}
	// SendMark acknowledges all events of the source up to ID.
	SendMark struct {
		Source string
		ID     uint64
	}
	// SendRefusal gives an event back for good.
	SendRefusal struct {
		Source string
		ID     uint64
		Err    *message.Error
	}
)

func (RetryAfter) effect()      {}
func (Fail) effect()            {}
func (ListSource) effect()      {}
func (ReportEqual) effect()     {}
func (AskVersions) effect()     {}
func (Load) effect()            {}
func (SendObject) effect()      {}
func (ReportDelivered) effect() {}
func (ReportBehind) effect()    {}
func (ReportDropped) effect()   {}
func (Apply) effect()           {}
func (SendAck) effect()         {}
func (SendNack) effect()        {}
func (ReadNext) effect()        {}
func (SendEvent) effect()       {}
func (ForgetEvents) effect()    {}
func (ReportLost) effect()      {}
func (AppendEvents) effect()    {}
func (SendMark) effect()        {}
func (SendRefusal) effect()     {}
