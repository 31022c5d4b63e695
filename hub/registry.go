package hub

import (
	"context"
	"fmt"
	"time"

	"github.com/edgekit/edgekit/hub/internal/replica"
	"github.com/edgekit/edgekit/hub/internal/wire"
)

// defaultReleaseAfter is how long a node must have had no session until an
// instance that was fenced is let in.
const defaultReleaseAfter = 5 * time.Minute

// fullRetry is when a node that found the server full may ask again.
const fullRetry = 30 * time.Second

// admit gives the node to a new holder by the fencing rule, ends the one
// before, and waits until all of that is over, so that a node's Source, Sink
// and Connected never serve two sessions at once.
func (v *Server) admit(ctx context.Context, cancel context.CancelFunc, h wire.Hello, peer Peer, node Node) (*holder, error) {
	t := &holder{cancel: cancel, done: make(chan struct{})}
	c := replica.Request{Instance: h.Instance, Dial: h.Dial, Yield: h.Yield, Address: addr(peer.Addr)}
	shared, err := v.claimShared(ctx, t, h, c, node)
	if err != nil {
		return nil, err
	}
	before, err := v.takeNode(t, h.Node, c, shared)
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

// claim takes the claim that all servers share, if the node has one.
func (v *Server) claimShared(ctx context.Context, t *holder, h wire.Hello, c replica.Request, node Node) (*Claim, error) {
	if node.Claim == nil {
		return nil, nil
	}
	// A server that is full leaves the node where it is, and one that has a
	// session of the node need not ask the others whether it is held.
	v.mu.Lock()
	st := v.registry[h.Node]
	full := (st == nil || st.holder == nil) && v.fullLocked()
	var own Claim
	if st != nil && st.holder != nil {
		own = st.Claim
	}
	v.mu.Unlock()
	if full {
		return nil, v.full()
	}
	if f := v.fencing(); replica.WasFenced(own, c) && replica.HeldFor(own, c, f) > 0 {
		return nil, refused(replica.ClaimFenced, c, own, f)
	}
	var mine Claim
	err := node.Claim(ctx, func(held Claim) (Claim, error) {
		f := v.fencing()
		next, verdict := replica.Decide(v.known(held), c, f)
		mine, t.previous = next, held.Epoch
		return next, refused(verdict, c, held, f)
	})
	return &mine, err
}

// fencing is what decides about claims now.
func (v *Server) fencing() replica.Rules {
	return replica.Rules{Now: uint64(time.Now().UnixMicro()), ReleaseAfter: v.cfg.ReleaseAfter}
}

// known is a claim as it is to be judged: of a node of which nothing is known yet
// nobody has had a session since this server began, but who has it may still
// come back.
func (v *Server) known(s Claim) Claim {
	if s.Epoch == 0 && s.EndedAt == 0 {
		s.EndedAt = v.createdAt
	}
	return s
}

// refused is the error for a claim that cannot be had, or nil.
func refused(v replica.Verdict, c replica.Request, held Claim, f replica.Rules) error {
	switch v {
	case replica.ClaimFenced:
		return &fencedError{claim: c, held: held, after: replica.HeldFor(held, c, f)}
	case replica.ClaimStale:
		return &rejected{HandshakeStale, &Error{Code: CodeConflict, Text: "a newer connection of this program stands"}}
	}
	return nil
}

func (v *Server) fullLocked() bool { return v.cfg.MaxNodes > 0 && v.count >= v.cfg.MaxNodes }

func (v *Server) full() error {
	return &rejected{HandshakeFull, &Error{
		Code: CodeExhausted, RetryAfter: fullRetry,
		Text: fmt.Sprintf("this server holds its limit of %d nodes", v.cfg.MaxNodes),
	}}
}

// take claims t and returns the holder that was thrown out, if there was one.
// shared is the claim that was claimed from all servers, if they share any.
func (v *Server) takeNode(t *holder, node string, c replica.Request, shared *Claim) (*holder, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	st := v.registry[node]
	if st == nil {
		st = &registration{}
	}
	f := v.fencing()
	held := st.Claim
	var next Claim
	var verdict replica.Verdict
	if shared != nil {
		next, verdict = replica.Adopt(st.Claim, *shared)
	} else {
		held = v.known(held)
		next, verdict = replica.Decide(held, c, f)
		t.previous = held.Epoch
	}
	if err := refused(verdict, c, held, f); err != nil {
		return nil, err
	}
	if verdict == replica.ClaimFree {
		if v.fullLocked() {
			return nil, v.full()
		}
		v.count++
	}
	before := st.holder
	t.epoch = next.Epoch
	st.Claim, st.holder = next, t
	v.registry[node] = st
	if before != nil {
		before.evict(verdict == replica.ClaimFences, next)
	}
	return before, nil
}

// evict ends a holder: told, if it is another program, and at once otherwise.
// The server's mu is held.
func (t *holder) evict(fenced bool, by Claim) {
	switch {
	case t.session == nil:
		t.cancel()
	case fenced:
		t.session.close(fencedBy(by, 0))
	default:
		t.session.fail(&closedHere{wire.GoAway{Kind: wire.GoAwayReplaced}})
	}
}

// stand makes the session of t the node's. It reports false if t was evicted
// before that.
func (v *Server) register(t *holder, s *session, info Info) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	st := v.registry[info.Node]
	if st == nil || st.holder != t {
		return false
	}
	t.session, t.info, t.cancel = s, info, nil
	if t.established != nil {
		close(t.established)
	}
	if v.draining { // it came too late to be told with the others
		s.close(v.goAway())
	}
	return true
}

