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

// admit gives the node to a new holder by the ownership rule, ends the session of the holder
// before, and waits for its end: a node's Source, Sink and Connected never serve two sessions
// at once.
func (v *Server) admit(ctx context.Context, cancel context.CancelFunc, h wire.Hello, peer Peer, node Node) (*holder, error) {
	t := &holder{cancel: cancel, done: make(chan struct{})}
	c := replica.Request{Instance: h.Instance, Dial: h.Dial, Yield: h.Yield, Address: addr(peer.Addr), Earlier: h.Earlier}
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
		// The next holder waits for t, and so for the one before t as well.
		v.running.Go(func() {
			<-before.done
			v.release(h.Node, t)
		})
		return nil, fmt.Errorf("hub: the node's earlier session did not end: %w", ctx.Err())
	}
}

// claimShared takes the claim that all servers share, if there is one.
func (v *Server) claimShared(ctx context.Context, t *holder, h wire.Hello, c replica.Request, node Node) (*Claim, error) {
	if node.Claim == nil {
		return nil, nil
	}
	// A full server leaves the node's holder unchanged. A server that has a session of the
	// node knows without the shared claim that the node is held.
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
	if f := v.rules(); replica.WasFenced(own, c) && replica.HeldFor(own, c, f) > 0 {
		return nil, refused(replica.ClaimFenced, c, own, f)
	}
	var mine Claim
	err := node.Claim(ctx, func(held Claim) (Claim, error) {
		f := v.rules()
		next, verdict := replica.Decide(v.known(held), c, f)
		mine, t.previous = next, held.Epoch
		return next, refused(verdict, c, held, f)
	})
	return &mine, err
}

// rules are those of a decision made now.
func (v *Server) rules() replica.Rules {
	return replica.Rules{Now: uint64(time.Now().UnixMicro()), ReleaseAfter: v.cfg.ReleaseAfter}
}

// known completes a claim on a node of which nothing is known. Since this server was made
// nobody has had a session of it, but the program that has the node may still come back.
func (v *Server) known(s Claim) Claim {
	if s.Epoch == 0 && s.EndedAt == 0 {
		s.EndedAt = v.createdAt
	}
	return s
}

// refused is the error of a request that is refused, or nil.
func refused(v replica.Verdict, c replica.Request, held Claim, f replica.Rules) error {
	switch v {
	case replica.ClaimFenced:
		return &fencedError{claim: c, held: held, after: replica.HeldFor(held, c, f)}
	case replica.ClaimStale:
		return &rejected{HandshakeStale, &Error{Code: CodeConflict, Text: "a newer connection of this program has the session"}}
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

// takeNode makes t the holder of the node and returns the holder that it replaces, if any.
// shared is the claim that was taken for all servers, if they share one.
func (v *Server) takeNode(t *holder, node string, c replica.Request, shared *Claim) (*holder, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	st := v.registry[node]
	if st == nil {
		st = &registration{}
	}
	f := v.rules()
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

// evict ends a holder. Another program gets the reason; a dead connection of the same program
// is closed at once. The caller holds the server's mu.
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

// register makes the session of t the node's. It reports false if t was evicted before.
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
	if v.draining { // too late for drain to see it
		s.close(v.goAway())
	}
	return true
}

// session returns the node's session, or ErrOffline. The edge has its session a moment before
// this side does, so session waits for a node whose handshake is not over.
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
		s, established := t.session, t.established
		v.mu.Unlock()
		if s != nil {
			return s, nil
		}
		select {
		case <-established:
		case <-t.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Supersede ends this server's session of a node if by, the claim that the servers share, is
// that of a newer session elsewhere. Call it when the claim that Node.Claim stores changes. It
// returns at once. If another program has taken the node over, the edge's program gets the
// reason. A claim on a node without a session here changes nothing.
func (v *Server) Supersede(node string, by Claim) {
	v.mu.Lock()
	defer v.mu.Unlock()
	st := v.registry[node]
	if st == nil || st.holder == nil || by.Epoch <= st.holder.epoch {
		return
	}
	st.holder.evict(st.Instance != by.Instance, by)
}

// release ends t's hold on the node, if it still has it. The server forgets nodes of
// which no instance was fenced.
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

// fencedBy returns the frame that says which program has the node, and when to ask again.
func fencedBy(held Claim, after time.Duration) wire.GoAway {
	return wire.GoAway{Kind: wire.GoAwayFenced, Epoch: held.Epoch, Err: &Error{
		Code: CodeUnavailable, Text: replica.HolderText(held) + " has this node", RetryAfter: after,
	}}
}
