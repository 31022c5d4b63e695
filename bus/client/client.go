package client

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/internal/callbacks"
	"github.com/edgekit/edgekit/bus/internal/subscriptions"
)

// DefaultURL is the broker when Config.URL is empty.
const DefaultURL = "tcp://127.0.0.1:1883"

const (
	connectTimeout = 10 * time.Second // for TCP, TLS and the first two packets together
	packetTimeout  = 10 * time.Second // for the broker's answer to one packet
	// receiveMaximum is the number of messages that the broker may send
	// unacknowledged; paho allocates a queue of that length.
	receiveMaximum = 4096
)

// Config sets up a Client. Every field may be left out.
type Config struct {
	// URL is tcp://host:port, tls://host:port or unix:///path of a socket; empty means
	// DefaultURL.
	URL string
	// TLS is used for tls://; nil means the system's roots. It is not changed.
	TLS *tls.Config
	// ClientID names the session at the broker; empty makes a random one. Two clients with
	// one name disconnect each other again and again.
	ClientID string
	// Username and Password are the credentials; empty sends none.
	Username string
	Password []byte
	// SessionExpiry is how long the broker keeps this client's messages while
	// it is away; 0 ends the session with the connection.
	SessionExpiry time.Duration
	// Received keeps which messages of QoS 2 have come, so that none comes twice when the program
	// is killed. Nil keeps that in memory. Without SessionExpiry it is not used: the broker
	// sends nothing again.
	Received Received
	// Keepalive is the longest silence before a ping; 0 means 30 s. It is
	// rounded down to seconds.
	Keepalive time.Duration
	// ReceiveMaximum is how many messages of QoS 1 and 2 the broker may send before they are
	// acknowledged; 0 means 4096, at most 65535.
	ReceiveMaximum int
	// NoLocal has the broker not send this client's own messages back to it. A Bus in mode Both
	// gets them from the embedded broker.
	NoLocal bool
	// Queue is how many messages may wait to be sent; 0 means 1024.
	Queue int
	// Logger logs connections and losses; nil discards.
	Logger *slog.Logger
}

// Client is a connection to a broker. It implements bus.Transport, bus.Notifier, bus.Reconnector
// and bus.Confirmer; all methods may be called by several goroutines at once.
type Client struct {
	cfg     Config
	url     *url.URL
	log     *slog.Logger
	ready   chan struct{}
	session *memory
	outbox  *outbox
	started atomic.Bool
	running atomic.Bool
	dropped atomic.Int64
	refused atomic.Int64
	ups     chan struct{} // holds one value when a connection has come up
	notify  callbacks.List

	mu      sync.Mutex
	conn    *autopaho.ConnectionManager // nil while there is no connection
	bound   func() context.Context      // of SUBSCRIBE and UNSUBSCRIBE: Run's; set before conn
	raw     net.Conn                    // of the last connection
	status  Status
	subs    subscriptions.List
	bridged map[string]int // subscriptions of SubscribeIncoming for each filter
	manual  *manual        // the subscription of Consume; nil without one
}

