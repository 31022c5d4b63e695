// Package window gathers events by key and time: tumbling, hopping, session, count and state
// windows, with lateness.
//
// A window over time ends when the time of its key has passed the window's end and the
// lateness. The time of a key is the greatest time of its events so far, plus what has passed
// by the node's clock since that event came. So a key's windows end though nothing comes any
// more, and a device that sends a backlog is not late by its own newer events of other
// devices. An event is late if the newest event of its key is beyond its window's end and
// lateness, or if its window has ended already.
//
// All times are nanoseconds since 1970. Now is the node's clock and does not go back.
package window

import (
	"errors"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline/internal/aggregate"
)

// Kind is a kind of windows.
type Kind byte

// The kinds of windows.
const (
	Hopping Kind = iota + 1 // tumbling if Size is Every
	Session
	Count
	State
)

// Bounds of one Set.
const (
	maxOpen  = 1000 // open windows of one key
	maxLarge = 128  // aggregates of one key that keep values
	openPer  = 10   // open windows for each of MaxKeys
	ahead    = int64(24 * time.Hour)
)

// Errors of Add. The event is not in any window then.
var (
	ErrKeys   = errors.New("window: the step holds as many keys as it may: raise maxKeys, or use fewer keys")
	ErrOpen   = errors.New("window: the key has as many open windows as it may: lower the lateness")
	ErrFuture = errors.New("window: the event's time is a day or more ahead of the node's clock and of the key's other events")
)

// Spec says what the windows are. Fields that the Kind does not need are zero.
type Spec struct {
	Kind       Kind
	Size       int64 // Hopping; Every divides time since 1970
	Every      int64
	Gap        int64 // Session
	Max        int64 // Session and State: the greatest length
	N          int64 // Count
	Lateness   int64
	MaxKeys    int
	Aggregates []aggregate.Kind
}

// MostOpen is how many windows one key may have open at once with so many aggregates of
// kinds that keep values.
func MostOpen(large int) int {
	if large == 0 {
		return maxOpen
	}
	return max(1, maxLarge/large)
}

// Event is what a Set sees of an event.
type Event struct {
	ID         string // of the event
	At         int64  // its time
	Values     []any  // for each aggregate; each has passed its Check
	Start, End bool   // for State
}

// Result is a window that has ended. It is valid until the next call of its Set.
type Result struct {
	Key        string
	First      string // the id of the first event, for Count and State
	Start, End int64
	Values     []any // of the aggregates; belongs to the receiver
}

// open is one open window.
type open struct {
	start, end int64 // end is excluded for Hopping, the last event's time for other kinds
	first      string
	n          int64 // events, for Count
	due        int64 // by the node's clock, for State
	accs       []aggregate.Acc
}

// keyState is one key.
type keyState struct {
	key    string
	known  bool  // an event has come: max and seen are set
	max    int64 // the greatest time of an event
	seen   int64 // the node's clock when it came
	closed int64 // windows up to here have ended
	any    bool  // a window has ended: closed is set
	open   []*open
	due    int64    // by the node's clock: when the first window ends, or the key is forgotten
	in     *dueHeap // Set.due, Set.idle or nil
	heap   int      // index in it
	dirty  bool
	gone   bool
}

// Set is the windows of one step. It is for one goroutine.
type Set struct {
	spec    Spec
	most    int // open windows of a key
	keys    map[string]*keyState
	due     dueHeap // keys with open windows
	idle    dueHeap // keys without
	open    int     // of all keys
	changed []*keyState
	gone    map[string]struct{}
	emit    func(Result)
}

// New returns a Set without windows, which calls emit with each that ends.
func New(spec Spec, emit func(Result)) *Set {
	large := 0
	for _, k := range spec.Aggregates {
		if k.Large() {
			large++
		}
	}
	return &Set{spec: spec, most: MostOpen(large), emit: emit, keys: make(map[string]*keyState), gone: make(map[string]struct{})}
}

// Keys returns how many keys the Set holds.
func (s *Set) Keys() int { return len(s.keys) }

