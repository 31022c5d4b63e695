package hub

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/edgekit/edgekit/hub/internal/replica"
	"github.com/edgekit/edgekit/hub/internal/wire"
)

// A connection on its way through a Server: handshake, decision, session.

// serve does the handshake of one connection and starts the session. It returns false if the
// connection gets no session.
func (v *Server) serve(ctx context.Context, conn Conn) bool {
	log := v.log.With("addr", addr(conn.Peer().Addr))
	hctx, cancel := context.WithTimeout(ctx, v.cfg.Handshake)
	defer cancel()
	// Only closing ends a read from a peer that sends nothing.
	stop := onDone(hctx, func() { conn.Close() })
	defer stop()
	l, h, err := receive(hctx, conn)
	if err != nil {
		v.stats.handshake(handshakeResult(err))
		log.Warn("connection without a handshake", "node", conn.Peer().Name, "err", err)
		if l != nil && errors.Is(err, ErrProtocol) {
			l.sendGoAway(wire.GoAway{Kind: wire.GoAwayRefused, Err: &Error{Code: CodeInvalid, Text: err.Error()}})
		}
		return false
	}
	log = log.With("node", conn.Peer().Name)
	version, node, t, err := v.decide(hctx, cancel, conn.Peer(), h)
	if err != nil {
		result := handshakeResult(err)
		v.stats.handshake(result)
		log.Warn("node is refused", "result", result, "err", err)
		stop()
		l.sendGoAway(goAwayFor(err))
		v.reportDuplicate(ctx, node, h.Node, err)
		return false
	}
	keepalive := max(min(h.Keepalive, maxKeepalive), v.cfg.Keepalive)
	err = wire.WriteFrame(l.control, wire.Welcome{
		Version: version, Epoch: t.epoch, Keepalive: keepalive, Limits: v.cfg.Limits, Capabilities: offers(v.cfg.Capabilities),
		Previous: t.previous,
	}, wire.MaxHello)
	if err == nil {
		err = l.established(v.cfg.Limits)
	}
	if !stop() || err != nil {
		v.stats.handshake(HandshakeLost)
		log.Warn("handshake was not completed", "err", errors.Join(err, hctx.Err()))
		v.release(h.Node, t)
		return false
	}
	cfg := sessionConfig{
		node: h.Node, epoch: t.epoch, line: l, keepalive: keepalive, limits: v.cfg.Limits, peer: h.Limits,
		sink: node.Up, source: node.Down, outbox: node.Outbox, inbox: node.Inbox, mux: v.cfg.Mux, log: log,
		stats: v.stats, work: v.work, timers: &v.timers, budget: v.budget,
	}
	cfg.negotiate(h.Capabilities)
	s := newSession(context.WithoutCancel(ctx), cfg)
	v.running.Go(func() { v.startSession(t, s, node.Connected) })
	return true
}

// decide reports whether the edge that sent h may have a session.
func (v *Server) decide(ctx context.Context, cancel context.CancelFunc, peer Peer, h wire.Hello) (version uint64, node Node, t *holder, err error) {
	if version, err = agree(h, peer); err != nil {
		return 0, Node{}, nil, err
	}
	if err = v.awaitAdmission(ctx); err != nil {
		return 0, Node{}, nil, err
	}
	node, err = v.directory.Attach(ctx, Hello{
		Peer: peer, Node: h.Node, Instance: h.Instance, Version: h.Version, Capabilities: h.Capabilities,
	})
	if err == nil {
		t, err = v.admit(ctx, cancel, h, peer, node)
	}
	return version, node, t, err
}

// reportDuplicate reports that a program was refused because another has the node. The refused
// program is alive, because a restarted one would ask under a new instance. A late hello of an
// earlier run of the holder is not a duplicate.
func (v *Server) reportDuplicate(ctx context.Context, node Node, name string, err error) {
	f, ok := errors.AsType[*fencedError](err)
	if !ok || node.Duplicate == nil || replica.IsLate(f.held, f.claim) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, v.cfg.Handshake)
	defer cancel()
	node.Duplicate(ctx, Duplicate{Node: name, Instance: f.claim.Instance, Address: f.claim.Address, Holder: f.held})
}

// awaitAdmission waits for the handshake limiter, or fails with the time to come back.
func (v *Server) awaitAdmission(ctx context.Context) error {
	v.mu.Lock()
	away := v.limiter.Reserve(time.Now())
	v.mu.Unlock()
	if away > 0 {
		return &rejected{HandshakeRate, &Error{
			Code: CodeUnavailable, RetryAfter: away,
			Text: fmt.Sprintf("this server takes %d connections a second", v.cfg.HandshakeRate),
		}}
	}
	err := v.awaitLimiter(ctx)
	if err != nil {
		v.mu.Lock()
		v.limiter.Cancel()
		v.mu.Unlock()
	}
	return err
}

// awaitLimiter returns as soon as the limiter lets this handshake start. One goroutine
// at a time waits for the limiter, the others for that one.
func (v *Server) awaitLimiter(ctx context.Context) error {
	select {
	case v.limiterQueue <- struct{}{}:
		defer func() { <-v.limiterQueue }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		v.mu.Lock()
		early := v.limiter.Take(time.Now())
		v.mu.Unlock()
		if early == 0 {
			return nil
		}
		select {
		case <-time.After(early):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// startSession starts the session of a holder, whose end releases the node.
func (v *Server) startSession(t *holder, s *session, connected func(Info)) {
	release := func() {
		s.cancel()
		s.conn.Close()
		v.release(s.node, t)
	}
	if !v.publish(t, s, connected) {
		release()
		return
	}
	s.start(v.running.Go, func(reason error) {
		publishEnd(s, reason, connected)
		release()
	})
}

// publish makes the session known. It reports false if it is over already.
func (v *Server) publish(t *holder, s *session, connected func(Info)) bool {
	info := Info{
		Node: s.node, Connected: true, Since: time.Now(), Epoch: s.epoch, Transport: s.conn.Peer().Transport,
	}
	if !v.register(t, s, info) {
		return false
	}
	v.stats.sessionBegan(info.Transport)
	s.log.Info("node is connected", "epoch", info.Epoch, "transport", info.Transport)
	if connected != nil {
		connected(info)
	}
	return true
}

// publishEnd makes it known that the session is over.
func publishEnd(s *session, err error, connected func(Info)) {
	s.stats.sessionEnded(s.conn.Peer().Transport, endReason(err))
	s.log.Info("node is disconnected", "epoch", s.epoch, "reason", err)
	if connected != nil {
		connected(Info{Node: s.node, Since: time.Now(), Reason: err.Error(), Epoch: s.epoch})
	}
}
