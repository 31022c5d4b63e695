package client

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/autopaho/queue"
)

// outbox is the queue between Publish and autopaho's sender, which it calls
// through paho's queue.Queue. It is bounded: full, it blocks while connected
// and drops its oldest message while not. It shows its entries to the sender
// only while connected, when the subscriptions are made: an answer must not come
// before the subscription to it.
type outbox struct {
	limit   int
	dropped func()

	mu      sync.Mutex
	entries []*entry
	sending *entry // what Peek has given last
	ended   int    // connections that have ended
	// settled is set a moment after the first Wait on a connection. Until then Peek gives
	// nothing: autopaho's sender may still be at the old connection, which it leaves in Wait.
	settled   bool
	settling  chan struct{} // what Wait returns until then; nil before the first Wait
	connected bool
	filled    chan struct{} // closed while there is something to send
	isFilled  bool          // filled is closed
	room      chan struct{} // closed and replaced when a waiter of add has to try again
}

func newOutbox(limit int, dropped func()) *outbox {
	return &outbox{limit: limit, dropped: dropped, filled: make(chan struct{}), room: make(chan struct{})}
}

// add appends a packet. If there is no space it returns a channel to wait on before
// the next try.
func (o *outbox) add(e *entry) (wait <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.entries) >= o.limit {
		oldest := slices.IndexFunc(o.entries, func(e *entry) bool { return e.done == nil })
		if o.connected || e.done != nil || oldest < 0 {
			return o.room
		}
		o.entries = slices.Delete(o.entries, oldest, oldest+1)
		o.dropped()
	}
	e.owner = o
	o.entries = append(o.entries, e)
	o.signalLocked()
	return nil
}

// putBack puts packets before all others, also over the limit.
func (o *outbox) putBack(lost []unacked) {
	if len(lost) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	entries := make([]*entry, 0, len(lost)+len(o.entries))
	for _, u := range lost {
		entries = append(entries, &entry{owner: o, packet: u.packet, qos: 1, done: u.done})
	}
	o.entries = append(entries, o.entries...)
	o.signalLocked()
}

// setConnected shows the entries to the sender or hides them, and chooses what
// happens when the outbox is full.
func (o *outbox) setConnected(connected bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.connected = connected
	o.settled, o.settling = false, nil
	if !connected {
		o.ended++
	}
	o.signalLocked()
	o.changedLocked()
}

// signalLocked keeps filled closed exactly while there is something to send.
func (o *outbox) signalLocked() {
	switch want := o.connected && len(o.entries) > 0; {
	case want && !o.isFilled:
		close(o.filled)
		o.isFilled = true
	case !want && o.isFilled:
		o.filled = make(chan struct{})
		o.isFilled = false
	}
}

func (o *outbox) changedLocked() {
	close(o.room)
	o.room = make(chan struct{})
}

// taken removes the message that is being sent: the session has it now.
func (o *outbox) taken() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if i := slices.Index(o.entries, o.sending); i >= 0 {
		o.entries = slices.Delete(o.entries, i, i+1)
		o.signalLocked()
		o.changedLocked()
	}
}

// Wait returns a channel that is closed when there is something to send.
func (o *outbox) Wait() chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.connected || o.settled {
		return o.filled
	}
	if o.settling == nil {
		settling := make(chan struct{})
		o.settling = settling
		time.AfterFunc(settleTime, func() { o.settle(settling) })
	}
	return o.settling
}

// settleTime is how long the sender has to leave an old connection: it is in a select then.
const settleTime = 5 * time.Millisecond

// settle lets Peek give entries, unless the connection has ended.
func (o *outbox) settle(settling chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.settling == settling {
		o.settled = true
	}
	close(settling)
}

// Enqueue adds one encoded packet, without waiting; paho's interface wants it.
func (o *outbox) Enqueue(r io.Reader) error {
	packet, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	o.add(&entry{packet: packet})
	return nil
}

// errOldConnection refuses a message for a connection that has ended meanwhile: it would be kept
// in the session of the next connection and not be sent there.
var errOldConnection = errors.New("bus/client: the connection has ended")

// confirms returns what must be called with the broker's answer to the message that is being sent. It
// fails if the connection that it was meant for has ended.
func (o *outbox) confirms() (done func(byte), err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sending == nil {
		return nil, nil
	}
	if o.sending.ended != o.ended {
		return nil, errOldConnection
	}
	return o.sending.done, nil
}

// Peek returns the oldest entry.
func (o *outbox) Peek() (queue.Entry, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.entries) == 0 || !o.connected || !o.settled {
		return nil, queue.ErrEmpty
	}
	o.sending = o.entries[0]
	o.sending.ended = o.ended
	return o.sending, nil
}

// entry is one encoded PUBLISH packet.
type entry struct {
	owner  *outbox
	packet []byte
	qos    byte
	ended  int             // outbox.ended when Peek gave it
	done   func(code byte) // called with the broker's answer, 0 without one; nil if nobody wants to know
}

// Reader returns the packet from its start.
func (e *entry) Reader() (io.Reader, error) { return bytes.NewReader(e.packet), nil }

// Leave keeps the entry where it is.
func (e *entry) Leave() error { return nil }

// Remove removes the entry, unless it was dropped before.
func (e *entry) Remove() error {
	o := e.owner
	if e.qos == 0 && e.done != nil {
		defer e.done(0) // after the lock
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	i := slices.Index(o.entries, e) // the head, unless others were put back before it
	if i < 0 {
		return nil
	}
	o.entries = slices.Delete(o.entries, i, i+1)
	o.signalLocked()
	o.changedLocked()
	return nil
}

// Quarantine drops an entry that paho cannot read back.
func (e *entry) Quarantine() error { return e.Remove() }
