package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/edgekit/edgekit/bus"
)

// DefaultAddress is where the broker listens when Config.Address is empty.
const DefaultAddress = "tcp://127.0.0.1:1884"

// Config sets up a Broker. Every field may be left out.
type Config struct {
	// Address is tcp://host:port or tls://host:port; empty means
	// DefaultAddress. Port 0 takes a free port; see Addr.
	Address string
	// TLS is required for tls:// and unused for tcp://. It is not changed. To
	// ask clients for certificates set its ClientAuth and ClientCAs.
	TLS *tls.Config
	// Authenticate accepts or rejects each client that connects; nil accepts all.
	// It is called by many goroutines at once.
	Authenticate func(Login) bool
	// MaxPacket is the largest packet in bytes that a client may send; 0
	// means 1 MiB. A larger one ends its connection.
	MaxPacket int
	// MaxInflight is how many messages of QoS 1 and 2 a client may have
	// unacknowledged, or queued while it is disconnected; 0 means 4096, at most
	// 65535.
	MaxInflight int
	// MaxClients is how many clients may be connected at once; 0 means 1000.
	MaxClients int
	// WriteBuffer is how many bytes may wait for one connection; 0 means
	// 1 MiB.
	WriteBuffer int
	// SessionExpiry is the longest time for which the session of a disconnected
	// client is kept; 0 means 24 h.
	SessionExpiry time.Duration
	// Logger logs what the broker does; nil discards.
	Logger *slog.Logger
}

// Login is what a client sends in its CONNECT packet. None of it is verified.
type Login struct {
	ClientID string
	Username string
	Password []byte
}

// Broker is an MQTT broker. It implements bus.Transport; all methods may be
// called by several goroutines at once.
type Broker struct {
	cfg     Config
	host    string // host:port to listen at
	log     *slog.Logger
	server  *mqtt.Server
	inline  *mqtt.Client // publishes messages of the program
	hook    *hook
	ready   chan struct{}
	started atomic.Bool
	running atomic.Bool
	addr    atomic.Value // net.Addr, once listening
	nextSub atomic.Int64
}

// New checks cfg and allocates a Broker.
func New(cfg Config) (*Broker, error) {
	cfg, host, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &Broker{cfg: cfg, host: host, log: cfg.Logger, ready: make(chan struct{})}
	limits := mqtt.NewDefaultServerCapabilities()
	limits.MaximumClients = int64(cfg.MaxClients)
	limits.MaximumInflight = uint16(cfg.MaxInflight)
	limits.MaximumPacketSize = uint32(cfg.MaxPacket)
	limits.MaximumSessionExpiryInterval = uint32(min(cfg.SessionExpiry/time.Second, math.MaxUint32))
	// Without this mochi drops retained messages after a day.
	limits.MaximumMessageExpiryInterval = 0
	// mochi drops what exceeds this queue. Its goroutine only copies into the
	// connection's own buffer, so the queue just has to outlast a burst.
	limits.MaximumClientWritesPending = 2048
	b.server = mqtt.New(&mqtt.Options{
		Capabilities: limits,
		InlineClient: true,
		// Each interval publishes about 20 $SYS topics and stops the world
		// for memory statistics.
		SysTopicResendInterval: 60,
		Logger:                 slog.New(demote{cfg.Logger.Handler()}),
	})
	b.hook = &hook{server: b.server, authenticate: cfg.Authenticate, maxInflight: cfg.MaxInflight, log: cfg.Logger}
	if err := b.server.AddHook(b.hook, nil); err != nil {
		return nil, fmt.Errorf("bus/broker: %w", err)
	}
	b.inline = b.server.NewClient(nil, mqtt.LocalListener, "edgekit", true)
	b.inline.Properties.ProtocolVersion = 5 // so that user properties are passed on
	return b, nil
}

func (c Config) withDefaults() (Config, string, error) {
	if c.Address == "" {
		c.Address = DefaultAddress
	}
	u, err := url.Parse(c.Address)
	if err != nil || u.Port() == "" || (u.Scheme != "tcp" && u.Scheme != "tls") {
		return c, "", fmt.Errorf("bus/broker: Config.Address is %q: use tcp://host:port or tls://host:port", c.Address)
	}
	if u.Scheme == "tls" && c.TLS == nil {
		return c, "", fmt.Errorf("bus/broker: Config.Address is %q: tls needs a certificate in Config.TLS", c.Address)
	}
	if u.Scheme == "tcp" {
		c.TLS = nil
	}
	if c.MaxPacket < 0 || c.MaxInflight < 0 || c.MaxInflight > math.MaxUint16 || c.MaxClients < 0 || c.WriteBuffer < 0 || c.SessionExpiry < 0 || c.MaxPacket > bus.MaxPayload {
		return c, "", errors.New("bus/broker: a limit in Config is out of range: none may be negative, MaxInflight ends at 65535 and MaxPacket at 255 MiB")
	}
	setDefault(&c.MaxPacket, 1<<20)
	setDefault(&c.MaxInflight, 4096)
	setDefault(&c.MaxClients, 1000)
	setDefault(&c.WriteBuffer, 1<<20)
	setDefault(&c.SessionExpiry, 24*time.Hour)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, u.Host, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Run listens and serves until ctx ends. If it cannot listen, its error wraps the
// system's and names the remedy. A second call returns bus.ErrStarted.
func (b *Broker) Run(ctx context.Context) error {
	if b.started.Swap(true) {
		return bus.ErrStarted
	}
	inner, err := (&net.ListenConfig{}).Listen(ctx, "tcp", b.host)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("bus/broker: address %s is in use, perhaps by another MQTT broker: stop that one, choose another address, or use it with MQTT mode external: %w", b.host, err)
		}
		return fmt.Errorf("bus/broker: cannot listen at %s: %w", b.host, err)
	}
	b.warnIfOpen(inner.Addr())
	b.addr.Store(inner.Addr())
	conns := newListener(inner, b.cfg.TLS, b.cfg.WriteBuffer, b.hook.notReading)
	defer conns.shutdown() // also waits for the connections' writers
	if err := b.server.AddListener(newServer(conns, b.log)); err != nil {
		return fmt.Errorf("bus/broker: %w", err)
	}
	if err := b.server.Serve(); err != nil {
		return fmt.Errorf("bus/broker: %w", err)
	}
	b.running.Store(true)
	close(b.ready)
	<-ctx.Done()
	b.running.Store(false)
	conns.expire(500 * time.Millisecond)
	if err := b.server.Close(); err != nil {
		return fmt.Errorf("bus/broker: %w", err)
	}
	return nil
}

