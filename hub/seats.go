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
func (v *Server) admit(ctx context.Context, cancel context.CancelFunc, h hello) (*tenant, error) {
	t := &tenant{cancel: cancel, done: make(chan struct{})}
	before, err := v.take(t, h)
	if err != nil || before == nil {
		return t, err
	}
	select {
	case <-before.done:
		return t, nil
	case <-ctx.Done():
		v.release(h.Node, t)
		return nil, fmt.Errorf("hub: the node's earlier session did not end: %w", ctx.Err())
	}
}

// take seats t and returns the tenant that was thrown out, if there was one.
func (v *Server) take(t *tenant, h hello) (*tenant, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	st := v.seats[h.Node]
	if st == nil {
		st = &nodeSeat{}
	}
	next, verdict := st.take(claim{h.Instance, h.Dial}, uint64(time.Now().UnixMicro()))
	switch verdict {
	case seatFenced:
		return nil, &fencedRefusal{st.Epoch}
	case seatStale:
		return nil, &Error{Code: CodeConflict, Text: "a newer connection of this program stands"}
	case seatFree:
		if v.cfg.MaxNodes > 0 && v.count >= v.cfg.MaxNodes {
			return nil, &Error{
				Code: CodeExhausted, RetryAfter: fullRetry,
				Text: fmt.Sprintf("this server holds its limit of %d nodes", v.cfg.MaxNodes),
			}
		}
		v.count++
	}
	before := st.tenant
	t.epoch = next.Epoch
	st.seat, st.tenant = next, t
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
	return true
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
	st.seat = st.leave(t.epoch)
	v.count--
	if len(st.Fenced) == 0 {
		delete(v.seats, node)
	}
}
