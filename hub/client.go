package hub

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgekit/edgekit/hub/internal/message"
	"github.com/edgekit/edgekit/hub/internal/wire"
)

// MaxEarlier is how many earlier runs a ClientConfig may name.
const MaxEarlier = wire.MaxEarlier

// Protocol is the newest version of the link's protocol that this release speaks.
const Protocol = wire.ProtocolMax

// ClientConfig sets up a Client. Only Dialer and Node are required.
type ClientConfig struct {
	Dialer Dialer // opens a connection to the cloud
	Node   string // this node's name, as its certificate has it

	// Instance identifies this run of the program; empty means random. Two programs with
	// one Node and different instances fence each other, see FencedError.
	Instance string
	// Earlier are the instances of this program's earlier runs on the same store, newest
	// first, at most MaxEarlier. The hello of a killed run may arrive late: it never takes
	// the node from a run that names it here. nil means that they are not known.
	Earlier []string
	Version string // of the program, for humans
	// Capabilities are what this edge can do beyond the protocol version.
	// Names that begin with "hub." are hub's own.
	Capabilities []string

	// The six endpoints of Run, see Endpoints. Leave all of them nil to give them to
	// Serve instead, which returns an error if one is set.
	Down Sink   // takes the objects that this node must hold; nil refuses all
	Up   Source // what this node reports; nil for nothing
	// Inbox takes the cloud's events, Outbox has this node's; nil for none. Events wait
	// in the Outbox while the peer's release does not support events.
	Inbox  Inbox
	Outbox Outbox
	Mux    *Mux // answers the cloud's calls and streams; nil answers none
	// Connected are called in order, from one goroutine, when a session begins and when it
	// has ended. They must not wait for the Client.
	Connected []func(Info)

	// Keepalive is how often an idle link is probed; the server may ask for
	// longer. 0 means 30 s.
	Keepalive time.Duration
	// Timers runs the timers of Keepalive: many Clients of a program share one. Nil
	// means its own.
	Timers *Timers
	// Handshake bounds one attempt to connect, from the dial to the server's
	// welcome. 0 means 15 s.
	Handshake time.Duration
	Backoff   Backoff      // between attempts
	Limits    Limits       // of this side, for the cloud to keep
	Logger    *slog.Logger // nil discards
}

// Endpoints are the endpoints of an edge's link: see ClientConfig's fields of the same names.
// All may be nil.
type Endpoints struct {
	Down      Sink
	Up        Source
	Inbox     Inbox
	Outbox    Outbox
	Mux       *Mux
	Connected []func(Info)
}

// Client is the edge's end of the link. It keeps one session with the cloud: it connects,
// connects again when the session ends, and carries state, events, calls and streams. Several
// goroutines may call all methods at once.
type Client struct {
	cfg     ClientConfig
	log     *slog.Logger
	ready   chan struct{}
	started atomic.Bool
	stats   *counters
	dials   uint64    // of this instance; used by serve alone
	ends    Endpoints // set by serve, used by its goroutine

	mu      sync.Mutex
	session *session // nil while offline
	info    Info
	fenced  *FencedError // nil unless another program has the node
	attempt Attempt
}

// Attempt says how a Client's attempts to connect go, for people who ask why a node is away.
type Attempt struct {
	Failed int       // attempts in a row that made no session; 0 while connected
	Err    error     // why the last attempt failed or the last session ended; nil while connected and before the first attempt
	At     time.Time // when that was
	Next   time.Time // when the next attempt begins; zero while connected, while an attempt runs, and after Run has ended
}