// Add adds an event and ends the windows that are due by it. late is set if it is in no
// window for that reason.
func (s *Set) Add(now int64, key string, e Event) (late bool, err error) {
	k := s.keys[key]
	if k == nil {
		if s.spec.Kind == State && !e.Start {
			return false, nil
		}
		if k, err = s.newKey(key); err != nil {
			return false, err
		}
	}
	switch s.spec.Kind {
	case Count:
		err = s.count(k, e)
	case State:
		err = s.state(now, k, e)
	default:
		late, err = s.timed(now, k, e)
	}
	if err != nil && !k.known && len(k.open) == 0 && !k.any {
		s.drop(k) // the event would have been the first
		return late, err
	}
	if !late && err == nil {
		s.mark(k)
	}
	s.settle(now, k)
	return late, err
}

// newKey makes room for a key: the key that is next to be forgotten anyhow goes.
func (s *Set) newKey(key string) (*keyState, error) {
	if len(s.keys) >= s.spec.MaxKeys {
		if len(s.idle) == 0 {
			return nil, ErrKeys
		}
		s.drop(s.idle[0])
	}
	k := &keyState{key: key}
	s.keys[key] = k
	delete(s.gone, key)
	return k, nil
}

func (s *Set) drop(k *keyState) {
	s.unschedule(k)
	s.open -= len(k.open)
	delete(s.keys, k.key)
	k.gone = true
	s.gone[k.key] = struct{}{}
}

func (s *Set) mark(k *keyState) {
	if !k.dirty {
		k.dirty = true
		s.changed = append(s.changed, k)
	}
}

// begin opens a window.
func (s *Set) begin(k *keyState, w open) (*open, error) {
	if len(k.open) >= s.most {
		return nil, ErrOpen
	}
	if s.open >= openPer*s.spec.MaxKeys {
		return nil, ErrKeys
	}
	w.accs = make([]aggregate.Acc, len(s.spec.Aggregates))
	o := &w
	k.open = append(k.open, o)
	s.open++
	return o, nil
}

func (s *Set) add(w *open, e Event) {
	for i, kind := range s.spec.Aggregates {
		kind.Add(&w.accs[i], e.At, e.Values[i])
	}
}

// end ends the i-th window of a key.
func (s *Set) end(k *keyState, i int) {
	w := k.open[i]
	k.open = append(k.open[:i], k.open[i+1:]...)
	s.open--
	end := w.end
	if s.spec.Kind == Session {
		end += s.spec.Gap
	}
	if s.spec.Kind <= Session && (!k.any || end > k.closed) {
		k.any, k.closed = true, end
	}
	s.mark(k)
	r := Result{Key: k.key, First: w.first, Start: w.start, End: end, Values: make([]any, len(w.accs))}
	for j, kind := range s.spec.Aggregates {
		r.Values[j] = kind.Result(&w.accs[j])
	}
	s.emit(r)
}

func (s *Set) count(k *keyState, e Event) (err error) {
	if len(k.open) == 0 {
		if _, err = s.begin(k, open{start: e.At, end: e.At, first: e.ID}); err != nil {
			return err
		}
	}
	w := k.open[0]
	s.add(w, e)
	w.start, w.end, w.n = min(w.start, e.At), max(w.end, e.At), w.n+1
	if w.n >= s.spec.N {
		s.end(k, 0)
	}
	return nil
}

func (s *Set) state(now int64, k *keyState, e Event) (err error) {
	if len(k.open) == 0 {
		if !e.Start {
			return nil
		}
		if _, err = s.begin(k, open{start: e.At, end: e.At, first: e.ID, due: now + s.spec.Max}); err != nil {
			return err
		}
	}
	w := k.open[0]
	s.add(w, e)
	w.start, w.end = min(w.start, e.At), max(w.end, e.At)
	if e.End {
		s.end(k, 0)
	}
	return nil
}

// timed adds an event to windows over time.
func (s *Set) timed(now int64, k *keyState, e Event) (late bool, err error) {
	if k.known && e.At > k.max+ahead && e.At > now+ahead {
		return false, ErrFuture
	}
	if k.known && k.max > now+ahead && e.At < k.max-ahead { // the event that set max was wrong
		for n := len(k.open); n > 0 && k.open[n-1].start > e.At+ahead; n-- {
			s.end(k, n-1) // by the right time it would be open for long
		}
		k.max, k.seen, k.any = e.At, now, false
	}
	if s.spec.Kind == Hopping {
		late, err = s.hop(k, e)
	} else {
		late, err = s.session(k, e)
	}
	if err != nil {
		return late, err
	}
	if !k.known || e.At > k.max {
		k.known, k.max, k.seen = true, e.At, now
	}
	return late, nil
}

