package session

import (
	"maps"
	"slices"
)

// Cursor is what must be known of a session, besides its messages, to go on with it after
// a restart.
type Cursor struct {
	Base     uint64   // all messages before it are done
	Next     uint64   // the number that the next message gets
	Done     []uint64 // from Base on, those that are done too
	Released []uint64 // QoS 2 messages that the client has, in their order
	Inbound  []uint16 // identifiers of the client's own QoS 2 messages, sorted
}

// Cursor returns the session's cursor.
func (s *Session) Cursor() Cursor {
	c := Cursor{Base: s.base, Next: s.base + uint64(len(s.entries)), Inbound: slices.Sorted(maps.Keys(s.inbound))}
	for i, e := range s.entries[:min(s.high, len(s.entries))] {
		switch e.state {
		case done:
			c.Done = append(c.Done, s.base+uint64(i))
		case released:
			c.Released = append(c.Released, s.base+uint64(i))
		}
	}
	return c
}

// Stored is a message of a session as it was found on the disk.
type Stored struct {
	Seq   uint64
	Entry Entry
}

// maxGap is how many numbers a damaged cursor may lie behind its messages.
const maxGap = 1 << 20

// Restore makes a session of its cursor and its messages, which are in order. Messages that
// the cursor does not want are appended to dropped.
func Restore(c Cursor, stored []Stored, dropped []*Message) (*Session, []*Message) {
	s := &Session{base: c.Base}
	if len(c.Inbound) > 0 {
		s.inbound = make(map[uint16]struct{}, len(c.Inbound))
		for _, id := range c.Inbound {
			s.inbound[id] = struct{}{}
		}
	}
	for _, m := range stored {
		_, isDone := slices.BinarySearch(c.Done, m.Seq)
		if m.Seq < s.base || isDone || m.Seq-s.base > maxGap || m.Seq < s.base+uint64(len(s.entries)) {
			dropped = append(dropped, m.Entry.Message)
			continue
		}
		s.pad(m.Seq)
		m.Entry.state = sent // perhaps: a duplicate flag too many does no harm
		if _, ok := slices.BinarySearch(c.Released, m.Seq); ok && m.Entry.QoS == 2 {
			m.Entry.state = released
		}
		s.Add(m.Entry)
		s.high = len(s.entries)
	}
	if c.Next > s.base && c.Next-s.base <= maxGap {
		s.pad(c.Next)
	}
	if s.waiting == 0 {
		s.base, s.entries = s.base+uint64(len(s.entries)), nil
	}
	return s, dropped
}

// pad fills the queue with finished entries up to seq. Those at the head are dropped.
func (s *Session) pad(seq uint64) {
	if s.waiting == 0 {
		s.base, s.entries = max(s.base, seq), nil
		return
	}
	for s.base+uint64(len(s.entries)) < seq {
		s.entries = append(s.entries, Entry{state: done})
	}
}
