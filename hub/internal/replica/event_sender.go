package replica

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/edgekit/edgekit/hub/internal/message"
)

// The owner's half of the event class. The peer first sends its marks: for each source
// the id of the newest event that it has. Then each source is read from there, one
// event at a time, round robin, and sent as far as the window allows. Later marks are
// acknowledgements.

// maxReads is how many sources are read at the same time.
const maxReads = 4

// EventSenderConfig sets up an EventSender.
type EventSenderConfig struct {
	Window      int // the peer's, for events a separate one
	WindowBytes int
	MaxFrame    int
	MaxSources  int
	Size        func(message.Event) int // of the frame that carries an event
}

// EventSender is the owner's half of the event class.
type EventSender struct {
	cfg     EventSenderConfig
	marked  bool              // the peer has sent all its marks
	marks   map[string]uint64 // of sources that were not seen here yet
	sources map[string]*eventSource
	queue   []*eventSource        // to be read, oldest first
	blocked []*eventSource        // to be read when the window has room
	later   retries[*eventSource] // to be read when the timer fires
	reading int
	flying  int
	bytes   int
	landed  int // events that were acknowledged, until the session counts them
}

type eventState uint8

const (
	eventRests   eventState = iota // nothing to read, as far as is known
	eventQueued                    // in the queue
	eventReading                   // with the Outbox
	eventBlocked                   // needs room in the window
	eventLater                     // reading failed
)

type eventSource struct {
	name     string
	state    eventState
	appended bool   // appended to while it was being read
	cursor   uint64 // newest id that was sent, skipped, or found at the peer
	need     int    // size that must fit before it is read again
	tries    int
	flight   []flyingEvent
	bytes    int // of flight
}

type flyingEvent struct {
	id      uint64
	size    int
	skipped bool // was too large to be sent
}

// ErrSources is why a source's events do not travel.
var ErrSources = errors.New("hub: the outbox has more sources than Limits.MaxKeys")

// NewEventSender makes one that waits for the peer's marks.
func NewEventSender(cfg EventSenderConfig) *EventSender { return &EventSender{cfg: cfg} }

// Progress is how many events are under way now, and how many the peer has
// acknowledged since it was last asked for.
func (s *EventSender) Progress() (pending, landed int) {
	landed, s.landed = s.landed, 0
	return s.flying, landed
}

// Step folds one event into the machine and returns what to do.
func (s *EventSender) Step(ev EventSenderEvent) []Effect {
	var fx []Effect
	switch ev := ev.(type) {
	case PeerMarks:
		fx = s.peerMarks(fx, ev)
	case Appended:
		fx = s.appended(fx, ev.Source)
	case EventRead:
		fx = s.read(fx, ev)
	case PeerRefused:
		src := s.sources[ev.Source]
		if src == nil || !slices.ContainsFunc(src.flight, func(f flyingEvent) bool { return f.id == ev.ID }) {
			return append(fx, Fail{message.Violation("refusal of event %d of %q, which is not under way", ev.ID, message.Clip(ev.Source))})
		}
		return append(fx, ReportLost{ev.Source, ev.ID, ev.Err})
	case RetryDue:
		for _, src := range s.later.take() {
			s.enqueue(src)
		}
	}
	return s.pump(fx)
}

// peerMarks takes a part of the peer's marks at first, acknowledgements later.
func (s *EventSender) peerMarks(fx []Effect, ev PeerMarks) []Effect {
	if s.marked {
		return s.acked(fx, ev.Entries)
	}
	if len(s.marks)+len(ev.Entries) > s.cfg.MaxSources {
		return append(fx, Fail{message.Violation("peer has marks of more than %d sources", s.cfg.MaxSources)})
	}
	for _, m := range ev.Entries {
		if s.marks == nil {
			s.marks = make(map[string]uint64)
		}
		s.marks[m.Source] = m.ID
	}
	if s.marked = ev.Last; s.marked {
		for _, src := range s.queue {
			fx = s.resume(fx, src)
		}
	}
	return fx
}

// resume continues a source after the peer's mark.
func (s *EventSender) resume(fx []Effect, src *eventSource) []Effect {
	src.cursor = s.marks[src.name]
	if delete(s.marks, src.name); len(s.marks) == 0 {
		s.marks = nil
	}
	if src.cursor > 0 {
		fx = append(fx, ForgetEvents{src.name, src.cursor, true})
	}
	return fx
}

func (s *EventSender) appended(fx []Effect, name string) []Effect {
	src := s.sources[name]
	if src == nil {
		if len(s.sources) >= s.cfg.MaxSources {
			return append(fx, ReportLost{name, 0, ErrSources})
		}
		if s.sources == nil {
			s.sources = make(map[string]*eventSource)
		}
		src = &eventSource{name: name}
		s.sources[name] = src
		if s.marked {
			fx = s.resume(fx, src)
		}
	}
	switch src.state {
	case eventRests:
		s.enqueue(src)
	case eventReading:
		src.appended = true
	}
	return fx
}

