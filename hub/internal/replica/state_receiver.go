package replica

import (
	"errors"

	"github.com/edgekit/edgekit/hub/internal/message"
)

// The receiver's half of the state class: objects go to the Sink in batches, are
// acknowledged when they are durable, and are given back when they cannot be applied.

const (
	// maxBatch is how many objects go to the Sink as one.
	maxBatch = 128
	// maxTries is how often the Sink is asked before one object is given back
	// to its owner, so that it does not hold up the others for ever.
	maxTries = 4
)

// StateReceiver is the receiver's half of the state class.
type StateReceiver struct {
	window, windowBytes int // what the peer may have under way

	queue    []received
	bytes    int // of queue
	seq      uint64
	applying int  // how many at the head of queue are with the Sink
	waiting  bool // for RetryDue
	tries    int  // failures in a row of the head
	single   int  // how many at the head must go one by one
}

type received struct {
	seq    uint64
	object message.Object
	size   int
}

// NewStateReceiver makes one whose peer may have so many objects, and so many bytes of
// them, under way.
func NewStateReceiver(window, windowBytes int) *StateReceiver {
	return &StateReceiver{window: window, windowBytes: windowBytes}
}

// Step folds one event into the receiver and returns what to do.
func (r *StateReceiver) Step(ev StateReceiverEvent) []Effect {
	var fx []Effect
	switch ev := ev.(type) {
	case ObjectReceived:
		if ev.Seq != r.seq+1 {
			return append(fx, Fail{message.Violation("object %d after %d", ev.Seq, r.seq)})
		}
		if len(r.queue) > 0 && (len(r.queue) >= r.window || r.bytes+ev.Size > r.windowBytes) {
			return append(fx, Fail{message.Violation("window of %d objects and %d bytes exceeded", r.window, r.windowBytes)})
		}
		r.seq = ev.Seq
		r.bytes += ev.Size
		r.queue = append(r.queue, received{ev.Seq, ev.Object, ev.Size})
	case Applied:
		fx = r.applied(fx, ev.Err)
	case RetryDue:
		r.waiting = false
	}
	return r.pump(fx)
}

func (r *StateReceiver) pump(fx []Effect) []Effect {
	if r.applying > 0 || r.waiting || len(r.queue) == 0 {
		return fx
	}
	n := min(len(r.queue), maxBatch)
	if r.single > 0 {
		n = 1
	}
	batch := make([]message.Object, n)
	for i := range batch {
		batch[i] = r.queue[i].object
	}
	r.applying = n
	return append(fx, Apply{batch})
}

// applied handles the Sink's answer. A batch that fails is tried again object by object:
// at once after a final error, after some tries otherwise. So the error is pinned to one
// object.
func (r *StateReceiver) applied(fx []Effect, err error) []Effect {
	n := r.applying
	r.applying = 0
	if err == nil {
		return r.pop(fx, n)
	}
	e, typed := errors.AsType[*message.Error](err)
	final := typed && e.Final()
	r.tries++
	switch {
	case n > 1 && (final || r.tries >= maxTries):
		r.single, r.tries = n, 0
		return fx
	case final:
		fx = append(fx, ReportDropped{r.queue[0].object.Key, err}, SendNack{r.queue[0].seq, e})
		return r.pop(fx, 1)
	case r.tries >= maxTries:
		fx = append(fx, ReportDropped{r.queue[0].object.Key, err},
			SendNack{r.queue[0].seq, &message.Error{Code: message.CodeUnavailable, Text: message.ErrorOf(err).Text}})
		return r.pop(fx, 1)
	}
	r.waiting = true
	return append(fx, RetryAfter{RetryPause(r.tries)})
}

// pop removes the first n, which were applied or given back, and acknowledges them.
func (r *StateReceiver) pop(fx []Effect, n int) []Effect {
	for _, it := range r.queue[:n] {
		r.bytes -= it.size
	}
	last := r.queue[n-1].seq
	r.queue = r.queue[n:]
	if len(r.queue) == 0 {
		r.queue = nil
	}
	r.tries = 0
	r.single = max(0, r.single-n)
	return append(fx, SendAck{last})
}
