package replica

import "github.com/edgekit/edgekit/hub/internal/message"

// Each machine takes events of a type of its own, so that none is given to the wrong
// one. RetryDue is an event of all four.
type (
	// StateSenderEvent is what a StateSender takes.
	StateSenderEvent interface{ stateSenderEvent() }
	// StateReceiverEvent is what a StateReceiver takes.
	StateReceiverEvent interface{ stateReceiverEvent() }
	// EventSenderEvent is what an EventSender takes.
	EventSenderEvent interface{ eventSenderEvent() }
	// EventReceiverEvent is what an EventReceiver takes.
	EventReceiverEvent interface{ eventReceiverEvent() }
)

// RetryDue says that the time of a RetryAfter of this machine has come.
type RetryDue struct{}

// Events of the sender of state.
type (
	// PeerDigest is the digest of what the peer holds.
	PeerDigest struct{ Digest message.Digest }
	// SourceListed answers ListSource.
	SourceListed struct {
		Digest  message.Digest
		Entries map[message.Key]string // the machine's from now on
	}
	// PeerVersions is a part of the list of what the peer holds.
	PeerVersions struct {
		Entries []message.Entry
		Last    bool
	}
	// KeyChanged comes from the Source's subscription.
	KeyChanged struct{ Key message.Key }
	// Loaded answers Load.
	Loaded struct {
		Key    message.Key
		Object message.Object
		Err    error
	}
	// PeerAcked says that the peer is done with all objects up to Seq.
	PeerAcked struct{ Seq uint64 }
	// PeerNacked says that the peer could not apply one object.
	PeerNacked struct {
		Seq uint64
		Err *message.Error
	}
)

// Events of the receiver of state.
type (
	// ObjectReceived is an object that the peer sent.
	ObjectReceived struct {
		Seq    uint64
		Object message.Object
		Size   int
	}
	// Applied answers Apply.
	Applied struct{ Err error }
)

// Events of the sender of events.
type (
	// PeerMarks says what the peer has: at first in parts what it had before the
	// session, then what it acknowledges.
	PeerMarks struct {
		Entries []message.Mark
		Last    bool // of the first ones
	}
	// Appended comes from the Outbox's subscription.
	Appended struct{ Source string }
	// EventRead answers ReadNext.
	EventRead struct {
		Source string
		Event  message.Event
		Err    error
	}
	// PeerRefused says that the peer will never apply this event; a mark follows.
	PeerRefused struct {
		Source string
		ID     uint64
		Err    *message.Error
	}
)

// Events of the receiver of events.
type (
	// OwnMarks is what the Inbox has.
	OwnMarks struct{ Marks map[string]uint64 } // the machine's from now on
	// EventReceived is an event that the peer sent.
	EventReceived struct {
		Event message.Event
		Size  int
	}
	// AppendDone answers AppendEvents.
	AppendDone struct {
		Source string
		Err    error
	}
)

func (RetryDue) stateSenderEvent()     {}
func (PeerDigest) stateSenderEvent()   {}
func (SourceListed) stateSenderEvent() {}
func (PeerVersions) stateSenderEvent() {}
func (KeyChanged) stateSenderEvent()   {}
func (Loaded) stateSenderEvent()       {}
func (PeerAcked) stateSenderEvent()    {}
func (PeerNacked) stateSenderEvent()   {}

func (RetryDue) stateReceiverEvent()       {}
func (ObjectReceived) stateReceiverEvent() {}
func (Applied) stateReceiverEvent()        {}

func (RetryDue) eventSenderEvent()    {}
func (PeerMarks) eventSenderEvent()   {}
func (Appended) eventSenderEvent()    {}
func (EventRead) eventSenderEvent()   {}
func (PeerRefused) eventSenderEvent() {}

func (RetryDue) eventReceiverEvent()      {}
func (OwnMarks) eventReceiverEvent()      {}
func (EventReceived) eventReceiverEvent() {}
func (AppendDone) eventReceiverEvent()    {}
