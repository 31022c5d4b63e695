package broker

// A client's messages, and its will, go to the program one after the other, each when the
// acknowledgements that the client was to get before are on their way: neither the program's
// answer overtakes an acknowledgement, nor a message the one before it. What must wait goes with
// the next commit (after.call). This holds over connections and sessions: a login waits until
// what the client sent before is through (waitForCalls).

// caller is a client, whatever its session.
type caller struct{ id, user string }

func (s *clientSession) caller() caller { return caller{s.id, s.user.Name} }

// toProgram decides when the program's subscriptions get p, a message or the will of the client of
// s, for which publish has found them: with the next commit if something of the client is still on
// its way, else now. Then it returns p, for which the caller must call Broker.call. c is nil for a
// will. It needs b.mu.
func (b *Broker) toProgram(c *conn, s *clientSession, p *publication) (now *publication) {
	if len(p.program) == 0 {
		return nil
	}
	p.from = s
	who := s.caller()
	b.calling[who]++
	if b.calling[who] == 1 && (c == nil || c.unsettled == 0) {
		return p
	}
	b.onCommit(after{conn: c, call: &publication{Message: *p.message(), from: s, program: p.program}}, true)
	return nil
}

// call calls the program's subscriptions with what toProgram has returned, nil included, in the
// publisher's goroutine. It must be called without b.mu.
func (b *Broker) call(p *publication) {
	if p == nil {
		return
	}
	p.call()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.called(p)
}

// called notes that p is through to the program. It needs b.mu.
func (b *Broker) called(p *publication) {
	who := p.from.caller()
	if b.calling[who]--; b.calling[who] == 0 {
		delete(b.calling, who)
		b.committed.Broadcast() // a login waits
	}
}

// callAll is call for messages whose acknowledgements are on their way since the commit.
func (b *Broker) callAll(calls []after) {
	for _, a := range calls {
		a.call.call()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range calls {
		if a.conn != nil { // nil for a will
			a.conn.unsettled--
		}
		b.called(a.call)
	}
	b.committed.Broadcast()
}

// call gives the message to the program's subscriptions.
func (p *publication) call() {
	for _, sub := range p.program {
		sub.deliver(message(&p.Message, false))
	}
}
