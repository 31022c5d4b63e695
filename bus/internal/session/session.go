package session

// Message is one application message. The sessions to which it goes share it. Only the
// counters and Waiting change after it is made; their owner has a lock.
type Message struct {
	Topic   string
	Payload []byte
	Props   []byte // MQTT 5 properties as they are on the wire, without those of one connection
	Expires int64  // when it expires, in milliseconds since 1970; 0 means never
	QoS     byte   // as published
	Retain  bool   // as published

	ID      uint64 // of the durable record; 0 if there is none
	Waiting bool   // it must not be sent yet: its record is not on the disk
	Written bool   // its record is on the disk
	Refs    int    // entries of queues that hold it
	Durable int    // entries of durable queues that hold it
}

// Size is about how many bytes of memory the message takes.
func (m *Message) Size() int { return len(m.Topic) + len(m.Payload) + len(m.Props) + 128 }

// Entry is one message in the queue of one session.
type Entry struct {
	Message *Message
	QoS     byte
	Retain  bool     // the retain flag for this client
	IDs     []uint32 // subscription identifiers
	Durable bool     // it is one of the message's durable entries
	state   state
}

type state byte

const (
	queued   state = iota // never sent
	sent                  // sent, perhaps on an earlier connection
	released              // QoS 2: the client has it (PUBREC), PUBREL is under way
	done                  // finished; it waits for those before it
)

// maxWindow is how many sequence numbers may be in flight: as many as there are packet
// identifiers.
const maxWindow = 65535

// Session is the state of one session. Its zero value is a new session whose client is
// away.
type Session struct {
	base     uint64  // sequence number of entries[0]
	entries  []Entry // from the oldest that is not done
	next     int     // index of the first entry that was not sent on this connection
	high     int     // index of the first entry that was never sent
	inflight int     // entries sent on this connection and not done
	window   int     // how many may be in flight; 0 while the client is away
	waiting  int     // entries that are not done
	bytes    int     // of their messages
	inbound  map[uint16]struct{}
}

// Len is how many messages the session holds.
func (s *Session) Len() int { return s.waiting }

// Bytes is the size of the messages that the session holds.
func (s *Session) Bytes() int { return s.bytes }

// Inbound is how many QoS 2 messages of the client are not released.
func (s *Session) Inbound() int { return len(s.inbound) }

// PID is the packet identifier of the message with the sequence number.
func PID(seq uint64) uint16 { return uint16(seq%maxWindow) + 1 }

// Add puts an entry at the end of the queue and returns its sequence number.
func (s *Session) Add(e Entry) uint64 {
	seq := s.base + uint64(len(s.entries))
	s.entries = append(s.entries, e)
	s.waiting++
	s.bytes += e.Message.Size()
	return seq
}

// Delivery is a message to send now.
type Delivery struct {
	Entry
	PID     uint16
	Dup     bool // it may have been sent before
	Expired bool // it is not sent: its time is over
	Final   bool // the session no longer holds it: it is expired, or of QoS 0
}

// Next takes the next message that the client may get at the time now. It reports
// false when nothing may be sent: the queue is empty, the window is full, or the next
// message waits for its record.
func (s *Session) Next(now int64) (Delivery, bool) {
	for s.next < len(s.entries) && s.inflight < s.window && s.next < maxWindow {
		e := &s.entries[s.next]
		if e.state == released || e.state == done {
			s.next++
			continue
		}
		if e.Message.Waiting {
			break
		}
		d := Delivery{Entry: *e, PID: PID(s.base + uint64(s.next)), Dup: e.state == sent}
		if e.Message.Expires > 0 && now >= e.Message.Expires && e.state == queued {
			d.Expired, d.Final = true, true
			s.finish(s.next)
			return d, true
		}
		if e.QoS == 0 { // a retained message: it takes its turn and is not acknowledged
			d.Final = true
			s.finish(s.next)
			return d, true
		}
		e.state = sent
		s.next++
		s.high = max(s.high, s.next)
		s.inflight++
		return d, true
	}
	return Delivery{}, false
}

// find returns the index of the entry in flight with the packet identifier, or -1: an
// entry that was sent on this connection, or that is released.
func (s *Session) find(pid uint16) int {
	if pid == 0 {
		return -1
	}
	i := int((uint64(pid) - 1 + maxWindow - s.base%maxWindow) % maxWindow)
	if i >= s.high || (i >= s.next && s.entries[i].state != released) {
		return -1
	}
	return i
}

// finish marks an entry done and drops the finished ones at the head.
func (s *Session) finish(i int) {
	e := &s.entries[i]
	s.bytes -= e.Message.Size()
	s.waiting--
	*e = Entry{state: done}
	if i > 0 {
		return
	}
	n := 1
	for n < len(s.entries) && s.entries[n].state == done {
		n++
	}
	s.base += uint64(n)
	s.next, s.high = max(0, s.next-n), max(0, s.high-n)
	s.entries = s.entries[n:]
	if len(s.entries) == 0 {
		s.entries = nil // frees the array
	}
}
