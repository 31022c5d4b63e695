package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ServerConfig sets up a Server. Only Listener and Directory are required.
type ServerConfig struct {
	Listener  Listener  // brings authenticated connections
	Directory Directory // decides about nodes
	Mux       *Mux      // answers the edges' calls and streams; nil answers none

	Version string // of the program, for humans
	// Capabilities are what this server can do beyond the protocol version.
	// Names that begin with "hub." are hub's own.
	Capabilities []string

	// Keepalive is the shortest keepalive that an edge may ask for; it bounds
	// the traffic of links at rest. 0 means 10 s. The longest is the greater of
	// this and 10 minutes.
	Keepalive time.Duration
	// Handshake bounds the time from an accepted connection to a session. 0
	// means 15 s.
	Handshake time.Duration
	// MaxHandshakes is how many connections may be in their handshake; more
	// wait in the Listener. 0 means 256.
	MaxHandshakes int
	// HandshakeRate is how many handshakes are taken in any second; those that
	// are too many are told when to come back, in a line. 0 means 500, negative
	// no limit.
	HandshakeRate int
	// MaxNodes is how many nodes may be connected; one more is refused with
	// CodeExhausted. 0 means no limit.
	MaxNodes int
	// MaxWork is how many calls to Sources, Sinks, Outboxes and Inboxes are
	// under way at the same time for all nodes together; more wait, and nodes
	// take turns. 0 means 512.
	MaxWork int
	// Drain is over how long Run spreads the farewells when its ctx ends, so
	// that not all nodes move at once; few nodes take less. 0 means at once.
	Drain time.Duration
	// ReturnAfter is how long the edges are then asked to stay away, for
	// example until another server has started. 0 means not at all.
	ReturnAfter time.Duration
	Limits      Limits       // of each session
	Logger      *slog.Logger // nil discards
}

// Server is the cloud's end of the links of many nodes. All methods may be
// called by several goroutines at once.
type Server struct {
	cfg     ServerConfig
	log     *slog.Logger
	ready   chan struct{}
	started atomic.Bool
	stats   *counters
	work    turns

	mu       sync.Mutex
	gate     admission
	seats    map[string]*nodeSeat
	count    int  // of seats that are held
	draining bool // Run ends

	running sync.WaitGroup // connections and sessions; Run waits for it
}

// nodeSeat is what the server knows of one node.
type nodeSeat struct {
	Seat
	tenant *tenant // who holds it; nil if nobody does
}

// tenant is one connection that holds a node: in its handshake at first, then
// with a session.
type tenant struct {
	epoch   uint64
	cancel  context.CancelFunc // of the handshake
	done    chan struct{}      // closed when all of it has ended
	session *session           // nil until it stands
	info    Info
}

// NewServer checks cfg and makes a Server of it. Nothing happens until Run.
func NewServer(cfg ServerConfig) (*Server, error) {
	switch {
	case cfg.Listener == nil:
		return nil, errors.New("hub: ServerConfig.Listener is required")
	case cfg.Directory == nil:
		return nil, errors.New("hub: ServerConfig.Directory is required")
	case cfg.Keepalive < 0, cfg.Handshake < 0, cfg.Drain < 0, cfg.ReturnAfter < 0:
		return nil, errors.New("hub: a duration in ServerConfig is negative: leave it 0 for the default")
	case cfg.MaxHandshakes < 0, cfg.MaxNodes < 0, cfg.MaxWork < 0:
		return nil, errors.New("hub: a limit in ServerConfig is negative: leave it 0 for the default")
	}
	if err := cfg.Limits.check(); err != nil {
		return nil, fmt.Errorf("hub: ServerConfig.%w", err)
	}
	if err := checkCapabilities(cfg.Capabilities); err != nil {
		return nil, fmt.Errorf("hub: ServerConfig.Capabilities: %w", err)
	}
	if cfg.Mux == nil {
		cfg.Mux = &Mux{}
	}
	for _, f := range []struct {
		v *int
		d int
	}{{&cfg.MaxHandshakes, 256}, {&cfg.HandshakeRate, 500}, {&cfg.MaxWork, 512}} {
		if *f.v == 0 {
			*f.v = f.d
		}
	}
	cfg.Keepalive = orDefault(cfg.Keepalive, minKeepalive)
	cfg.Handshake = orDefault(cfg.Handshake, defaultHandshake)
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{
		cfg: cfg, log: cfg.Logger, ready: make(chan struct{}), stats: newCounters(),
		gate: newAdmission(cfg.HandshakeRate, cfg.MaxHandshakes/2), work: turns{free: cfg.MaxWork}, seats: make(map[string]*nodeSeat),
	}, nil
}