// New checks cfg and allocates a Client.
func New(cfg Config) (*Client, error) {
	if cfg.URL == "" {
		cfg.URL = DefaultURL
	}
	u, err := parseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	if u.User != nil {
		return nil, errors.New("bus/client: Config.URL has credentials in it: use Config.Username and Config.Password")
	}
	if cfg.Keepalive == 0 {
		cfg.Keepalive = 30 * time.Second
	}
	if cfg.Keepalive < time.Second || cfg.Keepalive > math.MaxUint16*time.Second {
		return nil, fmt.Errorf("bus/client: Config.Keepalive is %v: it must be between 1s and 18h", cfg.Keepalive)
	}
	if cfg.SessionExpiry < 0 || cfg.Queue < 0 || cfg.ReceiveMaximum < 0 || cfg.ReceiveMaximum > math.MaxUint16 {
		return nil, errors.New("bus/client: Config.SessionExpiry, Queue and ReceiveMaximum must not be negative, and ReceiveMaximum ends at 65535")
	}
	if cfg.ReceiveMaximum == 0 {
		cfg.ReceiveMaximum = receiveMaximum
	}
	if cfg.Queue == 0 {
		cfg.Queue = 1024
	}
	if cfg.ClientID == "" {
		cfg.ClientID = "edgekit-" + rand.Text()[:12]
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{
		cfg: cfg, url: u, log: cfg.Logger.With("broker", u.Redacted()),
		ready: make(chan struct{}), ups: make(chan struct{}, 1),
		bridged: make(map[string]int),
	}
	c.outbox = newOutbox(cfg.Queue, func() {
		if c.dropped.Add(1) == 1 {
			c.log.Warn("MQTT messages are dropped: the broker is disconnected and the queue is full", "queue", cfg.Queue)
		}
	})
	if cfg.SessionExpiry == 0 {
		cfg.Received = nil
	}
	c.session = newMemory(c.outbox, newInbound(cfg.Received, c.log), func(code byte) {
		if c.refused.Add(1) == 1 {
			c.log.Warn("the MQTT broker refuses messages", "code", fmt.Sprintf("0x%02x", code))
		}
	})
	return c, nil
}

func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
	case u.Scheme == "unix" && u.Host == "" && u.Path != "", (u.Scheme == "tcp" || u.Scheme == "tls") && u.Port() != "":
		return u, nil
	}
	return nil, fmt.Errorf("bus/client: Config.URL is %q: use tcp://host:port, tls://host:port or unix:///path", text)
}

// Run connects and reconnects until ctx ends. A second call returns bus.ErrStarted.
func (c *Client) Run(ctx context.Context) error {
	if c.started.Swap(true) {
		return bus.ErrStarted
	}
	c.running.Store(true)
	defer c.running.Store(false)
	c.mu.Lock()
	c.bound = func() context.Context { return ctx }
	c.mu.Unlock()
	c.setStatus(ReasonStarting, errors.New("the first try has not ended yet"))
	if err := c.session.inbound.load(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	manager, err := autopaho.NewConnection(ctx, c.pahoConfig())
	if err != nil {
		return fmt.Errorf("bus/client: %w", err)
	}
	check := time.NewTicker(answerTimeout / 4)
	defer check.Stop()
	for {
		select {
		case <-c.ups:
			c.resubscribe(ctx)
		case now := <-check.C:
			c.checkAnswers(now)
		case <-manager.Done():
			c.disconnected(nil)
			return nil
		}
	}
}

func (c *Client) pahoConfig() autopaho.ClientConfig {
	return autopaho.ClientConfig{
		ServerUrls:            []*url.URL{c.url},
		AttemptConnection:     c.dial,
		KeepAlive:             uint16(c.cfg.Keepalive / time.Second),
		SessionExpiryInterval: uint32(min(c.cfg.SessionExpiry/time.Second, math.MaxUint32)),
		ConnectUsername:       c.cfg.Username,
		ConnectPassword:       c.cfg.Password,
		ConnectTimeout:        connectTimeout,
		ReconnectBackoff:      autopaho.NewExponentialBackoff(100*time.Millisecond, 15*time.Second, 200*time.Millisecond, 2),
		Queue:                 c.outbox,
		ConnectPacketBuilder: func(p *paho.Connect, _ *url.URL) (*paho.Connect, error) {
			if p.Properties == nil {
				p.Properties = &paho.ConnectProperties{}
			}
			p.Properties.RequestProblemInfo = true // MQTT 5's default; without it some brokers hold user properties back
			p.Properties.ReceiveMaximum = paho.Uint16(uint16(c.cfg.ReceiveMaximum))
			return p, nil
		},
		OnConnectionUp: func(manager *autopaho.ConnectionManager, _ *paho.Connack) {
			c.mu.Lock()
			c.conn = manager
			c.mu.Unlock()
			c.setStatus("", nil)
			select {
			case c.ups <- struct{}{}:
			default: // one is enough
			}
		},
		OnConnectionDown: func() bool {
			c.disconnected(errors.New("connection lost"))
			return true
		},
		OnConnectError: func(err error) {
			c.setStatus(reasonOf(err), err)
			c.log.Warn("cannot connect to MQTT broker, trying again", "err", err)
		},
		ClientConfig: paho.ClientConfig{
			ClientID:          c.cfg.ClientID,
			Session:           c.session,
			PacketTimeout:     packetTimeout,
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){c.deliver},

			EnableManualAcknowledgment: c.manual != nil, SendAcksInterval: acksInterval,
		},
	}
}

