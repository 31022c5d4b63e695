package message

// Object is one piece of keyed state on its way to the side that does not own
// it.
type Object struct {
	Key     Key
	Version string // in the owner's terms; hub compares it only through Source.Compare
	Body    []byte // opaque; for a deleted object what the receiver may need to delete it, often nil
	Deleted bool   // the object is gone; Version is then that of its end, if known
	Trace   string // a valid Traceparent, or empty
}

// Event is one thing that happened. Unlike an Object it is never replaced by a
// later one: each arrives, in the order of its source.
type Event struct {
	// Source names the sequence that the event was appended to: a component
	// such as "edged", not an object, so that there are few of them. An Outbox
	// that has lost count of a sequence goes on under a new name, for example
	// one with a random end, since ids that were used are taken for applied; the
	// session logs that, and Stats.EventsPresumed counts them.
	Source string
	ID     uint64 // from 1, larger than that of each earlier event of the source; there may be gaps
	Key    Key    // what it is about, in the owner's terms
	Body   []byte // opaque
}