// NewClient checks cfg and makes a Client. Nothing happens until Run.
func NewClient(cfg ClientConfig) (*Client, error) {
	switch {
	case cfg.Dialer == nil:
		return nil, errors.New("hub: ClientConfig.Dialer is required")
	case cfg.Node == "" || len(cfg.Node) > maxName:
		return nil, fmt.Errorf("hub: ClientConfig.Node must have 1 to %d bytes", maxName)
	case len(cfg.Instance) > maxInstance:
		return nil, fmt.Errorf("hub: ClientConfig.Instance has more than %d bytes", maxInstance)
	case len(cfg.Earlier) > MaxEarlier || slices.ContainsFunc(cfg.Earlier, func(i string) bool { return i == "" || len(i) > maxInstance }):
		return nil, fmt.Errorf("hub: ClientConfig.Earlier must be at most %d instances of 1 to %d bytes", MaxEarlier, maxInstance)
	case cfg.Keepalive < 0, cfg.Handshake < 0, cfg.Backoff.Min < 0, cfg.Backoff.Max < 0:
		return nil, errors.New("hub: a duration in ClientConfig is negative: leave it 0 for the default")
	}
	if err := message.CheckLimits(cfg.Limits); err != nil {
		return nil, fmt.Errorf("hub: ClientConfig.%w", err)
	}
	if err := checkCapabilities(cfg.Capabilities); err != nil {
		return nil, fmt.Errorf("hub: ClientConfig.Capabilities: %w", err)
	}
	if cfg.Instance == "" {
		cfg.Instance = rand.Text()
	}
	cfg.Keepalive = orDefault(cfg.Keepalive, defaultKeepalive)
	cfg.Handshake = orDefault(cfg.Handshake, defaultHandshake)
	cfg.Backoff = cfg.Backoff.withDefaults()
	if cfg.Timers == nil {
		cfg.Timers = new(Timers)
	}
	cfg.Limits = message.DefaultLimits(cfg.Limits)
	cfg.Connected, cfg.Capabilities, cfg.Earlier = slices.Clone(cfg.Connected), slices.Clone(cfg.Capabilities), slices.Clone(cfg.Earlier)
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Client{
		cfg: cfg, log: log.With("node", cfg.Node), ready: make(chan struct{}), stats: newCounters(),
		info: Info{Node: cfg.Node, Reason: "not connected yet"},
	}, nil
}

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// Run keeps the session until ctx ends, and then returns nil. It returns earlier only when
// another attempt cannot help: a *RefusedError when the server does not accept this edge.
// When another program has taken this node over, Run goes on without a session and asks
// every few minutes whether the node is free again; see Fenced. It can be called once.
func (c *Client) Run(ctx context.Context) error {
	return c.serve(ctx, Endpoints{
		Down: c.cfg.Down, Up: c.cfg.Up, Inbox: c.cfg.Inbox, Outbox: c.cfg.Outbox, Mux: c.cfg.Mux, Connected: c.cfg.Connected,
	})
}

// Serve is Run for a Client whose endpoints need the Client themselves, for example to make
// calls: make the Client with none in ClientConfig, then the endpoints, then call Serve. An
// endpoint that is in ClientConfig too is an error. Call either Run or Serve, once.
func (c *Client) Serve(ctx context.Context, ends Endpoints) error {
	if c.cfg.Down != nil || c.cfg.Up != nil || c.cfg.Inbox != nil || c.cfg.Outbox != nil || c.cfg.Mux != nil || len(c.cfg.Connected) > 0 {
		return errors.New("hub: ClientConfig has endpoints, which Serve would ignore: call Run, or give all of them to Serve")
	}
	return c.serve(ctx, ends)
}

func (c *Client) serve(ctx context.Context, ends Endpoints) error {
	if c.started.Swap(true) {
		return ErrStarted
	}
	if c.ends = ends; ends.Mux == nil {
		c.ends.Mux = &Mux{}
	}
	c.ends.Connected = slices.Clone(ends.Connected)
	for attempt := 0; ; attempt++ {
		begun := time.Now()
		stood, err := c.connect(ctx)
		if ctx.Err() != nil {
			return nil
		}
		first := c.noteFenced(err)
		if final := c.final(stood, err); final != nil {
			c.log.Error("the link has ended and is not tried again", "err", final)
			return final
		}
		// A session that lasted starts the back-off again.
		if time.Since(begun) > 2*c.cfg.Backoff.ceiling(attempt) {
			attempt = 0
		}
		asked := retryAfter(err)
		if c.Fenced() != nil {
			asked = probeAfter(asked, first, mathrand.Float64())
		} else if asked > 0 { // the server spreads the reconnects: a longer back-off has no use
			attempt = 0
		}
		wait := c.cfg.Backoff.wait(attempt, asked, mathrand.Float64())
		c.noteAttempt(stood, err, wait)
		c.log.Warn("link is down", "err", err, "retry", wait.Round(time.Millisecond))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
			c.mu.Lock()
			c.attempt.Next = time.Time{}
			c.mu.Unlock()
		}
	}
}

