package hub

// traced is what a session has sent with a trace and what is not yet acknowledged, by number. It is
// empty where no object has a trace. The session's mu guards it; the peer's window bounds it.
type traced struct {
	observer TraceObserver // the Source, if it is one; else nothing is kept
	flight   []tracedObject
}

// tracedObject is one object on its way.
type tracedObject struct {
	seq   uint64
	key   Key
	trace string
	err   error // why the peer did not take it
}

// sent notes an object that is being sent, and returns its trace for the frame: nil if that is not a
// traceparent, which the peer would ignore.
func (t *traced) sent(seq uint64, o Object) *string {
	trace := Traceparent(o.Trace)
	if trace == "" {
		return nil
	}
	if t.observer != nil {
		t.flight = append(t.flight, tracedObject{seq: seq, key: o.Key, trace: trace})
	}
	return &trace
}

// traceNacked notes that the peer did not take an object; the acknowledgement that follows covers it.
func (s *session) traceNacked(seq uint64, err *Error) {
	if s.traced.observer == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.traced.flight {
		if s.traced.flight[i].seq == seq {
			s.traced.flight[i].err = err
		}
	}
}

// traceAcked reports the objects up to seq to the Source. It is called by the goroutine that reads.
func (s *session) traceAcked(seq uint64) {
	if s.traced.observer == nil {
		return
	}
	s.mu.Lock()
	n := 0
	for n < len(s.traced.flight) && s.traced.flight[n].seq <= seq {
		n++
	}
	done := s.traced.flight[:n:n]
	if s.traced.flight = s.traced.flight[n:]; len(s.traced.flight) == 0 {
		s.traced.flight = nil
	}
	s.mu.Unlock()
	for _, o := range done {
		s.traced.observer.TraceDelivered(o.key, o.trace, o.err)
	}
}
