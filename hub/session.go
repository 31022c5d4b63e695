package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/edgekit/edgekit/hub/internal/load"
	"github.com/edgekit/edgekit/hub/internal/replica"
	"github.com/edgekit/edgekit/hub/internal/wire"
)

// closeWait is how long the side that ends a session in good order waits for the other
// to read why.
const closeWait = time.Second

// sessionConfig is what the two ends agreed on, and the endpoints of this end.
type sessionConfig struct {
	*line
	node      string
	edge      bool // this end is the edge
	epoch     uint64
	keepalive time.Duration
	limits    Limits // own
	peer      Limits // the peer's: MaxFrame, Window, WindowBytes
	sink      Sink   // nil refuses all state
	source    Source // nil for none
	outbox    Outbox // nil for none, or if the peer does not support events
	inbox     Inbox  // nil for none, or if the peer does not support events
	mux       *Mux
	log       *slog.Logger
	batches   bool // the peer reads them
	announced bool // both sides announce the streams that they open
	stats     *counters
	work      *load.FairSemaphore // nil for no limit
	timers    *load.TimerHeap
	budget    *semaphore.Weighted // of all sessions, for what is opened; nil for no limit
}

// session is one established link. At rest it costs one goroutine and the list of what
// the peer holds; other goroutines run only while there is work. mu guards the
// machines.
type session struct {
	sessionConfig
	acker  Acker // source, if it is one
	waiter load.Waiter
	ids    atomic.Uint64
	// inflight counts the frames of the peer that are not classified yet.
	inflight atomic.Int32
	ignoring atomic.Bool // disconnected: frames of the peer are ignored
	calls    atomic.Int32
	streams  atomic.Int32
	opened   *semaphore.Weighted // of what calls and streams may hold here; see bodies

	ctx    context.Context // of the work done for this session
	cancel context.CancelFunc
	wg     sync.WaitGroup
	// spawnReader starts the goroutine that reads; the last of those calls over with the
	// reason of the end. start sets both.
	spawnReader func(func())
	over        func(reason error)
	unsubscribe []func()

	mu     sync.Mutex
	reason error // why the session ended; nil before
	alive  replica.Keepalive
	// lastRoundTrip is the duration of the last ping; the next ping reports it to the cloud.
	lastRoundTrip time.Duration
	// pings counts those answered, modulo 256. clockAhead is how far the edge's clock was ahead
	// of this one at the last of them, in seconds.
	pings      uint8
	clockAhead float32
	timer      load.Timer // of alive, in timers
	stateSend  driver[replica.StateSenderEvent]
	stateRecv  driver[replica.StateReceiverEvent]
	eventSend  driver[replica.EventSenderEvent]
	eventRecv  driver[replica.EventReceiverEvent]
	loads      jobs[replica.Load]
	delivered  jobs[[]Object]
	traced     traced
	forget     jobs[replica.ForgetEvents]
	warnings   logLimiter
	out        outgoing
	packing    packing // the writer's
	serve      serving
	opening    uint64 // streams that the peer has announced and accept has not seen
	accepting  bool   // accept runs
}

func newSession(ctx context.Context, cfg sessionConfig) *session {
	s := &session{sessionConfig: cfg}
	s.reader.Budget = cfg.budget
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.timer.Func = s.tick
	// The last byte may have come before now: a pause before the first ping is not
	// silence after one.
	s.alive = replica.Keepalive{Interval: cfg.keepalive, Pings: cfg.edge, Pinged: time.Unix(0, cfg.heard.Load())}
	s.stateSend.role, s.stateRecv.role, s.eventSend.role, s.eventRecv.role = stateSender, stateReceiver, eventSender, eventReceiver
	if cfg.source != nil {
		s.acker, _ = cfg.source.(Acker)
		s.traced.observer, _ = cfg.source.(TraceObserver)
		s.stateSend.machine = replica.NewStateSender(replica.StateSenderConfig{
			Compare: cfg.source.Compare, Acker: s.acker != nil,
			Window: cfg.peer.Window, WindowBytes: cfg.peer.WindowBytes,
			MaxFrame: s.maxFrame(), MaxKeys: cfg.limits.MaxKeys, Size: wire.PutSize,
		})
	}
	if cfg.sink != nil {
		s.stateRecv.machine = replica.NewStateReceiver(cfg.limits.Window, cfg.limits.WindowBytes)
	}
	if cfg.outbox != nil {
		s.eventSend.machine = replica.NewEventSender(replica.EventSenderConfig{
			Window: cfg.peer.Window, WindowBytes: cfg.peer.WindowBytes, MaxFrame: s.maxFrame(), MaxSources: cfg.limits.MaxKeys, Size: wire.EventSize,
		})
	}
	if cfg.inbox != nil {
		s.eventRecv.machine = replica.NewEventReceiver(cfg.limits.Window, cfg.limits.WindowBytes, cfg.limits.MaxKeys)
	}
	return s
}

// maxFrame is the largest message that both sides accept.
func (s *session) maxFrame() int { return min(s.limits.MaxFrame, s.peer.MaxFrame) }

// run serves the session until it ends and returns why. By then all that it started has
// ended, and the connection is closed.
func (s *session) run() (reason error) {
	var readers sync.WaitGroup
	s.start(readers.Go, func(err error) { reason = err })
	readers.Wait()
	return reason
}

