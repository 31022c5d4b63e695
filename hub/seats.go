package hub

import (
	"context"
	"fmt"
	"time"
)

// fullRetry is when a node that found the server full may ask again.
const fullRetry = 30 * time.Second

// admit gives the node to a new tenant by the fencing rule, ends the one
// before, and waits until all of that is over, so that a node's Source, Sink
// and Connected never serve two sessions at once.
func (v *Server) admit(ctx context.Context, cancel context.CancelFunc, h hello, node Node) (*tenant, error) {
	t := &tenant{cancel: cancel, done: make(chan struct{})}
	shared, err := v.claim(ctx, h, node)
	if err != nil {
		return nil, err
	}
	before, err := v.take(t, h, shared)
	if err != nil || before == nil {
		return t, err
	}
	select {
	case <-before.done:
		return t, nil
	case <-ctx.Done():
		// Who comes next waits for t, and so for the one before it as well.
		v.running.Go(func() {
			<-before.done
			v.release(h.Node, t)
		})
		return nil, fmt.Errorf("hub: the node's earlier session did not end: %w", ctx.Err())
	}
}

// claim takes the seat that all servers share, if the node has one.
func (v *Server) claim(ctx context.Context, h hello, node Node) (*Seat, error) {
	if node.Claim == nil {
		return nil, nil
	}
	// A server that is full leaves the node where it is.
	v.mu.Lock()
	st := v.seats[h.Node]
	full := (st == nil || st.tenant == nil) && v.fullLocked()
	v.mu.Unlock()
	if full {
		return nil, v.full()
	}
	var mine Seat
	err := node.Claim(ctx, func(held Seat) (Seat, error) {
		next, verdict := held.take(claim{h.Instance, h.Dial}, uint64(time.Now().UnixMicro()))
		mine = next
		return next, refused(verdict, held.Epoch)
	})
	return &mine, err
}

// refused is the error for a seat that cannot be had, or nil.
func refused(v verdict, epoch uint64) error {
	switch v {
	case seatFenced:
		return &fencedRefusal{epoch}
	case seatStale:
		return &turnedAway{HandshakeStale, &Error{Code: CodeConflict, Text: "a newer connection of this program stands"}}
	}
	return nil
}

func (v *Server) fullLocked() bool { return v.cfg.MaxNodes > 0 && v.count >= v.cfg.MaxNodes }

func (v *Server) full() error {
	return &turnedAway{HandshakeFull, &Error{
		Code: CodeExhausted, RetryAfter: fullRetry,
		Text: fmt.Sprintf("this server holds its limit of %d nodes", v.cfg.MaxNodes),
	}}
}

// take seats t and returns the tenant that was thrown out, if there was one.
// shared is the seat that was claimed from all servers, if they share any.
func (v *Server) take(t *tenant, h hello, shared *Seat) (*tenant, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	st := v.seats[h.Node]
	if st == nil {
		st = &nodeSeat{}
	}
	var next Seat
	var verdict verdict
	if shared != nil {
		next, verdict = st.yield(*shared)
	} else {
		next, verdict = st.take(claim{h.Instance, h.Dial}, uint64(time.Now().UnixMicro()))
	}
	if err := refused(verdict, st.Epoch); err != nil {
		return nil, err
	}
	if verdict == seatFree {
		if v.fullLocked() {
			return nil, v.full()
		}
		v.count++
	}
	before := st.tenant
	t.epoch = next.Epoch
	st.Seat, st.tenant = next, t
	v.seats[h.Node] = st
	if before != nil {
		before.evict(verdict == seatFence, next.Epoch)
	}
	return before, nil
}

// evict ends a tenant: told, if it is another program, and at once otherwise.
// The server's mu is held.
func (t *tenant) evict(fenced bool, by uint64) {
	switch {
	case t.session == nil:
		t.cancel()
	case fenced:
		t.session.part(goodbye{Kind: goodbyeFenced, Epoch: by})
	default:
		t.session.fail(&parted{goodbye{Kind: goodbyeReplaced}})
	}
}

// stand makes the session of t the node's. It reports false if t was evicted
// before that.
func (v *Server) stand(t *tenant, s *session, info Info) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	st := v.seats[info.Node]
	if st == nil || st.tenant != t {
		return false
	}
	t.session, t.info, t.cancel = s, info, nil
	if t.stands != nil {
		close(t.stands)
	}
	if v.draining { // it came too late to be told with the others
		s.part(v.farewell())
	}
	return true
}

// session is the node's, or ErrOffline. The edge knows of its session a moment
// before this side does: one that has a seat is waited for, until its handshake
// ends either way.
func (v *Server) session(ctx context.Context, node string) (*session, error) {
	for {
		v.mu.Lock()
		st := v.seats[node]
		if st == nil || st.tenant == nil {
			v.mu.Unlock()
			return nil, ErrOffline
		}
		t := st.tenant
		if t.session == nil && t.stands == nil {
			t.stands = make(chan struct{})
		}
		s, stands := t.session, t.stands
		v.mu.Unlock()
		if s != nil {
			return s, nil
		}
		select {
		case <-stands:
		case <-t.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Supersede ends this server's session of a node if the seat that the servers
// share says that a newer one stands elsewhere; whoever watches what Node.Claim
// stores calls it. It returns at once. The edge's program is told if it was
// another that took the node over. What a server does not know of changes
// nothing.
func (v *Server) Supersede(node string, by Seat) {
	v.mu.Lock()
	defer v.mu.Unlock()
	st := v.seats[node]
	if st == nil || st.tenant == nil || by.Epoch <= st.tenant.epoch {
		return
	}
	st.tenant.evict(st.Instance != by.Instance, by.Epoch)
}

// release ends t's hold on the node, if it still has it. Nodes that were never
// fought over are forgotten.
func (v *Server) release(node string, t *tenant) {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(t.done)
	st := v.seats[node]
	if st == nil || st.tenant != t {
		return
	}
	st.tenant = nil
	st.Seat = st.leave(t.epoch)
	v.count--
	if len(st.Fenced) == 0 {
		delete(v.seats, node)
	}
}
