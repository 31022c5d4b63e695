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

	"golang.org/x/sync/semaphore"

	"github.com/edgekit/edgekit/hub/internal/load"
	"github.com/edgekit/edgekit/hub/internal/message"
	"github.com/edgekit/edgekit/hub/internal/wire"
)

// ServerConfig sets up a Server. Listener and Directory are required by Run; leave both nil
// to give them to Serve.
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
	// wait in the Listener. 0 means 512.
	MaxHandshakes int
	// HandshakeRate is how many handshakes start in one second. Further edges are asked to
	// come back later, spread out. 0 means 1,000, negative no limit.
	HandshakeRate int
	// MaxNodes is how many nodes may be connected; one more is refused with
	// CodeExhausted. 0 means no limit.
	MaxNodes int
	// MaxWork is how many calls to Sources, Sinks, Outboxes and Inboxes run at the same
	// time for all nodes together. More wait, and the nodes get free places round robin. 0
	// means 512.
	MaxWork int
	// ReleaseAfter is how long a node must have had no session until a program
	// that was fenced gets it again. 0 means 5 min.
	ReleaseAfter time.Duration
	// MaxCallBytes is how many bytes the opening frames of calls and streams of all nodes
	// may hold here together, as Limits.MaxCallBytes is for one node. It counts received
	// bytes. A frame over the limit is refused at once with CodeExhausted and may be sent
	// again. Objects and events over 64 KiB count too while they are received; one over
	// the limit ends its session, and the edge begins another. 0 means 512 MiB, negative
	// no limit.
	MaxCallBytes int64
	// Drain is the time over which Run spreads the ends of the sessions when its ctx ends,
	// so that the nodes do not all move at once; few nodes need less. 0 means at once.
	Drain time.Duration
	// Leaving is called before Run ends the session of a node because its ctx has ended, and the session
	// ends when it returns: it may wait until what a node is being asked is answered. Many calls run at
	// once. It should return soon when its ctx ends. nil waits for nothing.
	Leaving func(ctx context.Context, node string)
	// ReturnAfter is how long the edges are then asked to stay away, for
	// example until another server has started. 0 means not at all.
	ReturnAfter time.Duration
	Limits      Limits       // of each session
	Logger      *slog.Logger // nil discards
}

// Server is the cloud's end of the links of many nodes. Several goroutines may call all
// methods at once.
type Server struct {
	cfg          ServerConfig
	log          *slog.Logger
	ready        chan struct{}
	started      atomic.Bool
	stats        *counters
	directory    Directory                // set by accept
	listener     atomic.Pointer[Listener] // set by accept
	work         *load.FairSemaphore
	timers       load.TimerHeap
	budget       *semaphore.Weighted // of what all nodes open
	limiterQueue chan struct{}       // semaphore of 1: the handshake that now waits for the limiter
	createdAt    uint64              // when it was made, in microseconds since 1970

	mu       sync.Mutex
	limiter  load.HandshakeLimiter
	registry map[string]*registration
	count    int  // of nodes that have a holder
	draining bool // Run is about to return

	running sync.WaitGroup // connections and sessions; Run waits for it
}

// registration is what the server knows of one node.
type registration struct {
	Claim
	holder *holder // nil if no connection holds the node
}

// holder is one connection that holds a node: first during its handshake, then with a
// session.
type holder struct {
	epoch       uint64
	previous    uint64             // epoch of the node's session before; 0 if not known
	cancel      context.CancelFunc // of the handshake
	done        chan struct{}      // closed when all of it has ended
	session     *session           // nil during the handshake
	established chan struct{}      // closed when it does; made by the first that waits for it
	info        Info
}

// NewServer checks cfg and makes a Server. Nothing happens until Run.
func NewServer(cfg ServerConfig) (*Server, error) {
	switch {
	case cfg.Listener == nil && cfg.Directory != nil:
		return nil, errors.New("hub: ServerConfig.Listener is required with a Directory: set it, or give both to Serve")
	case cfg.Directory == nil && cfg.Listener != nil:
		return nil, errors.New("hub: ServerConfig.Directory is required with a Listener: set it, or give both to Serve")
	case cfg.Keepalive < 0, cfg.Handshake < 0, cfg.Drain < 0, cfg.ReturnAfter < 0, cfg.ReleaseAfter < 0:
		return nil, errors.New("hub: a duration in ServerConfig is negative: leave it 0 for the default")
	case cfg.MaxHandshakes < 0, cfg.MaxNodes < 0, cfg.MaxWork < 0:
		return nil, errors.New("hub: a limit in ServerConfig is negative: leave it 0 for the default")
	}
	if err := message.CheckLimits(cfg.Limits); err != nil {
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
	}{{&cfg.MaxHandshakes, 512}, {&cfg.HandshakeRate, 1000}, {&cfg.MaxWork, 512}} {
		if *f.v == 0 {
			*f.v = f.d
		}
	}
	if cfg.MaxCallBytes == 0 {
		cfg.MaxCallBytes = 512 << 20
	}
	cfg.Keepalive = orDefault(cfg.Keepalive, minKeepalive)
	cfg.Handshake = orDefault(cfg.Handshake, defaultHandshake)
	cfg.ReleaseAfter = orDefault(cfg.ReleaseAfter, defaultReleaseAfter)
	cfg.Limits = message.DefaultLimits(cfg.Limits)
	cfg.Capabilities = slices.Clone(cfg.Capabilities)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	v := &Server{
		cfg: cfg, log: cfg.Logger, ready: make(chan struct{}), stats: newCounters(), limiterQueue: make(chan struct{}, 1),
		limiter: load.NewHandshakeLimiter(cfg.HandshakeRate, cfg.MaxHandshakes), work: load.NewFairSemaphore(cfg.MaxWork), budget: newBudget(cfg.MaxCallBytes),
		registry: make(map[string]*registration), createdAt: uint64(time.Now().UnixMicro()),
	}
	if cfg.Listener != nil {
		v.listener.Store(&cfg.Listener) // Stats has its backlog before Run
	}
	return v, nil
}