// enqueue puts a source at the end of the queue of those to be read.
func (s *EventSender) enqueue(src *eventSource) {
	src.state = eventQueued
	s.queue = append(s.queue, src)
}

// block makes a source wait for room in the window.
func (s *EventSender) block(src *eventSource, need int) {
	src.state, src.need = eventBlocked, max(need, 1)
	s.blocked = append(s.blocked, src)
}

// read handles what the Outbox returned.
func (s *EventSender) read(fx []Effect, ev EventRead) []Effect {
	s.reading--
	src := s.sources[ev.Source]
	appended := src.appended
	src.appended = false
	switch {
	case errors.Is(ev.Err, io.EOF):
		src.state, src.tries = eventRests, 0
		if appended {
			s.enqueue(src)
		}
		return fx
	case ev.Err != nil:
		src.state = eventLater
		src.tries++
		s.later.add(src)
		return append(fx, ReportLost{src.name, 0, ev.Err})
	}
	src.tries = 0
	e := ev.Event
	e.Source = src.name
	if e.ID <= src.cursor {
		return append(fx, Fail{fmt.Errorf("hub: Outbox.Next gave event %d of %q after %d", e.ID, src.name, src.cursor)})
	}
	n := s.cfg.Size(e)
	switch {
	case n > s.cfg.MaxFrame:
		fx = append(fx, ReportLost{src.name, e.ID, message.TooLarge(n, s.cfg.MaxFrame)})
		src.cursor = e.ID
		src.flight = append(src.flight, flyingEvent{id: e.ID, skipped: true})
		fx = s.land(fx, src, 0)
	case !s.room(src, n):
		s.block(src, n)
		return fx
	default:
		src.cursor = e.ID
		src.flight = append(src.flight, flyingEvent{id: e.ID, size: n})
		src.bytes += n
		s.flying++
		s.bytes += n
		fx = append(fx, SendEvent{e})
	}
	s.enqueue(src)
	return fx
}

// room reports whether an event of n bytes may be sent. A source may take at
// most three times of what is then left to the others, so that one whose
// events the peer cannot take does not fill the window. One event may always
// travel alone, however large.
func (s *EventSender) room(src *eventSource, n int) bool {
	free, freeBytes := s.cfg.Window-s.flying, s.cfg.WindowBytes-s.bytes
	switch {
	case s.flying == 0:
		return true
	case free <= 0 || n > freeBytes:
		return false
	}
	return src.bytes == 0 || len(src.flight) < 3*free && src.bytes+n <= 3*freeBytes
}

func (s *EventSender) acked(fx []Effect, marks []message.Mark) []Effect {
	for _, m := range marks {
		src := s.sources[m.Source]
		if src == nil || m.ID > src.cursor {
			return append(fx, Fail{message.Violation("mark at event %d of %q, which was not sent", m.ID, message.Clip(m.Source))})
		}
		fx = s.land(fx, src, m.ID)
	}
	waiting := s.blocked
	s.blocked = nil
	for _, src := range waiting {
		if s.room(src, src.need) {
			s.enqueue(src)
		} else {
			s.blocked = append(s.blocked, src)
		}
	}
	return fx
}

// land removes a source's events up to id from those in flight, and after them those that
// were skipped and are now first.
func (s *EventSender) land(fx []Effect, src *eventSource, id uint64) []Effect {
	done := uint64(0)
	for len(src.flight) > 0 && (src.flight[0].id <= id || src.flight[0].skipped) {
		f := src.flight[0]
		src.flight = src.flight[1:]
		if done = f.id; !f.skipped {
			s.landed++
			src.bytes -= f.size
			s.flying--
			s.bytes -= f.size
		}
	}
	if len(src.flight) == 0 {
		src.flight = nil
	}
	if done > 0 {
		fx = append(fx, ForgetEvents{src.name, done, false})
	}
	return fx
}

// pump reads the next events that the window may have room for.
func (s *EventSender) pump(fx []Effect) []Effect {
	for s.marked && len(s.queue) > 0 && s.reading < maxReads {
		src := s.queue[0]
		s.queue = s.queue[1:]
		if !s.room(src, max(src.need, 1)) {
			s.block(src, src.need)
			continue
		}
		src.state, src.need = eventReading, 0
		s.reading++
		fx = append(fx, ReadNext{src.name, src.cursor})
	}
	if len(s.queue) == 0 {
		s.queue = nil
	}
	return s.later.arm(fx)
}

// RetryPause is the wait after the given number of failures in a row.
func RetryPause(tries int) time.Duration { return min(retryMin<<min(tries-1, 16), retryMax) }