// Run serves connections until ctx ends; it then tells every edge to connect
// elsewhere, spread over ServerConfig.Drain, and returns nil. It returns an
// error when the Listener fails. The Listener stays the caller's to close, best
// before ctx ends, so that no edge comes back to this server. Run can be called
// once.
func (v *Server) Run(ctx context.Context) error {
	if v.started.Swap(true) {
		return ErrRunning
	}
	defer v.running.Wait()
	defer v.drain()
	ctx, cancel := context.WithCancel(ctx) // ends the sessions when the Listener fails
	defer cancel()
	slots := make(chan struct{}, v.cfg.MaxHandshakes)
	close(v.ready)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := v.cfg.Listener.Accept(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("hub: server: accept: %w", err)
		}
		v.running.Go(func() {
			defer func() { <-slots }()
			if !v.serve(ctx, conn) {
				conn.Close()
			}
		})
	}
}

// Ready is closed when Run takes connections.
func (v *Server) Ready() <-chan struct{} { return v.ready }

// Nodes lists the nodes that are connected now, by name.
func (v *Server) Nodes() []Info {
	v.mu.Lock()
	out := make([]Info, 0, v.count)
	for _, st := range v.seats {
		if st.tenant != nil && st.tenant.session != nil {
			out = append(out, st.tenant.info)
		}
	}
	v.mu.Unlock()
	slices.SortFunc(out, func(a, b Info) int { return cmp.Compare(a.Node, b.Node) })
	return out
}

// Call asks a node and waits for the answer. Of m only Key, Version and Body
// are used. Errors are those of Client.Call.
func (v *Server) Call(ctx context.Context, node string, m Message) (Message, error) {
	s := v.session(node)
	if s == nil {
		return Message{}, ErrOffline
	}
	return s.call(ctx, m)
}

// OpenStream opens a stream to a node's handler for m.Key.Resource; the rules
// are those of Client.OpenStream.
func (v *Server) OpenStream(ctx context.Context, node string, m Message) (Stream, error) {
	s := v.session(node)
	if s == nil {
		return nil, ErrOffline
	}
	return s.openHalf(ctx, m)
}

// Disconnect ends a node's session, or its handshake, and tells the edge why. A
// reason with a final code makes that edge stop for good, any other lets it
// come back, after reason.RetryAfter; whether it may is for the Directory to
// say. From then on nothing that the edge sends is acted on, what it has under
// way here is cancelled, and it gets no more state and events. Disconnect
// returns at once; ErrOffline if the node is not here.
func (v *Server) Disconnect(node string, reason *Error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	st := v.seats[node]
	switch {
	case st == nil || st.tenant == nil:
		return ErrOffline
	case st.tenant.session == nil:
		st.tenant.cancel()
	default:
		st.tenant.session.expel(goodbye{Kind: goodbyeEnded, Err: reason})
	}
	return nil
}

// Stats is what was counted so far.
func (v *Server) Stats() Stats { return v.stats.read() }

// drainPace is the longest wait between two farewells.
const drainPace = 20 * time.Millisecond

// drain tells all edges to go, in no particular order.
func (v *Server) drain() {
	v.mu.Lock()
	v.draining = true
	var all []*session
	for _, st := range v.seats {
		if st.tenant != nil && st.tenant.session != nil {
			all = append(all, st.tenant.session)
		}
	}
	v.mu.Unlock()
	if len(all) > 0 {
		v.log.Info("nodes are told to move", "nodes", len(all), "over", v.cfg.Drain)
	}
	for i, s := range all {
		if pace := min(v.cfg.Drain/time.Duration(len(all)), drainPace); i > 0 && pace > 0 {
			time.Sleep(pace)
		}
		s.part(v.farewell())
	}
}

// farewell is what an edge is told when this server stops.
func (v *Server) farewell() goodbye {
	if v.cfg.ReturnAfter == 0 {
		return goodbye{Kind: goodbyeDrain}
	}
	return goodbye{Kind: goodbyeDrain, Err: &Error{
		Code: CodeUnavailable, Text: "this server is stopping", RetryAfter: v.cfg.ReturnAfter,
	}}
}

func (v *Server) session(node string) *session {
	v.mu.Lock()
	defer v.mu.Unlock()
	if st := v.seats[node]; st != nil && st.tenant != nil {
		return st.tenant.session
	}
	return nil
}