// noteAttempt notes how an attempt or session ended, and that the next begins after wait.
func (c *Client) noteAttempt(stood bool, err error, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	failed := 0
	if !stood {
		failed = c.attempt.Failed + 1
	}
	c.attempt = Attempt{Failed: failed, Err: err, At: now, Next: now.Add(wait)}
}

// LastAttempt returns how the last attempt to connect, or the last session, ended.
func (c *Client) LastAttempt() Attempt {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.attempt
}

// Ready is closed when the first session begins.
func (c *Client) Ready() <-chan struct{} { return c.ready }

// Fenced returns an error while another program with this node's identity has the node, so
// that this one has no session; otherwise nil. The next session resets it.
func (c *Client) Fenced() *FencedError {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fenced
}

// Info is the client info of the present session, or of the end of the last one.
func (c *Client) Info() Info {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.info
}

// Stats returns the counts so far.
func (c *Client) Stats() Stats {
	s := c.stats.read()
	s.Fenced = c.Fenced() != nil
	return s
}

// Call asks the cloud and waits for the answer. Of m only Key, Version and
// Body are used. Errors: ErrOffline when there is no session, ErrInterrupted
// when it ended before the answer came, ErrTooLarge, an *Error from the far
// side, or ctx's own.
func (c *Client) Call(ctx context.Context, m Message) (Message, error) {
	s := c.current()
	if s == nil {
		return Message{}, ErrOffline
	}
	return s.call(ctx, m)
}

// OpenStream opens a stream to the cloud's handler for m.Key.Resource. Of m
// only Key, Version and Body are used. The stream's Read gives io.EOF once the
// handler has returned nil and the *Error it returned otherwise; its Close
// ends the handler's context. The caller must Close it. ctx bounds only the
// opening. Errors are those of Call.
func (c *Client) OpenStream(ctx context.Context, m Message) (Stream, error) {
	s := c.current()
	if s == nil {
		return nil, ErrOffline
	}
	return s.openHalf(ctx, m)
}

func (c *Client) current() *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// connect makes one session. It reports whether the session began, and how it ended.
func (c *Client) connect(ctx context.Context) (stood bool, err error) {
	conn, l, w, err := c.dial(ctx)
	if err != nil {
		if ctx.Err() == nil {
			c.stats.handshake(handshakeResult(err))
		}
		return false, err
	}
	// The session outlives ctx for a moment, to send a GoAway.
	cfg := sessionConfig{
		node: c.cfg.Node, edge: true, epoch: w.Epoch, line: l, keepalive: w.Keepalive,
		limits: c.cfg.Limits, peer: w.Limits, sink: c.ends.Down, source: c.ends.Up,
		outbox: c.ends.Outbox, inbox: c.ends.Inbox, mux: c.ends.Mux, log: c.log, stats: c.stats, timers: &c.cfg.Timers.heap,
	}
	cfg.negotiate(w.Capabilities)
	s := newSession(context.WithoutCancel(ctx), cfg)
	defer s.cancel()
	stop := onDone(ctx, func() { s.close(wire.GoAway{Kind: wire.GoAwayStopped}) })
	defer stop()
	was := c.Fenced()
	c.publish(s, Info{
		Node: c.cfg.Node, Connected: true, Since: time.Now(), Epoch: w.Epoch, Previous: w.Previous, Transport: conn.Peer().Transport,
	})
	c.stats.sessionBegan(conn.Peer().Transport)
	if was != nil {
		c.log.Info("the other program with this node's identity is gone: this one has the link again", "instance", c.cfg.Instance)
	}
	c.log.Info("link is up", "transport", conn.Peer().Transport, "server", addr(conn.Peer().Addr), "epoch", w.Epoch)
	err = s.run()
	c.stats.sessionEnded(conn.Peer().Transport, endReason(err))
	c.publish(nil, Info{Node: c.cfg.Node, Since: time.Now(), Reason: err.Error(), Epoch: w.Epoch})
	return true, err
}

