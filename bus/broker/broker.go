package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/internal/journal"
	"github.com/edgekit/edgekit/bus/internal/session"
	"github.com/edgekit/edgekit/bus/internal/topictree"
)

// Broker is an MQTT broker. It implements bus.Transport; all methods may be
// called by several goroutines at once.
type Broker struct {
	cfg       Config
	endpoints []endpoint
	log       *slog.Logger
	ready     chan struct{}
	started   atomic.Bool
	buffers   sync.Pool // of *[]byte: read and write buffers of busy connections
	counters  counters
	commits   chan struct{} // holds one value when a commit is wanted now
	lazy      chan struct{} // holds one value when a commit is wanted soon
	sweeps    chan struct{} // holds one value when a deadline came nearer

	// mu guards all below: sessions, subscriptions, retained messages and what waits for
	// the disk change together. A connection's own lock is taken inside of it.
	mu        sync.Mutex
	committed sync.Cond // broadcast after each commit
	running   bool
	addrs     []net.Addr
	conns     map[*conn]struct{}
	addresses map[string]int // connections of each remote address
	pending   int            // connections that have not logged in
	clients   int            // connections that have
	sessions  map[string]*clientSession
	calling   map[caller]int // messages of clients that are on their way to the program
	kept      int            // sessions that outlive their connection
	lastID    uint64
	queued    int // bytes of messages in queues

	tree          topictree.Tree[subscriber, options]
	shared        topictree.Tree[string, *group]
	retained      topictree.Names[*session.Message]
	retainedBytes int
	expiring      int // retained messages that may expire

	outlet *outlet // what goes to another broker; nil if nothing does

	route  routing // scratch of publish
	effect []session.Effect
	batch  batch
}

// New checks cfg and allocates a Broker.
func New(cfg Config) (*Broker, error) {
	cfg, endpoints, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &Broker{
		cfg: cfg, endpoints: endpoints, log: cfg.Logger, ready: make(chan struct{}),
		commits: make(chan struct{}, 1), lazy: make(chan struct{}, 1), sweeps: make(chan struct{}, 1),
		conns: make(map[*conn]struct{}), addresses: make(map[string]int), sessions: make(map[string]*clientSession), calling: make(map[caller]int),
	}
	b.committed.L = &b.mu
	b.buffers.New = func() any { buf := make([]byte, bufferSize); return &buf }
	b.route.collect = b.route.add
	b.route.collectShared = b.route.addShared
	b.batch.reset()
	return b, nil
}

// Run reads the storage, listens and serves until ctx ends. If it cannot listen, its error
// wraps the system's and names the remedy. A second call returns bus.ErrStarted.
func (b *Broker) Run(ctx context.Context) error {
	if b.started.Swap(true) {
		return bus.ErrStarted
	}
	if err := b.restore(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("bus/broker: cannot read what was stored: %w", err)
	}
	b.openOutlet()
	listeners, err := b.listen(ctx)
	if err != nil {
		return err
	}
	b.mu.Lock()
	for _, l := range listeners {
		b.addrs = append(b.addrs, l.Addr())
	}
	b.running = true
	b.mu.Unlock()

	work, cancel := context.WithCancel(ctx)
	defer cancel()
	var serving, background sync.WaitGroup
	for i, l := range listeners {
		serving.Go(func() { b.accept(work, l, b.endpoints[i]) })
	}
	done := make(chan struct{})
	// Not of ctx: the last commit comes after ctx has ended.
	storing, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	background.Go(func() { b.commitLoop(storing, done) })
	background.Go(func() { b.sweepLoop(done) })
	unwatch := b.watchAccess()
	close(b.ready)

	<-ctx.Done()
	unwatch()
	b.mu.Lock()
	b.running = false
	b.mu.Unlock()
	for _, l := range listeners {
		_ = l.Close() // ends its accept; there is nothing to do about an error
	}
	b.closeAll()
	serving.Wait() // also for all connections
	close(done)
	defer time.AfterFunc(lastCommit, giveUp).Stop()
	background.Wait() // the last commit is done
	return nil
}

// closeAll sends all clients that the broker ends (MQTT 5: DISCONNECT), and closes their
// connections.
func (b *Broker) closeAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		c.disconnect(codeShuttingDown)
	}
	b.committed.Broadcast()
}

// Ready is closed when the broker listens.
func (b *Broker) Ready() <-chan struct{} { return b.ready }

// Addr is where the broker listens at Config.Address; nil before Ready.
func (b *Broker) Addr() net.Addr {
	if all := b.Addrs(); len(all) > 0 {
		return all[0]
	}
	return nil
}

// Addrs are all addresses at which the broker listens: that of Config.Address, then those
// of Config.Listen; nil before Ready.
func (b *Broker) Addrs() []net.Addr {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.addrs
}

