package broker

import (
	"context"
	"iter"
)

// Record is one key of a Storage with its value.
type Record struct {
	Key   string
	Value []byte // in Storage.Apply nil removes the key
}

// Storage keeps the broker's records on the disk. An ordered store with atomic batches
// satisfies it with a small adapter. The keys are printable ASCII or the bytes of a topic
// or client identifier after a prefix.
type Storage interface {
	// Apply makes all changes durable in one step: it returns nil only when they survive a
	// power cut. The broker calls it for one batch at a time and tries again after an error.
	// If a batch is refused several times although other records are taken, the broker writes
	// it in parts and leaves out the records that are refused.
	// The broker gives it 4 MiB at most, or as much as Bounded says; a single record may be
	// larger. A Storage that cuts such a batch in several must keep its order; a crash between
	// them may then have a message of QoS 2 delivered twice.
	Apply(ctx context.Context, changes []Record) error
	// Load returns all records in the order of their keys. An error is the last element.
	Load(ctx context.Context) iter.Seq2[Record, error]
}

// Bounded is a Storage that says how much it takes in one step. The broker cuts what is more
// so that a crash between two Applies loses and doubles nothing.
type Bounded interface {
	Storage
	// MaxApply is how many bytes of keys and values one Apply takes.
	MaxApply() int
}

// The prefixes of the keys.
const (
	sessionPrefix  = "s/" // and the session's number, 16 hexadecimal digits
	cursorPrefix   = "c/" // likewise
	messagePrefix  = "m/" // and the message's number
	retainedPrefix = "r/" // and the topic, or "#" and its SHA-256 if it is long
	probeKey       = "p"  // written and removed to see whether the storage works
)