// dial opens a connection and shakes hands.
func (c *Client) dial(ctx context.Context) (Conn, *line, wire.Welcome, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Handshake)
	defer cancel()
	conn, err := c.cfg.Dialer.Dial(ctx)
	if err != nil {
		return nil, nil, wire.Welcome{}, fmt.Errorf("hub: dial: %w", unverified(err, time.Now()))
	}
	stop := onDone(ctx, func() { conn.Close() })
	c.dials++
	l, w, err := greet(ctx, conn, wire.Hello{
		Min: wire.ProtocolMin, Max: wire.ProtocolMax, Node: c.cfg.Node, Instance: c.cfg.Instance, Version: c.cfg.Version,
		Capabilities: offers(c.cfg.Capabilities), Keepalive: c.cfg.Keepalive, Limits: c.cfg.Limits, Dial: c.dials,
		Yield: c.Fenced() != nil, Earlier: c.cfg.Earlier,
	})
	if err == nil {
		err = l.established(c.cfg.Limits)
	}
	if !stop() && err == nil {
		err = ctx.Err() // too late: conn is being closed
	}
	if err != nil {
		conn.Close()
		return nil, nil, wire.Welcome{}, fmt.Errorf("hub: handshake: %w", err)
	}
	return conn, l, w, nil
}

// publish sets the session, or its end, and calls Connected.
func (c *Client) publish(s *session, info Info) {
	c.mu.Lock()
	c.session, c.info = s, info
	if s != nil {
		c.fenced, c.attempt = nil, Attempt{}
	}
	c.mu.Unlock()
	if s != nil {
		select {
		case <-c.ready:
		default:
			close(c.ready)
		}
	}
	for _, f := range c.ends.Connected {
		f(info)
	}
}

// final returns the error with which Run ends after a session or an attempt, or nil to go on.
func (c *Client) final(stood bool, err error) error {
	f, closed := errors.AsType[*closedByPeer](err)
	var e *Error
	if closed && f.goAway.Kind == wire.GoAwayFenced {
		return nil
	} else if closed {
		e = f.goAway.Err
	} else if !stood {
		e, _ = errors.AsType[*Error](err) // the transport itself was refused
	}
	if e == nil || !e.Final() || stood && e.Code == CodeInvalid {
		// Within a session that the server had accepted, CodeInvalid is about one frame.
		// The next session may not have that fault.
		return nil
	}
	return &RefusedError{Node: c.cfg.Node, Err: e}
}

// noteFenced notes that another program has the node, if err says so, and
// reports whether it was not known before.
func (c *Client) noteFenced(err error) bool {
	f, closed := errors.AsType[*closedByPeer](err)
	if !closed || f.goAway.Kind != wire.GoAwayFenced {
		return false
	}
	fenced := &FencedError{Node: c.cfg.Node, Instance: c.cfg.Instance, Epoch: f.goAway.Epoch}
	if f.goAway.Err != nil {
		fenced.Holder = f.goAway.Err.Text
	}
	c.mu.Lock()
	first := c.fenced == nil
	c.fenced = fenced
	c.mu.Unlock()
	if first {
		c.log.Error("another program has taken this node over: this one goes on without the link, and connects again some minutes after the other has ended",
			"instance", fenced.Instance, "server", fenced.Holder, "remedy", "was a disk cloned or a backup restored? give one of the two machines an identity of its own")
	}
	return first
}