// serve takes one connection through its handshake, and begins the session.
// It reports false if there is none to be.
func (v *Server) serve(ctx context.Context, conn Conn) bool {
	log := v.log.With("addr", addr(conn.Peer().Addr))
	hctx, cancel := context.WithTimeout(ctx, v.cfg.Handshake)
	defer cancel()
	// Closing is what ends a read of a peer that says nothing.
	stop := context.AfterFunc(hctx, func() { conn.Close() })
	defer stop()
	l, h, err := receive(hctx, conn)
	if err != nil {
		v.stats.handshake(handshakeResult(err))
		log.Warn("connection without a handshake", "node", conn.Peer().Name, "error", err)
		if l != nil && errors.Is(err, ErrProtocol) {
			l.sayGoodbye(goodbye{Kind: goodbyeRefused, Err: &Error{Code: CodeInvalid, Text: err.Error()}})
		}
		return false
	}
	log = log.With("node", conn.Peer().Name)
	version, node, t, err := v.decide(hctx, cancel, conn.Peer(), h)
	if err != nil {
		result := handshakeResult(err)
		v.stats.handshake(result)
		log.Warn("node is refused", "result", result, "error", err)
		stop()
		l.sayGoodbye(goodbyeFor(err))
		return false
	}
	keepalive := max(min(h.Keepalive, maxKeepalive), v.cfg.Keepalive)
	err = writeFrame(l.control, welcome{
		Version: version, Epoch: t.epoch, Keepalive: keepalive, Limits: v.cfg.Limits, Capabilities: offers(v.cfg.Capabilities),
	}, maxHello)
	if err == nil {
		err = l.established(v.cfg.Limits)
	}
	if !stop() || err != nil {
		v.stats.handshake(HandshakeLost)
		log.Warn("handshake was not completed", "error", errors.Join(err, hctx.Err()))
		v.release(h.Node, t)
		return false
	}
	cfg := sessionConfig{
		node: h.Node, epoch: t.epoch, line: l, keepalive: keepalive, limits: v.cfg.Limits, peer: h.Limits,
		sink: node.Up, source: node.Down, outbox: node.Outbox, inbox: node.Inbox, mux: v.cfg.Mux, log: log,
		stats: v.stats, turns: &v.work,
	}
	cfg.negotiate(h.Capabilities)
	s := newSession(context.WithoutCancel(ctx), cfg)
	// A session rests most of its life, and its goroutine with it: it has a new
	// one, whose stack the handshake has not grown.
	v.running.Go(func() { v.hold(t, s, node.Connected) })
	return true
}

// decide says whether the edge that said h may have a session.
func (v *Server) decide(ctx context.Context, cancel context.CancelFunc, peer Peer, h hello) (version uint64, node Node, t *tenant, err error) {
	if version, err = agree(h, peer); err != nil {
		return 0, Node{}, nil, err
	}
	if err = v.enter(ctx); err != nil {
		return 0, Node{}, nil, err
	}
	node, err = v.cfg.Directory.Attach(ctx, Hello{
		Peer: peer, Node: h.Node, Instance: h.Instance, Version: h.Version, Capabilities: h.Capabilities,
	})
	if err == nil {
		t, err = v.admit(ctx, cancel, h, node)
	}
	return version, node, t, err
}

// enter waits at the door, or fails with when to come back.
func (v *Server) enter(ctx context.Context) error {
	v.mu.Lock()
	wait, away := v.gate.take(time.Now())
	v.mu.Unlock()
	switch {
	case away > 0:
		return &turnedAway{HandshakeRate, &Error{
			Code: CodeUnavailable, RetryAfter: away,
			Text: fmt.Sprintf("this server takes %d connections a second", v.cfg.HandshakeRate),
		}}
	case wait == 0:
		return nil
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hold runs the session of a tenant. Its stack stays as it is for as long as
// the node is connected: what comes before and after is in functions of its
// own, to keep it small.
func (v *Server) hold(t *tenant, s *session, connected func(Info)) {
	defer v.release(s.node, t)
	defer s.conn.Close()
	defer s.cancel()
	if v.begin(t, s, connected) {
		end(s, s.run(), connected)
	}
}

// begin makes the session known. It reports false if it is over already.
func (v *Server) begin(t *tenant, s *session, connected func(Info)) bool {
	info := Info{
		Node: s.node, Connected: true, Since: time.Now(), Epoch: s.epoch, Transport: s.conn.Peer().Transport,
	}
	if !v.stand(t, s, info) {
		return false
	}
	v.stats.begun(info.Transport)
	s.log.Info("node is connected", "epoch", info.Epoch, "transport", info.Transport)
	if connected != nil {
		connected(info)
	}
	return true
}

// end makes it known that the session is over.
func end(s *session, err error, connected func(Info)) {
	s.stats.over(s.conn.Peer().Transport, endReason(err))
	s.log.Info("node is disconnected", "epoch", s.epoch, "reason", err)
	if connected != nil {
		connected(Info{Node: s.node, Since: time.Now(), Reason: err.Error(), Epoch: s.epoch})
	}
}