// warnIfOpen logs a warning if everyone on the network may connect.
func (b *Broker) warnIfOpen(addr net.Addr) {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() || b.cfg.Authenticate != nil {
		return
	}
	if b.cfg.TLS != nil && b.cfg.TLS.ClientAuth >= tls.RequireAnyClientCert {
		return
	}
	b.log.Warn("MQTT broker is open to the network without authentication", "address", addr.String())
}

// Ready is closed when the broker listens.
func (b *Broker) Ready() <-chan struct{} { return b.ready }

// Addr is where the broker listens; nil before Ready.
func (b *Broker) Addr() net.Addr {
	addr, _ := b.addr.Load().(net.Addr)
	return addr
}

// Stats are counters since the start.
type Stats struct {
	Clients      int64 // connected now
	Received     int64 // messages from clients
	Sent         int64 // messages to clients
	Dropped      int64 // messages not sent to a client at one of its limits
	Disconnected int64 // clients whose connection was closed because they were too slow
}

// Stats returns the broker's counters.
func (b *Broker) Stats() Stats {
	info := b.server.Info
	return Stats{
		Clients:      atomic.LoadInt64(&info.ClientsConnected),
		Received:     atomic.LoadInt64(&info.MessagesReceived),
		Sent:         atomic.LoadInt64(&info.MessagesSent),
		Dropped:      atomic.LoadInt64(&info.MessagesDropped) + atomic.LoadInt64(&info.InflightDropped),
		Disconnected: b.hook.slow.Load(),
	}
}

// Publish passes m to the sessions of all subscribers and to the program's own
// subscriptions before it returns. Authenticate does not apply to the program
// itself.
func (b *Broker) Publish(_ context.Context, m bus.Message) error {
	if !b.running.Load() {
		return bus.ErrNotRunning
	}
	if err := m.Validate(); err != nil {
		return err
	}
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: byte(m.QoS), Retain: m.Retain},
		TopicName:   m.Topic,
		Payload:     slices.Clone(m.Payload),
		PacketID:    uint16(m.QoS), // any but 0 passes mochi's check; it is not used
	}
	for _, p := range m.Properties {
		pk.Properties.User = append(pk.Properties.User, packets.UserProperty{Key: p.Key, Val: p.Value})
	}
	if err := b.server.InjectPacket(b.inline, pk); err != nil {
		return fmt.Errorf("bus/broker: publish to %s: %w", m.Topic, err)
	}
	return nil
}

// Subscribe calls deliver in the goroutine of the publisher, first with the
// matching retained messages.
func (b *Broker) Subscribe(filter string, deliver func(bus.Message)) (stop func(), err error) {
	if err := bus.ValidateFilter(filter); err != nil {
		return nil, err
	}
	id := int(b.nextSub.Add(1))
	var replay atomic.Bool // mochi replays retained messages inside of its Subscribe
	replay.Store(true)
	err = b.server.Subscribe(filter, id, func(_ *mqtt.Client, _ packets.Subscription, pk packets.Packet) {
		deliver(message(pk, replay.Load()))
	})
	replay.Store(false)
	if err != nil {
		return nil, fmt.Errorf("bus/broker: subscribe to %s: %w", filter, err)
	}
	return func() {
		if err := b.server.Unsubscribe(filter, id); err != nil {
			b.log.Warn("cannot unsubscribe", "filter", filter, "error", err)
		}
	}, nil
}

// message copies a packet, which other subscribers share.
func message(pk packets.Packet, replayed bool) bus.Message {
	m := bus.Message{
		Topic:   pk.TopicName,
		Payload: slices.Clone(pk.Payload),
		QoS:     bus.QoS(pk.FixedHeader.Qos),
		Retain:  pk.FixedHeader.Retain && replayed,
	}
	for _, p := range pk.Properties.User {
		m.Properties = append(m.Properties, bus.Property{Key: p.Key, Value: p.Val})
	}
	return m
}
