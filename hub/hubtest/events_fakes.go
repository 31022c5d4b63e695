package hubtest

import (
	"context"
	"io"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/edgekit/edgekit/hub"
)

// Outbox is a hub.Outbox in memory. The zero value is empty, without a limit
// and ready; all methods may be called by several goroutines at once.
type Outbox struct {
	// Max is how many events are kept for each source; one more drops the
	// oldest. 0 means no limit. Set it before use.
	Max int

	mu      sync.Mutex
	last    map[string]uint64
	events  map[string][]hub.Event
	acked   map[string]uint64
	dropped int
	subs    map[int]func(string)
	nextSub int
	fail    func(source string) error
}

// Append adds an event and returns its id.
func (o *Outbox) Append(source string, key hub.Key, body string) uint64 {
	o.mu.Lock()
	if o.events == nil {
		o.events, o.last = make(map[string][]hub.Event), make(map[string]uint64)
	}
	o.last[source]++
	id := o.last[source]
	o.events[source] = append(o.events[source], hub.Event{Source: source, ID: id, Key: key, Body: []byte(body)})
	if n := len(o.events[source]) - o.Max; o.Max > 0 && n > 0 {
		o.events[source] = o.events[source][n:]
		o.dropped += n
	}
	subs := slices.Collect(maps.Values(o.subs))
	o.mu.Unlock()
	for _, appended := range subs {
		appended(source)
	}
	return id
}

// Len is how many events of all sources are not acknowledged.
func (o *Outbox) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, events := range o.events {
		n += len(events)
	}
	return n
}

// Dropped is how many events were dropped because of Max.
func (o *Outbox) Dropped() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dropped
}

// AckedUpTo is the newest id of a source that was acknowledged; 0 for none.
func (o *Outbox) AckedUpTo(source string) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.acked[source]
}

// FailNext makes Next return the error of f, if f returns one. A nil f ends that.
func (o *Outbox) FailNext(f func(source string) error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fail = f
}

// Sources yields the sources that have events.
func (o *Outbox) Sources(context.Context) (iter.Seq[string], error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var names []string
	for source, events := range o.events {
		if len(events) > 0 {
			names = append(names, source)
		}
	}
	return slices.Values(names), nil
}

// Next returns the oldest event above after.
func (o *Outbox) Next(_ context.Context, source string, after uint64) (hub.Event, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fail != nil {
		if err := o.fail(source); err != nil {
			return hub.Event{}, err
		}
	}
	for _, e := range o.events[source] {
		if e.ID > after {
			return e, nil
		}
	}
	return hub.Event{}, io.EOF
}

// Acked forgets a source's events up to id.
func (o *Outbox) Acked(_ context.Context, source string, id uint64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.acked == nil {
		o.acked = make(map[string]uint64)
	}
	o.acked[source] = max(o.acked[source], id)
	o.events[source] = slices.DeleteFunc(o.events[source], func(e hub.Event) bool { return e.ID <= id })
	return nil
}

// Subscribe calls appended after each Append.
func (o *Outbox) Subscribe(appended func(source string)) (stop func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.subs == nil {
		o.subs = make(map[int]func(string))
	}
	id := o.nextSub
	o.nextSub++
	o.subs[id] = appended
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.subs, id)
	}
}

// Inbox is a hub.Inbox in memory. The zero value is empty and ready; all
// methods may be called by several goroutines at once.
type Inbox struct {
	// Forgetful makes Marks yield nothing, like a cloud that passes events on to another
	// system. Set it before use.
	Forgetful bool

	mu    sync.Mutex
	marks map[string]uint64
	log   []hub.Event
	fail  func([]hub.Event) error
}

// Marks yields the newest id of each source.
func (i *Inbox) Marks(context.Context) (iter.Seq2[string, uint64], error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.Forgetful {
		return maps.All(map[string]uint64{}), nil
	}
	return maps.All(maps.Clone(i.marks)), nil
}

// Append stores the events, all or none.
func (i *Inbox) Append(_ context.Context, source string, events []hub.Event) error {
	i.mu.Lock()
	fail := i.fail
	i.mu.Unlock()
	if fail != nil {
		if err := fail(events); err != nil {
			return err
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.marks == nil {
		i.marks = make(map[string]uint64)
	}
	i.log = append(i.log, events...)
	i.marks[source] = events[len(events)-1].ID
	return nil
}

// FailAppend makes Append return the error of f, if f returns one. A nil f ends that.
func (i *Inbox) FailAppend(f func([]hub.Event) error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fail = f
}

// Log is every event that was applied, in order.
func (i *Inbox) Log() []hub.Event {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.log)
}

// Len is how many events were applied.
func (i *Inbox) Len() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.log)
}