// over reports whether a window that ends at end has ended for the events of k.
func (s *Set) over(k *keyState, end int64) bool {
	return k.any && end <= k.closed || k.known && end+s.spec.Lateness <= k.max
}

func (s *Set) hop(k *keyState, e Event) (late bool, err error) {
	late = true
	last := floor(e.At, s.spec.Every)
	if missing := s.missing(k, e.At); len(k.open)+missing > s.most {
		return false, ErrOpen
	} else if s.open+missing > openPer*s.spec.MaxKeys {
		return false, ErrKeys
	}
	for start := last; start > e.At-s.spec.Size; start -= s.spec.Every {
		end := start + s.spec.Size
		if s.over(k, end) {
			break // those before end earlier
		}
		late = false
		w := k.at(start)
		if w == nil {
			if w, err = s.begin(k, open{start: start, end: end}); err != nil {
				return false, err
			}
			k.sort()
		}
		s.add(w, e)
	}
	return late && last > e.At-s.spec.Size, nil // between two windows is not late
}

// missing counts the windows that an event at a time needs and that are not open.
func (s *Set) missing(k *keyState, at int64) (n int) {
	for start := floor(at, s.spec.Every); start > at-s.spec.Size && !s.over(k, start+s.spec.Size); start -= s.spec.Every {
		if k.at(start) == nil {
			n++
		}
	}
	return n
}

// floor returns the greatest multiple of d that is not above t.
func floor(t, d int64) int64 {
	r := t % d
	if r < 0 {
		r += d
	}
	return t - r
}

// at returns the open window with the start. The newest is the likeliest.
func (k *keyState) at(start int64) *open {
	for i := len(k.open) - 1; i >= 0 && k.open[i].start >= start; i-- {
		if k.open[i].start == start {
			return k.open[i]
		}
	}
	return nil
}

// sort moves the last window to where it belongs by its start.
func (k *keyState) sort() {
	for i := len(k.open) - 1; i > 0 && k.open[i].start < k.open[i-1].start; i-- {
		k.open[i], k.open[i-1] = k.open[i-1], k.open[i]
	}
}

func (s *Set) session(k *keyState, e Event) (late bool, err error) {
	if k.any && e.At < k.closed {
		return true, nil
	}
	w, i := s.joins(k, e.At)
	if w == nil {
		if s.over(k, e.At+s.spec.Gap) {
			return true, nil
		}
		if w, err = s.begin(k, open{start: e.At, end: e.At}); err != nil {
			return false, err
		}
		s.add(w, e)
		k.sort()
		return false, nil
	}
	s.add(w, e)
	w.start, w.end = min(w.start, e.At), max(w.end, e.At)
	for i > 0 && s.merge(k, i-1) {
		i--
	}
	for i < len(k.open)-1 && s.merge(k, i) {
	}
	return false, nil
}

// joins returns the newest window that an event at a time belongs to.
func (s *Set) joins(k *keyState, at int64) (*open, int) {
	for i := len(k.open) - 1; i >= 0; i-- {
		w := k.open[i]
		if at > w.start-s.spec.Gap && at < w.end+s.spec.Gap && max(w.end, at)-min(w.start, at) <= s.spec.Max {
			return w, i
		}
	}
	return nil, 0
}

// merge makes one of windows i and i+1 if they are one.
func (s *Set) merge(k *keyState, i int) bool {
	a, b := k.open[i], k.open[i+1]
	if b.start >= a.end+s.spec.Gap || max(a.end, b.end)-a.start > s.spec.Max {
		return false
	}
	for j, kind := range s.spec.Aggregates {
		kind.Merge(&a.accs[j], &b.accs[j])
	}
	a.end = max(a.end, b.end)
	k.open = append(k.open[:i+1], k.open[i+2:]...)
	s.open--
	return true
}
