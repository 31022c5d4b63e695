package replica

import (
	"errors"

	"github.com/edgekit/edgekit/hub/internal/message"
)

// The receiver's half of the event class: events go to the Inbox in batches of one
// source and are acknowledged when they are durable. A source whose events cannot be
// applied waits; the others go on.

// maxAppends is how many sources are with the Inbox at the same time.
const maxAppends = 4

// EventReceiver is the receiver's half of the event class.
type EventReceiver struct {
	window, windowBytes int // what the peer may have under way
	maxSources          int

	marks   map[string]uint64 // newest id that is done with
	sources map[string]*arriving
	queue   []*arriving        // have events and are not with the Inbox
	later   retries[*arriving] // to be tried again when the timer fires
	busy    int                // are with the Inbox
	count   int                // of events in all sources
	bytes   int
}

// arriving is a source that has events here; it is dropped when they are done.
type arriving struct {
	name   string
	events []message.Event
	sizes  []int
	taking int // how many at the head are with the Inbox
	tries  int // failures in a row of the head
	single int // how many at the head must go one by one
}

// NewEventReceiver makes one whose peer may have so many events, and so many bytes
// of them, under way, of so many sources in all.
func NewEventReceiver(window, windowBytes, maxSources int) *EventReceiver {
	return &EventReceiver{window: window, windowBytes: windowBytes, maxSources: maxSources}
}

// Step folds one event into the machine and returns what to do.
func (r *EventReceiver) Step(ev EventReceiverEvent) []Effect {
	var fx []Effect
	switch ev := ev.(type) {
	case OwnMarks:
		r.marks = ev.Marks
	case EventReceived:
		fx = r.arrived(fx, ev)
	case AppendDone:
		fx = r.taken(fx, ev)
	case RetryDue:
		r.queue = append(r.queue, r.later.take()...)
	}
	return r.pump(fx)
}

func (r *EventReceiver) arrived(fx []Effect, ev EventReceived) []Effect {
	e := ev.Event
	src := r.sources[e.Source]
	last, known := r.marks[e.Source]
	if src != nil {
		last = src.events[len(src.events)-1].ID
	}
	if e.ID <= last {
		// Applied already. A peer that keeps to the protocol sends it only if
		// its Outbox lost count.
		fx = append(fx, ReportLost{e.Source, e.ID, ErrRepeated})
		if src == nil {
			fx = append(fx, SendMark{e.Source, last})
		}
		return fx
	}
	if src == nil && !known && len(r.marks)+len(r.sources) >= r.maxSources {
		return append(fx, Fail{message.Violation("events of more than %d sources", r.maxSources)})
	}
	if r.count > 0 && (r.count >= r.window || r.bytes+ev.Size > r.windowBytes) {
		return append(fx, Fail{message.Violation("window of %d events and %d bytes exceeded", r.window, r.windowBytes)})
	}
	if src == nil {
		src = &arriving{name: e.Source}
		if r.sources == nil {
			r.sources = make(map[string]*arriving)
		}
		r.sources[e.Source] = src
		r.queue = append(r.queue, src)
	}
	src.events = append(src.events, e)
	src.sizes = append(src.sizes, ev.Size)
	r.count++
	r.bytes += ev.Size
	return fx
}

// ErrRepeated is why an event that was applied before is not applied again.
var ErrRepeated = errors.New("hub: event came before, or its source has lost count of its ids")

func (r *EventReceiver) pump(fx []Effect) []Effect {
	for len(r.queue) > 0 && r.busy < maxAppends {
		src := r.queue[0]
		r.queue = r.queue[1:]
		if src.taking = min(len(src.events), maxBatch); src.single > 0 {
			src.taking = 1
		}
		r.busy++
		fx = append(fx, AppendEvents{src.name, src.events[:src.taking:src.taking]})
	}
	if len(r.queue) == 0 {
		r.queue = nil
	}
	return r.later.arm(fx)
}

// taken handles the Inbox's answer. A batch that fails is tried again event by event: at
// once after a final error, after some tries otherwise. So the error is pinned to one
// event, and those before it are applied.
func (r *EventReceiver) taken(fx []Effect, ev AppendDone) []Effect {
	src := r.sources[ev.Source]
	n := src.taking
	src.taking = 0
	r.busy--
	if ev.Err == nil {
		return r.done(fx, src, n)
	}
	e, typed := errors.AsType[*message.Error](ev.Err)
	final := typed && e.Final()
	src.tries++
	switch {
	case n > 1 && (final || src.tries >= maxTries):
		src.single, src.tries = n, 0
		r.queue = append(r.queue, src)
		return fx
	case final:
		id := src.events[0].ID
		return r.done(append(fx, ReportLost{src.name, id, ev.Err}, SendRefusal{src.name, id, e}), src, 1)
	}
	r.later.add(src)
	return fx
}

// done removes the first n events of a source and acknowledges them.
func (r *EventReceiver) done(fx []Effect, src *arriving, n int) []Effect {
	for _, size := range src.sizes[:n] {
		r.bytes -= size
	}
	r.count -= n
	if r.marks == nil {
		r.marks = make(map[string]uint64)
	}
	id := src.events[n-1].ID
	r.marks[src.name] = id
	src.tries, src.single = 0, max(0, src.single-n)
	if n == len(src.events) {
		if delete(r.sources, src.name); len(r.sources) == 0 {
			r.sources = nil
		}
	} else {
		clear(src.events[:n]) // frees their bodies before the rest is done
		src.events, src.sizes = src.events[n:], src.sizes[n:]
		r.queue = append(r.queue, src)
	}
	return append(fx, SendMark{src.name, id})
}
