package pipeline

import (
	"time"
)

// MaxEvent is the largest event in bytes, by Event.Size. A larger one is a dead letter.
const MaxEvent = 1 << 20

// Event is one CloudEvent with its data decoded. Whoever has passed an Event on does not
// change its Data or Extensions any more: steps and sinks share them.
type Event struct {
	// ID is unique together with Source, and the same each time the event is sent again.
	ID      string
	Source  string
	Type    string
	Subject string // for MQTT the topic, for a twin DEVICE/PROPERTY
	Time    time.Time
	// Data is nil, bool, int64, uint64, float64, string, []byte, []any or map[string]any,
	// the last two with such values in them. A Source that does not decode gives []byte.
	Data any
	// Extensions are the other attributes of a CloudEvent; nil means none.
	Extensions map[string]string
	// Resend says, from a source, that it may have emitted the event before: the engine drops
	// it if it is one of the last that it has taken. On the way to a sink it says that the
	// event may have been sent before.
	Resend bool
}

// Size is about how many bytes the event is as JSON. It does not allocate.
func (e *Event) Size() int {
	n := 128 + len(e.ID) + len(e.Source) + len(e.Type) + len(e.Subject) + dataSize(e.Data, 0)
	for k, v := range e.Extensions {
		n += len(k) + len(v) + 6
	}
	return n
}

// maxDepth is how deep the data of an event may be.
const maxDepth = 64

// dataSize is about how many bytes v is as JSON. What is deeper than maxDepth counts as more
// than an event may have.
func dataSize(v any, depth int) int {
	if depth > maxDepth {
		return MaxEvent + 1
	}
	switch v := v.(type) {
	case string:
		return len(v) + 2
	case []byte:
		return len(v)*4/3 + 2
	case []any:
		n := 2
		for _, e := range v {
			n += dataSize(e, depth+1) + 1
		}
		return n
	case map[string]any:
		n := 2
		for k, e := range v {
			n += len(k) + 4 + dataSize(e, depth+1)
		}
		return n
	}
	return 8
}

// Ref names a Pipeline.
type Ref struct {
	Namespace, Name string
}

// String is NAMESPACE/NAME, or NAME alone without a namespace.
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Name
	}
	return r.Namespace + "/" + r.Name
}
