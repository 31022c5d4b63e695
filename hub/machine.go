package hub

import "time"

// What the pure machines are told (ev...) and what they ask for (fx...): two
// machines for the state class, two for the event class.

// What the sender of state is told.
type (
	// evDigest: the peer told the digest of what it holds.
	evDigest struct{ Digest digestSum }
	// evListed: the own Source was listed, in answer to fxList.
	evListed struct {
		Digest  digestSum
		Entries map[Key]string // the machine's from now on
	}
	// evVersions: a part of the peer's list arrived.
	evVersions struct {
		Entries []entry
		Last    bool
	}
	// evChanged: the Source says that a key changed.
	evChanged struct{ Key Key }
	// evLoaded: the answer to fxLoad.
	evLoaded struct {
		Key    Key
		Object Object
		Err    error
	}
	// evAcked, evNacked: the peer's answers to fxPut.
	evAcked  struct{ Seq uint64 }
	evNacked struct {
		Seq uint64
		Err *Error
	}
	// evRetry: the time of an fxRetry has come.
	evRetry struct{}
)

// What it asks for.
type (
	// fxList: list the Source and report evListed.
	fxList struct{}
	// fxWant: ask the peer for its versions.
	fxWant struct{}
	// fxLoad: load the key and report evLoaded.
	fxLoad struct {
		Key  Key
		Held string
	}
	// fxPut: send the object.
	fxPut struct {
		Seq       uint64
		Operation Operation
		Object    Object
	}
	// fxDelivered: tell the Acker, in order with other fxDelivered.
	fxDelivered struct{ Objects []Object }
	// fxDropped: the object will not be sent (again) in this session.
	fxDropped struct {
		Key Key
		Err error
	}
	// fxBehind: the owner has stayed behind what the peer holds for some seconds;
	// once for each time that it happens to a key. Version is empty if the Source
	// gave none.
	fxBehind struct {
		Key           Key
		Version, Held string
	}
	// fxRetry: report evRetry after the delay.
	fxRetry struct{ After time.Duration }
	// fxFail: the peer broke the protocol or a limit; end the session.
	fxFail struct{ Err error }
)

// What the receiver of state is told.
type (
	// evPut: an object arrived.
	evPut struct {
		Seq    uint64
		Object Object
		Size   int
	}
	// evApplied: the Sink answered the last fxApply.
	evApplied struct{ Err error }
	// evApplyAgain: the time of an fxApplyLater has come.
	evApplyAgain struct{}
)

// What it asks for; fxFail and fxDropped are the sender's.
type (
	// fxApply: hand the objects to the Sink and report evApplied.
	fxApply struct{ Objects []Object }
	// fxApplyLater: report evApplyAgain after the delay.
	fxApplyLater struct{ After time.Duration }
	// fxAck, fxNack: tell the owner.
	fxAck  struct{ Seq uint64 }
	fxNack struct {
		Seq uint64
		Err *Error
	}
)

// What the sender of events is told.
type (
	// evMarks: the peer told marks: what it has, at first in parts, and then
	// what it has acknowledged.
	evMarks struct {
		Entries []mark
		Last    bool // of the first ones
	}
	// evNews: the Outbox says that a source has events.
	evNews struct{ Source string }
	// evRead: the answer to fxRead.
	evRead struct {
		Source string
		Event  Event
		Err    error
	}
	// evRefused: the peer will never apply this one; a mark follows.
	evRefused struct {
		Source string
		ID     uint64
		Err    *Error
	}
	// evReadAgain: the time of an fxReadLater has come.
	evReadAgain struct{}
)

// What it asks for.
type (
	// fxRead: read the source's next event and report evRead.
	fxRead struct {
		Source string
		After  uint64
	}
	// fxEvent: send the event.
	fxEvent struct{ Event Event }
	// fxForget: tell the Outbox, in order with other fxForget. Presumed says that
	// the peer had the events before the session began.
	fxForget struct {
		Source   string
		ID       uint64
		Presumed bool
	}
	// fxLost: this event will not be sent, or not be applied; ID 0 stands for
	// what could not be read.
	fxLost struct {
		Source string
		ID     uint64
		Err    error
	}
	// fxReadLater: report evReadAgain after the delay.
	fxReadLater struct{ After time.Duration }
)

// What the receiver of events is told.
type (
	// evOwnMarks: what the Inbox has, the machine's from now on.
	evOwnMarks struct{ Marks map[string]uint64 }
	// evEvent: an event arrived.
	evEvent struct {
		Event Event
		Size  int
	}
	// evTaken: the Inbox answered an fxTake.
	evTaken struct {
		Source string
		Err    error
	}
	// evTakeAgain: the time of an fxTakeLater has come.
	evTakeAgain struct{}
)

// What it asks for; fxFail and fxLost are the sender's.
type (
	// fxTake: hand the events to the Inbox and report evTaken.
	fxTake struct {
		Source string
		Events []Event
	}
	// fxTakeLater: report evTakeAgain after the delay.
	fxTakeLater struct{ After time.Duration }
	// fxMark, fxRefuse: tell the owner.
	fxMark struct {
		Source string
		ID     uint64
	}
	fxRefuse struct {
		Source string
		ID     uint64
		Err    *Error
	}
)