// Run serves connections until ctx ends. It then asks every edge to connect elsewhere, spread
// over ServerConfig.Drain, and returns nil. It returns an error when the Listener fails. The
// caller closes the Listener, best before ctx ends, so that no edge connects to this server
// again. Run can be called once.
func (v *Server) Run(ctx context.Context) error {
	return v.accept(ctx, v.cfg.Listener, v.cfg.Directory)
}

// Serve is Run for a Server whose Directory needs the Server: make the Server with neither
// Listener nor Directory in ServerConfig, then the Directory, then call Serve. A Listener and
// Directory that are in ServerConfig too are an error. Call either Run or Serve, once.
func (v *Server) Serve(ctx context.Context, listener Listener, directory Directory) error {
	if v.cfg.Listener != nil { // then it has a Directory too, see NewServer
		return errors.New("hub: ServerConfig has a Listener and a Directory, which Serve would ignore: call Run, or give both to Serve")
	}
	return v.accept(ctx, listener, directory)
}

// accept serves the connections of listener.
func (v *Server) accept(ctx context.Context, listener Listener, directory Directory) error {
	if listener == nil || directory == nil {
		return errors.New("hub: a Listener and a Directory are required: set both in ServerConfig, or give both to Serve")
	}
	if v.started.Swap(true) {
		return ErrStarted
	}
	v.directory = directory
	v.listener.Store(&listener)
	defer v.running.Wait()
	defer v.drain(context.WithoutCancel(ctx))
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
		conn, err := listener.Accept(ctx)
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

// Ready is closed when Run accepts connections.
func (v *Server) Ready() <-chan struct{} { return v.ready }

// Nodes lists the nodes that are connected now, by name.
func (v *Server) Nodes() []Info {
	v.mu.Lock()
	out := make([]Info, 0, v.count)
	for _, st := range v.registry {
		if st.holder != nil && st.holder.session != nil {
			out = append(out, st.holder.info)
		}
	}
	v.mu.Unlock()
	slices.SortFunc(out, func(a, b Info) int { return cmp.Compare(a.Node, b.Node) })
	return out
}

// Call asks a node and waits for the answer. Of m only Key, Version and Body are used.
// Errors are those of Client.Call. Call waits for a node whose session is about to begin,
// so an edge whose Ready is closed can be called.
func (v *Server) Call(ctx context.Context, node string, m Message) (Message, error) {
	s, err := v.session(ctx, node)
	if err != nil {
		return Message{}, err
	}
	return s.call(ctx, m)
}

// OpenStream opens a stream to a node's handler for m.Key.Resource; the rules
// are those of Client.OpenStream.
func (v *Server) OpenStream(ctx context.Context, node string, m Message) (Stream, error) {
	s, err := v.session(ctx, node)
	if err != nil {
		return nil, err
	}
	return s.openHalf(ctx, m)
}

// Disconnect ends a node's session, or its handshake, and sends the edge the reason. After
// CodeForbidden and CodeUnsupported the edge does not connect again; after any other code it does,
// after reason.RetryAfter, and the Directory decides then. From the call on, frames of the edge
// are ignored, its running calls and streams here are cancelled, and it gets no more state and
// events. Disconnect returns at once; ErrOffline if the node has no session here.
func (v *Server) Disconnect(node string, reason *Error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	st := v.registry[node]
	switch {
	case st == nil || st.holder == nil:
		return ErrOffline
	case st.holder.session == nil:
		st.holder.cancel()
	default:
		st.holder.session.disconnect(wire.GoAway{Kind: wire.GoAwayEnded, Err: reason})
	}
	return nil
}

// Stats returns the counts so far.
func (v *Server) Stats() Stats {
	s := v.stats.read()
	if l := v.listener.Load(); l != nil {
		if r, ok := (*l).(BacklogReporter); ok {
			s.Backlog = r.Backlog()
		}
	}
	return s
}

// drainPace is the longest wait between the ends of two sessions.
const drainPace = 20 * time.Millisecond

// drain ends all sessions, in no particular order.
func (v *Server) drain(ctx context.Context) {
	v.mu.Lock()
	v.draining = true
	var all []*session
	for _, st := range v.registry {
		if st.holder != nil && st.holder.session != nil {
			all = append(all, st.holder.session)
		}
	}
	v.mu.Unlock()
	if len(all) > 0 {
		v.log.Info("nodes are told to connect elsewhere", "nodes", len(all), "over", v.cfg.Drain)
	}
	var leaving sync.WaitGroup
	defer leaving.Wait()
	for i, s := range all {
		if pace := min(v.cfg.Drain/time.Duration(len(all)), drainPace); i > 0 && pace > 0 {
			time.Sleep(pace)
		}
		if v.cfg.Leaving == nil {
			s.close(v.goAway())
			continue
		}
		leaving.Go(func() {
			v.cfg.Leaving(ctx, s.node)
			s.close(v.goAway())
		})
	}
}

// goAway is the frame that says that this server stops.
func (v *Server) goAway() wire.GoAway {
	if v.cfg.ReturnAfter == 0 {
		return wire.GoAway{Kind: wire.GoAwayDrain}
	}
	return wire.GoAway{Kind: wire.GoAwayDrain, Err: &Error{
		Code: CodeUnavailable, Text: "this server is stopping", RetryAfter: v.cfg.ReturnAfter,
	}}
}
