package replica

import (
	"slices"

	"github.com/edgekit/edgekit/hub/internal/message"
)

// What a StateSender knows of each key that is not at rest.

type workState uint8

const (
	isQueued workState = iota
	isLoading
	isReady
	isFlying
	isLater
)

type work struct {
	state workState
	dirty bool // changed since it was loaded
	tries int  // how often it was postponed
}

// changed notes that a key must be looked at.
func (s *StateSender) changed(k message.Key) {
	w := s.work[k]
	switch {
	case w == nil:
		s.enqueue(k, 0)
	case w.state == isReady:
		// What was loaded is old already, and was not sent: load it anew.
		s.ready = slices.DeleteFunc(s.ready, func(o message.Object) bool { return o.Key == k })
		s.enqueue(k, 0)
	case w.state == isLater:
		// Most likely the owner has caught up.
		s.later = slices.DeleteFunc(s.later, func(l message.Key) bool { return l == k })
		s.enqueue(k, w.tries)
	case w.state == isLoading || w.state == isFlying:
		w.dirty = true
	}
}

func (s *StateSender) enqueue(k message.Key, tries int) {
	s.work[k] = &work{state: isQueued, tries: tries}
	s.queue = append(s.queue, k)
}

// settle ends the work on a key, or starts it anew if the key has changed meanwhile.
func (s *StateSender) settle(k message.Key) {
	if w := s.work[k]; w != nil && w.dirty {
		s.enqueue(k, 0)
		return
	}
	delete(s.work, k)
}

// postpone tries the key again later.
func (s *StateSender) postpone(k message.Key) {
	s.work[k] = &work{state: isLater, tries: s.work[k].tries + 1}
	s.later = append(s.later, k)
}