// clientSession is the session of one client identifier. Broker.mu guards it.
type clientSession struct {
	id     string
	number uint64 // names it in records
	user   User
	conn   *conn // nil while the client is away
	state  session.Session
	expiry uint32 // seconds for which it outlives its connection; 0 ends it with that
	subs   map[string]options

	kept    bool    // it counts in Broker.kept
	durable bool    // it is in the storage
	left    int64   // when the client left, in milliseconds; 0 while connected
	endsAt  int64   // when the session ends; 0 while connected
	outlet  *outlet // it is the program's session for another broker; nil for clients
	will    *journal.Will
	willAt  int64 // when the will of a client that left is published; 0 while connected

	round   uint64 // of routing: its target is at index
	index   int
	full    bool // messages are being dropped
	warned  bool // that was logged
	removed bool // the session has ended
}

// errFull is why a session gets no more messages.
var errFull = errors.New("queue is full")

// add puts a message into the session's queue, or returns errFull.
func (b *Broker) add(s *clientSession, m *session.Message, e session.Entry) (uint64, error) {
	size := m.Size()
	over := s.state.Len() >= b.cfg.MaxQueue || (s.state.Len() > 0 && s.state.Bytes()+size > b.cfg.MaxQueueBytes)
	if over || (m.Refs == 0 && b.queued > 0 && b.queued+size > b.cfg.MaxQueuedBytes) {
		b.counters.dropped.Add(1)
		if s.outlet != nil {
			b.bound("outside", "MQTT messages are dropped for the outside broker: it is away and the queue is full")
		} else {
			b.bound("queue", "MQTT messages are dropped for a client that does not acknowledge: its queue is full")
		}
		s.full = true
		if !s.warned {
			s.warned = true
			b.log.Warn("MQTT messages are dropped for a client", "client", s.id, "queued", s.state.Len(), "bytes", s.state.Bytes())
		}
		return 0, errFull
	}
	if m.Refs == 0 {
		b.queued += size
	}
	m.Refs++
	e.Message = m
	e.Durable = s.durable && e.QoS > 0
	if e.Durable {
		m.Durable++
	}
	return s.state.Add(e), nil
}

// release counts an entry that a queue no longer holds.
func (b *Broker) release(s *clientSession, e session.Entry) {
	m := e.Message
	s.full = s.full && s.state.Len() > b.cfg.MaxQueue/2
	if m.Refs--; m.Refs == 0 {
		b.queued -= m.Size()
	}
	if !e.Durable {
		return
	}
	b.dirtyCursor(s)
	if m.Durable--; m.Durable == 0 && m.Written {
		b.batch.remove(messageKey(m.ID))
	}
}

// pump sends the client what its window and its connection's buffer have room for.
func (b *Broker) pump(s *clientSession) {
	if s.outlet != nil {
		b.pumpOutlet(s)
	}
	if s.conn == nil {
		return
	}
	c := s.conn
	now := time.Now().UnixMilli()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.roomLocked() {
		d, ok := s.state.Next(now)
		if !ok {
			return
		}
		fits := d.Expired || c.publishLocked(d.Entry, d.PID, d.Dup, now)
		if d.Final {
			b.release(s, d.Entry)
		} else if !fits { // it counts as delivered (MQTT-3.1.2-25)
			b.counters.dropped.Add(1)
			b.step(s, session.Event{Kind: session.Puback, PID: d.PID})
			b.step(s, session.Event{Kind: session.Pubrec, PID: d.PID, Code: codePacketTooLarge})
		}
	}
	c.starved = true
}

// step folds an event into the session's state and releases what it no longer holds. The
// other effects are returned; the slice is valid until the next call.
func (b *Broker) step(s *clientSession, ev session.Event) []session.Effect {
	b.effect = s.state.Step(ev, b.effect[:0])
	rest := b.effect[:0]
	for _, e := range b.effect {
		if e.Kind == session.Release {
			b.release(s, e.Entry)
		} else {
			rest = append(rest, e)
		}
	}
	return rest
}

// endSession removes a session with its subscriptions and messages.
func (b *Broker) endSession(s *clientSession) {
	if s.removed {
		return
	}
	s.removed = true
	for filter, o := range s.subs {
		b.unsubscribe(s, filter, o)
	}
	for _, e := range s.state.Clear(nil) {
		b.release(s, e.Entry)
	}
	if s.kept {
		b.kept--
	}
	if b.sessions[s.id] == s {
		delete(b.sessions, s.id)
	}
	if s.durable {
		b.batch.removeSession(s)
		b.commitSoon()
	}
	s.durable, s.kept = false, false
}