// session is the node's, or ErrOffline. The edge knows of its session a moment
// before this side does: one that has a claim is waited for, until its handshake
// ends either way.
func (v *Server) session(ctx context.Context, node string) (*session, error) {
	for {
		v.mu.Lock()
		st := v.registry[node]
		if st == nil || st.holder == nil {
			v.mu.Unlock()
			return nil, ErrOffline
		}
		t := st.holder
		if t.session == nil && t.established == nil {
			t.established = make(chan struct{})
		}
		s, stands := t.session, t.established
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

// Supersede ends this server's session of a node if the claim that the servers
// share says that a newer one stands elsewhere; whoever watches what Node.Claim
// stores calls it. It returns at once. The edge's program is told if it was
// another that took the node over. What a server does not know of changes
// nothing.
func (v *Server) Supersede(node string, by Claim) {
	v.mu.Lock()
	defer v.mu.Unlock()
	st := v.registry[node]
	if st == nil || st.holder == nil || by.Epoch <= st.holder.epoch {
		return
	}
	st.holder.evict(st.Instance != by.Instance, by)
}

// release ends t's hold on the node, if it still has it. Nodes that were never
// fought over are forgotten.
func (v *Server) release(node string, t *holder) {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(t.done)
	st := v.registry[node]
	if st == nil || st.holder != t {
		return
	}
	st.holder = nil
	st.Claim = replica.EndSession(st.Claim, t.epoch, uint64(time.Now().UnixMicro()))
	v.count--
	if len(st.Fenced) == 0 {
		delete(v.registry, node)
	}
}

// fencedError refuses an instance that was fenced.
type fencedError struct {
	claim replica.Request
	held  Claim
	after time.Duration // when to ask again
}

func (e *fencedError) Error() string {
	return fmt.Sprintf("hub: instance %q was fenced: %s has the node", e.claim.Instance, replica.HolderText(e.held))
}

// fencedBy is what a fenced program is told, and when it may ask again.
func fencedBy(held Claim, after time.Duration) wire.GoAway {
	return wire.GoAway{Kind: wire.GoAwayFenced, Epoch: held.Epoch, Err: &Error{
		Code: CodeUnavailable, Text: replica.HolderText(held) + " has this node", RetryAfter: after,
	}}
}
