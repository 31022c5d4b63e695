package session

// Kind is a kind of Event or Effect.
type Kind byte

// The events: what the client did.
const (
	Connected    Kind = iota // Window is how many messages may be in flight
	Disconnected             //
	Puback                   // PID, Code
	Pubrec                   // PID, Code
	Pubcomp                  // PID
	Publish2                 // a QoS 2 PUBLISH: PID
	Refused2                 // the PUBLISH of the last Publish2 was answered with an error: PID
	Pubrel                   // PID
)

// Event is something that happened to the session.
type Event struct {
	Kind   Kind
	PID    uint16
	Code   byte // reason code; 0x80 and above are errors
	Window int
}

// The effects: what the caller must do.
const (
	SendPubrec  Kind = 16 + iota // PID
	SendPubrel                   // PID, Code; after the session's state is on the disk
	SendPubcomp                  // PID, Code; after the session's state is on the disk
	Accept                       // a QoS 2 message is new: publish it, then send PUBREC; PID
	Release                      // the queue no longer holds Entry
)

// Effect is something that the caller must do.
type Effect struct {
	Kind  Kind
	PID   uint16
	Code  byte
	Entry Entry
}

// notFound is the reason code for an unknown packet identifier (MQTT 5, 2.4).
const notFound = 0x92

// Step folds ev into the session and appends to out what must be done.
func (s *Session) Step(ev Event, out []Effect) []Effect {
	switch ev.Kind {
	case Connected:
		return s.connect(ev.Window, out)
	case Disconnected:
		s.window, s.inflight, s.next = 0, 0, 0
	case Puback:
		if i := s.find(ev.PID); i >= 0 && s.entries[i].QoS == 1 && s.entries[i].state == sent {
			return s.settle(i, out)
		}
	case Pubrec:
		return s.received(ev, out)
	case Pubcomp:
		if i := s.find(ev.PID); i >= 0 && s.entries[i].state == released {
			return s.settle(i, out)
		}
	case Publish2:
		if _, dup := s.inbound[ev.PID]; dup {
			return append(out, Effect{Kind: SendPubrec, PID: ev.PID})
		}
		if s.inbound == nil {
			s.inbound = make(map[uint16]struct{})
		}
		s.inbound[ev.PID] = struct{}{}
		return append(out, Effect{Kind: Accept, PID: ev.PID})
	case Refused2:
		delete(s.inbound, ev.PID)
	case Pubrel:
		code := byte(notFound)
		if _, ok := s.inbound[ev.PID]; ok {
			code = 0
			delete(s.inbound, ev.PID)
		}
		return append(out, Effect{Kind: SendPubcomp, PID: ev.PID, Code: code})
	}
	return out
}

// connect begins a connection: what was released is released again, what was sent is
// sent again by Next, in the order of the queue (MQTT 5, 4.4 and 4.6).
func (s *Session) connect(window int, out []Effect) []Effect {
	s.window, s.inflight, s.next = min(window, maxWindow), 0, 0
	for i, e := range s.entries {
		if e.state == released {
			s.inflight++
			out = append(out, Effect{Kind: SendPubrel, PID: PID(s.base + uint64(i))})
		}
	}
	return out
}

// received handles PUBREC.
func (s *Session) received(ev Event, out []Effect) []Effect {
	i := s.find(ev.PID)
	if i < 0 || s.entries[i].QoS != 2 || (s.entries[i].state != sent && s.entries[i].state != released) {
		return append(out, Effect{Kind: SendPubrel, PID: ev.PID, Code: notFound})
	}
	if ev.Code >= 0x80 {
		return s.settle(i, out)
	}
	s.entries[i].state = released
	return append(out, Effect{Kind: SendPubrel, PID: ev.PID})
}

// settle ends an entry that was in flight.
func (s *Session) settle(i int, out []Effect) []Effect {
	e := s.entries[i]
	s.inflight--
	s.finish(i)
	return append(out, Effect{Kind: Release, Entry: e})
}

// Clear empties the queue and appends what it held to out.
func (s *Session) Clear(out []Effect) []Effect {
	for _, e := range s.entries {
		if e.state != done {
			out = append(out, Effect{Kind: Release, Entry: e})
		}
	}
	*s = Session{}
	return out
}