// start begins to serve the session. It reads by a chain of goroutines, each of which
// starts the next by spawn. The last one calls over with the reason of the session's
// end, when all else that was started has ended and the connection is closed.
func (s *session) start(spawn func(func()), over func(error)) {
	s.spawnReader, s.over = spawn, over
	if s.source != nil {
		s.unsubscribe = append(s.unsubscribe, s.source.Subscribe(func(k Key) { s.stateSend.feed(s, replica.KeyChanged{Key: k}) }))
	}
	if s.outbox != nil {
		s.unsubscribe = append(s.unsubscribe, s.outbox.Subscribe(func(source string) { s.eventSend.feed(s, replica.Appended{Source: source}) }))
		s.spawn(s.listSources)
	}
	s.mu.Lock()
	if s.reason == nil && s.out.closing == nil {
		s.timers.Set(&s.timer, s.keepalive)
	}
	s.mu.Unlock()
	if !s.announced {
		s.spawn(s.accept)
	}
	if s.sink != nil {
		s.spawn(s.sendDigest)
	}
	if s.inbox != nil {
		s.spawn(s.sendMarks)
	}
	spawn(s.awaitFrame)
}

// awaitFrame waits for the next frame. Handling a frame grows the goroutine's stack
// permanently, and a session spends most of its life waiting, so waiting runs on a fresh
// small goroutine and handling on another.
func (s *session) awaitFrame() {
	err := s.reader.Wait()
	s.spawnReader(func() { s.handleFrames(err) })
}

// handleFrames handles the frames that have arrived, unless waiting has failed.
func (s *session) handleFrames(err error) {
	if err != nil {
		err = lost(err)
	}
	for err == nil {
		if err = s.readOne(); err == nil && !s.reader.Ahead() {
			s.spawnReader(s.awaitFrame)
			return
		}
	}
	s.fail(err)
	s.reader.DropFragments()
	s.wg.Wait()
	s.mu.Lock()
	s.stateSend.forgetLocked(s)
	s.eventSend.forgetLocked(s)
	reason := s.reason
	s.mu.Unlock()
	for _, stop := range s.unsubscribe {
		stop()
	}
	s.over(reason)
}

// fail ends the session for the reason given, unless it is ending already. It
// closes the connection, which ends whatever waits for the peer.
func (s *session) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failLocked(err)
}

// errSilent and errLost are the reasons of a session that ends without a GOAWAY.
var (
	errSilent = errors.New("hub: peer does not answer")
	errLost   = errors.New("hub: link lost")
)

func lost(err error) error { return fmt.Errorf("%w: %w", errLost, err) }

func (s *session) failLocked(err error) {
	if s.reason != nil {
		return
	}
	switch {
	case s.out.closing != nil: // the peer closed because this side asked it to
		s.reason = s.out.closing
	case err == nil:
		s.reason = io.EOF
	default:
		s.reason = err
	}
	s.timers.Stop(&s.timer)
	s.stateSend.stopLocked(s)
	s.stateRecv.stopLocked(s)
	s.eventSend.stopLocked(s)
	s.eventRecv.stopLocked(s)
	s.cancel()
	// Close may wait for the transport's goroutines, and those may be about to lock mu.
	s.wg.Go(func() { s.conn.Close() })
}

// close sends the peer the reason for the end of the session, gives it a moment to read that, and
// ends the session.
func (s *session) close(g wire.GoAway) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason != nil || s.out.closing != nil {
		return
	}
	s.urgentLocked(g)
	s.out.closing = &closedHere{g}
	s.timers.Set(&s.timer, closeWait)
}

// disconnect is close for a peer that must not do anything more: only the reason is
// sent, and frames that arrive are ignored.
func (s *session) disconnect(g wire.GoAway) {
	s.ignoring.Store(true)
	s.mu.Lock()
	s.out.urgent, s.out.bulk, s.out.rest = nil, nil, nil
	s.mu.Unlock()
	s.close(g)
	s.serve.cancelAll()
}

// closedHere is the end of a session that this side announced.
type closedHere struct{ goAway wire.GoAway }

func (e *closedHere) Error() string {
	if e.goAway.Err != nil {
		return "hub: session ended: " + e.goAway.Err.Text
	}
	return "hub: session ended: " + e.goAway.Kind.String()
}

// spawn runs f as part of the session, if it is not ending.
func (s *session) spawn(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spawnLocked(f)
}

func (s *session) spawnLocked(f func()) {
	if s.reason == nil {
		s.wg.Go(f)
	}
}

// tick is called by the keepalive timer, and at the end of closeWait.
func (s *session) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason != nil || s.timers.Pending(&s.timer) {
		return
	}
	if s.out.closing != nil {
		s.failLocked(s.out.closing)
		return
	}
	sendPing, dead, next := s.alive.Step(time.Now(), s.lastHeard())
	if dead {
		s.failLocked(errSilent)
		return
	}
	if sendPing {
		s.urgentLocked(wire.Ping{ID: uint64(s.alive.Pinged.UnixNano()), RoundTrip: s.lastRoundTrip})
	}
	s.timers.Set(&s.timer, next)
}

// onDone calls f when ctx ends, unless stop is called before. stop reports whether f was
// not called and never will be; otherwise it waits until f has returned, so that
// nothing of the caller runs on after it. It may be called more than once.
func onDone(ctx context.Context, f func()) (stop func() bool) {
	called := make(chan struct{})
	unregister := context.AfterFunc(ctx, func() {
		defer close(called)
		f()
	})
	var once sync.Once
	stopped := false
	return func() bool {
		once.Do(func() {
			if stopped = unregister(); !stopped {
				<-called
			}
		})
		return stopped
	}
}