// dial opens the connection; unlike autopaho's own function it uses no proxy.
func (c *Client) dial(ctx context.Context, _ autopaho.ClientConfig, u *url.URL) (net.Conn, error) {
	conn, err := c.open(ctx, u)
	if err == nil {
		c.mu.Lock()
		c.raw = conn
		c.mu.Unlock()
	}
	return conn, err
}

func (c *Client) open(ctx context.Context, u *url.URL) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if u.Scheme == "unix" {
		return (&net.Dialer{}).DialContext(ctx, "unix", u.Path)
	}
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
	if err != nil || u.Scheme == "tcp" {
		return raw, err
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.cfg.TLS != nil {
		cfg = c.cfg.TLS.Clone()
	}
	if cfg.ServerName == "" {
		cfg.ServerName = u.Hostname()
	}
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // the handshake failed
		return nil, &handshakeError{err}
	}
	return packets.NewThreadSafeConn(conn), nil
}

// SubscribeIncoming implements bus.Confirmer. The filter must not be shared.
func (c *Client) SubscribeIncoming(filter string, deliver func(bus.Message)) (stop func(), err error) {
	c.mu.Lock()
	c.bridged[filter]++
	c.mu.Unlock()
	left := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.bridged[filter]--
	}
	end, err := c.Subscribe(filter, deliver)
	if err != nil {
		left()
		return nil, err
	}
	return sync.OnceFunc(func() { end(); left() }), nil
}

// startSending lets the outbox send, unless the connection has ended again.
func (c *Client) startSending(conn *autopaho.ConnectionManager) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == conn {
		c.outbox.setConnected(true)
	}
}

// disconnected stops sending until the next connection.
func (c *Client) disconnected(reason error) {
	c.mu.Lock()
	c.conn = nil
	c.outbox.setConnected(false)
	c.mu.Unlock()
	if reason != nil {
		c.setStatus(ReasonConnectionLost, reason)
		c.log.Warn("MQTT broker is disconnected", "err", reason)
	}
}

// Ready is closed after the first connection to the broker at which it has granted subscriptions,
// if there are any. A broker may refuse some: that is logged.
func (c *Client) Ready() <-chan struct{} { return c.ready }

// Subscribe adds a subscription. While connected, it returns when the broker has
// confirmed it, has not answered in time, or Run ends. The next connection makes it again
// if there was no answer.
func (c *Client) Subscribe(filter string, deliver func(bus.Message)) (stop func(), err error) {
	if err := bus.ValidateFilter(filter); err != nil {
		return nil, err
	}
	c.mu.Lock()
	id := c.subs.Add(filter, deliver)
	conn, bound := c.conn, c.bound
	c.mu.Unlock()
	if conn != nil {
		ctx := bound() // paho bounds the wait by packetTimeout too
		_, err := conn.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{c.options(filter)}})
		if err != nil && ctx.Err() == nil {
			c.log.Warn("MQTT subscription failed", "filter", filter, "err", err)
			if errors.Is(err, context.DeadlineExceeded) {
				c.Reconnect()
			}
		}
	}
	return func() { c.unsubscribe(id, filter) }, nil
}

// unsubscribe removes one subscription, and its filter from the broker when
// no other has the same.
func (c *Client) unsubscribe(id int, filter string) {
	c.mu.Lock()
	last := c.subs.Remove(id)
	conn, bound := c.conn, c.bound
	c.mu.Unlock()
	if !last || conn == nil {
		return
	}
	if _, err := conn.Unsubscribe(bound(), &paho.Unsubscribe{Topics: []string{filter}}); err != nil {
		c.log.Debug("MQTT unsubscribe failed", "filter", filter, "err", err)
	}
}

// NotifyConnect calls connected after each connection to the broker, when all
// subscriptions are made.
func (c *Client) NotifyConnect(connected func()) (stop func()) { return c.notify.Add(connected) }

// Stats are counters since the start.
type Stats struct {
	Dropped int64 // messages dropped because the broker was disconnected and the queue full
	Refused int64 // messages that the broker answered with an error
}

// Stats returns the client's counters.
func (c *Client) Stats() Stats { return Stats{Dropped: c.dropped.Load(), Refused: c.refused.Load()} }
