package replica

import (
	"time"

	"github.com/edgekit/edgekit/hub/internal/message"
)

// What the pure machines are told (ev...) and what they ask for (fx...): two
// machines for the state class, two for the event class.

// What the sender of state is told.
type (
	// PeerDigest: the peer told the digest of what it holds.
	PeerDigest struct{ Digest message.Digest }
	// SourceListed: the own Source was listed, in answer to fxList.
	SourceListed struct {
		Digest  message.Digest
		Entries map[message.Key]string // the machine's from now on
	}
	// PeerVersions: a part of the peer's list arrived.
	PeerVersions struct {
		Entries []message.Entry
		Last    bool
	}
	// KeyChanged: the Source says that a key changed.
	KeyChanged struct{ Key message.Key }
	// Loaded: the answer to fxLoad.
	Loaded struct {
		Key    message.Key
		Object message.Object
		Err    error
	}
	// PeerAcked, evNacked: the peer's answers to fxPut.
	PeerAcked  struct{ Seq uint64 }
	PeerNacked struct {
		Seq uint64
		Err *message.Error
	}
	// RetryDue: the time of an fxRetry has come.
	RetryDue struct{}
)

// What it asks for.
type (
	// ListSource: list the Source and report evListed.
	ListSource struct{}
	// AskVersions: ask the peer for its versions.
	AskVersions struct{}
	// Load: load the key and report evLoaded.
	Load struct {
		Key  message.Key
		Held string
	}
	// SendObject: send the object.
	SendObject struct {
		Seq       uint64
		Operation message.Operation
		Object    message.Object
	}
	// ReportDelivered: tell the Acker, in order with other fxDelivered.
	ReportDelivered struct{ Objects []message.Object }
	// ReportDropped: the object will not be sent (again) in this session.
	ReportDropped struct {
		Key message.Key
		Err error
	}
	// ReportBehind: the owner has stayed behind what the peer holds for some seconds;
	// once for each time that it happens to a key. Version is empty if the Source
	// gave none.
	ReportBehind struct {
		Key           message.Key
		Version, Held string
	}
	// RetryAfter: report evRetry after the delay.
	RetryAfter struct{ After time.Duration }
	// Fail: the peer broke the protocol or a limit; end the session.
	Fail struct{ Err error }
)

// What the receiver of state is told.
type (
	// ObjectReceived: an object arrived.
	ObjectReceived struct {
		Seq    uint64
		Object message.Object
		Size   int
	}
	// Applied: the Sink answered the last fxApply.
	Applied struct{ Err error }
	// ApplyDue: the time of an fxApplyLater has come.
	ApplyDue struct{}
)

// What it asks for; fxFail and fxDropped are the sender's.
type (
	// Apply: hand the objects to the Sink and report evApplied.
	Apply struct{ Objects []message.Object }
	// ApplyAfter: report evApplyAgain after the delay.
	ApplyAfter struct{ After time.Duration }
	// SendAck, fxNack: tell the owner.
	SendAck  struct{ Seq uint64 }
	SendNack struct {
		Seq uint64
		Err *message.Error
	}
)

// What the sender of events is told.
type (
	// PeerMarks: the peer told marks: what it has, at first in parts, and then
	// what it has acknowledged.
	PeerMarks struct {
		Entries []message.Mark
		Last    bool // of the first ones
	}
	// Appended: the Outbox says that a source has events.
	Appended struct{ Source string }
	// EventRead: the answer to fxRead.
	EventRead struct {
		Source string
		Event  message.Event
		Err    error
	}
	// PeerRefused: the peer will never apply this one; a mark follows.
	PeerRefused struct {
		Source string
		ID     uint64
		Err    *message.Error
	}
	// ReadDue: the time of an fxReadLater has come.
	ReadDue struct{}
)

// What it asks for.
type (
	// ReadNext: read the source's next event and report evRead.
	ReadNext struct {
		Source string
		After  uint64
	}
	// SendEvent: send the event.
	SendEvent struct{ Event message.Event }
	// ForgetEvents: tell the Outbox, in order with other fxForget. Presumed says that
	// the peer had the events before the session began.
	ForgetEvents struct {
		Source   string
		ID       uint64
		Presumed bool
	}
	// ReportLost: this event will not be sent, or not be applied; ID 0 stands for
	// what could not be read.
	ReportLost struct {
		Source string
		ID     uint64
		Err    error
	}
	// ReadAfter: report evReadAgain after the delay.
	ReadAfter struct{ After time.Duration }
)

// What the receiver of events is told.
type (
	// OwnMarks: what the Inbox has, the machine's from now on.
	OwnMarks struct{ Marks map[string]uint64 }
	// EventReceived: an event arrived.
	EventReceived struct {
		Event message.Event
		Size  int
	}
	// AppendDone: the Inbox answered an fxTake.
	AppendDone struct {
		Source string
		Err    error
	}
	// AppendDue: the time of an fxTakeLater has come.
	AppendDue struct{}
)

// What it asks for; fxFail and fxLost are the sender's.
type (
	// AppendEvents: hand the events to the Inbox and report evTaken.
	AppendEvents struct {
		Source string
		Events []message.Event
	}
	// AppendAfter: report evTakeAgain after the delay.
	AppendAfter struct{ After time.Duration }
	// SendMark, fxRefuse: tell the owner.
	SendMark struct {
		Source string
		ID     uint64
	}
	SendRefusal struct {
		Source string
		ID     uint64
		Err    *message.Error
	}
)
