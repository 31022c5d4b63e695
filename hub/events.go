package hub

import "time"

// The events and effects of the two pure machines of the state class.

// Events of the sender.
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

// Effects of the sender.
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
	// fxRetry: report evRetry after the delay.
	fxRetry struct{ After time.Duration }
	// fxFail: the peer broke the protocol or a limit; end the session.
	fxFail struct{ Err error }
)

// Events of the receiver.
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

// Effects of the receiver; fxFail and fxDropped are the sender's.
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
