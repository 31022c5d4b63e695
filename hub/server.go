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
	// MaxNodes is how many nodes may be connected; one more is refused with
	// CodeExhausted. 0 means no limit.
	MaxNodes int
	Limits   Limits       // of each session
	Logger   *slog.Logger // nil discards
}

// Server is the cloud's end of the links of many nodes. All methods may be
// called by several goroutines at once.
type Server struct {
	cfg     ServerConfig
	log     *slog.Logger
	ready   chan struct{}
	started atomic.Bool

	mu    sync.Mutex
	seats map[string]*nodeSeat
	count int // of seats that are held

	running sync.WaitGroup // connections and sessions; Run waits for it
}

// nodeSeat is what the server knows of one node.
type nodeSeat struct {
	seat
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
	case cfg.Keepalive < 0, cfg.Handshake < 0:
		return nil, errors.New("hub: a duration in ServerConfig is negative: leave it 0 for the default")
	case cfg.MaxHandshakes < 0, cfg.MaxNodes < 0:
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
	if cfg.MaxHandshakes == 0 {
		cfg.MaxHandshakes = 256
	}
	cfg.Keepalive = orDefault(cfg.Keepalive, minKeepalive)
	cfg.Handshake = orDefault(cfg.Handshake, defaultHandshake)
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: cfg, log: cfg.Logger, ready: make(chan struct{}), seats: make(map[string]*nodeSeat)}, nil
}

// Run serves connections until ctx ends; it then tells every edge to connect
// elsewhere and returns nil. It returns an error when the Listener fails. The
// Listener stays the caller's to close. Run can be called once.
func (v *Server) Run(ctx context.Context) error {
	if v.started.Swap(true) {
		return ErrRunning
	}
	defer v.running.Wait()
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

// Disconnect ends a node's session and tells the edge why. A reason with a
// final code makes that edge stop for good, any other lets it come back, after
// reason.RetryAfter. It returns at once; ErrOffline if there is no session.
func (v *Server) Disconnect(node string, reason *Error) error {
	s := v.session(node)
	if s == nil {
		return ErrOffline
	}
	s.part(goodbye{Kind: goodbyeEnded, Err: reason})
	return nil
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
		log.Warn("connection without a handshake", "node", conn.Peer().Name, "error", err)
		if l != nil && errors.Is(err, ErrProtocol) {
			l.sayGoodbye(goodbye{Kind: goodbyeRefused, Err: &Error{Code: CodeInvalid, Text: err.Error()}})
		}
		return false
	}
	log = log.With("node", conn.Peer().Name)
	version, bad := agree(h, conn.Peer())
	var node Node
	if bad != nil {
		err = bad
	} else {
		node, err = v.cfg.Directory.Attach(hctx, Hello{
			Peer: conn.Peer(), Node: h.Node, Instance: h.Instance, Version: h.Version, Capabilities: h.Capabilities,
		})
	}
	var t *tenant
	if err == nil {
		t, err = v.admit(hctx, cancel, h)
	}
	if err != nil {
		log.Warn("node is refused", "error", err)
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
		log.Warn("handshake was not completed", "error", errors.Join(err, hctx.Err()))
		v.release(h.Node, t)
		return false
	}
	cfg := sessionConfig{
		node: h.Node, epoch: t.epoch, line: l, keepalive: keepalive, limits: v.cfg.Limits, peer: h.Limits,
		sink: node.Up, source: node.Down, outbox: node.Outbox, inbox: node.Inbox, mux: v.cfg.Mux, log: log,
	}
	cfg.negotiate(h.Capabilities)
	s := newSession(context.WithoutCancel(ctx), cfg)
	// A session rests most of its life, and its goroutine with it: it has a new
	// one, whose stack the handshake has not grown.
	v.running.Go(func() { v.hold(ctx, t, s, node.Connected) })
	return true
}

// hold runs the session of a tenant. Its stack stays as it is for as long as
// the node is connected: what comes before and after is in functions of its
// own, to keep it small.
func (v *Server) hold(ctx context.Context, t *tenant, s *session, connected func(Info)) {
	defer v.release(s.node, t)
	defer s.conn.Close()
	defer s.cancel()
	defer context.AfterFunc(ctx, func() { s.part(goodbye{Kind: goodbyeDrain}) })()
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
	s.log.Info("node is connected", "epoch", info.Epoch, "transport", info.Transport)
	if connected != nil {
		connected(info)
	}
	return true
}

// end makes it known that the session is over.
func end(s *session, err error, connected func(Info)) {
	s.log.Info("node is disconnected", "epoch", s.epoch, "reason", err)
	if connected != nil {
		connected(Info{Node: s.node, Since: time.Now(), Reason: err.Error(), Epoch: s.epoch})
	}
}
