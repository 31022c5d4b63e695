package broker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"time"

	"github.com/edgekit/edgekit/bus"
)

// DefaultAddress is where the broker listens when Config.Address is empty.
const DefaultAddress = "tcp://127.0.0.1:1884"

// Config sets up a Broker. Every field may be left out.
type Config struct {
	// Address is tcp://host:port, tls://host:port, ws://host:port/path,
	// wss://host:port/path or unix:///path of a socket; empty means DefaultAddress.
	// Port 0 takes a free port; see Addr.
	Address string
	// Listen are further addresses, written like Address.
	Listen []string
	// NoListen has the broker listen nowhere: it serves the program alone, as the Outbox of a
	// bus.Bus for example. Address and Listen must be empty.
	NoListen bool
	// TLS is required for tls:// and wss:// and unused for others. It is not changed.
	// To ask clients for certificates set its ClientAuth and ClientCAs.
	TLS *tls.Config
	// Authenticate accepts or rejects each client that connects; nil accepts all.
	// It is called by many goroutines at once. With Access it must be nil.
	Authenticate func(Login) bool
	// Access says who may connect and what each may do; nil allows everything to
	// everyone whom Authenticate accepts.
	Access Access
	// AllowRemoteAnonymous lets clients in without authentication at an address that other
	// machines can reach. Without it New refuses such an address.
	AllowRemoteAnonymous bool

	// MaxPacket is the largest packet in bytes that a client may send; 0
	// means 1 MiB. A larger one ends its connection. MQTT 5 clients see
	// the limit in CONNACK.
	MaxPacket int
	// MaxInflight is how many messages of QoS 1 and 2 may be unacknowledged at once on one
	// connection, in each direction; 0 means 4096, at most 65535.
	MaxInflight int
	// MaxClients is how many clients may be connected at once; 0 means 1000.
	MaxClients int
	// MaxPerAddress is how many connections one address of another machine may have; 0
	// means 256.
	MaxPerAddress int
	// MaxPending is how many connections may be open before their CONNECT is accepted; 0
	// means 256. Other machines may have three quarters of them.
	MaxPending int
	// MaxSessions is how many sessions that outlive their connection are kept; 0 means
	// 1000. Further clients get sessions that end with the connection.
	MaxSessions int
	// MaxSubscriptions is how many subscriptions one client may have; 0 means 1000.
	MaxSubscriptions int
	// MaxQueue and MaxQueueBytes are how many messages of QoS 1 and 2 one session holds that
	// its client has not acknowledged; 0 means 50,000 and 8 MiB. Beyond it new ones are
	// dropped for that session, counted and logged.
	MaxQueue, MaxQueueBytes int
	// MaxQueuedBytes is the same for all sessions together, where a message counts once; 0
	// means 32 MiB.
	MaxQueuedBytes int
	// MaxRetained and MaxRetainedBytes are how many retained messages are kept; 0 means 10,000
	// and 16 MiB. Beyond it a message on a new topic is passed on and not kept.
	MaxRetained, MaxRetainedBytes int
	// WriteBuffer is how many bytes may wait for one connection; 0 means 256 KiB. Beyond it
	// messages of QoS 0 are dropped, and others wait in the session.
	WriteBuffer int
	// SessionExpiry is the longest time for which the session of a disconnected
	// client is kept; 0 means 24 h.
	SessionExpiry time.Duration
	// MaxKeepalive is the longest keepalive of a client; 0 leaves it to the client. MQTT 5
	// clients with a longer one get this one in CONNACK (server keep alive).
	MaxKeepalive time.Duration

	// Storage keeps what must survive a restart; nil keeps everything in memory.
	Storage Storage
	// Logger logs what the broker does; nil discards.
	Logger *slog.Logger
}

// endpoint is one address at which the broker listens.
type endpoint struct {
	scheme string // tcp, tls, ws, wss, unix
	host   string // host:port, or the path of the unix socket
	path   string // of ws and wss
}

func (c Config) withDefaults() (Config, []endpoint, error) {
	if c.Authenticate != nil {
		if c.Access != nil {
			return c, nil, errors.New("bus/broker: Config.Authenticate and Config.Access are both set: leave one out")
		}
		c.Access = function(c.Authenticate)
	}
	if c.MaxPacket < 0 || c.MaxInflight < 0 || c.MaxInflight > math.MaxUint16 || c.MaxClients < 0 || c.WriteBuffer < 0 || c.SessionExpiry < 0 || c.MaxPacket > bus.MaxPayload ||
		c.MaxPerAddress < 0 || c.MaxPending < 0 || c.MaxSessions < 0 || c.MaxSubscriptions < 0 || c.MaxQueue < 0 || c.MaxQueueBytes < 0 ||
		c.MaxQueuedBytes < 0 || c.MaxRetained < 0 || c.MaxRetainedBytes < 0 || c.MaxKeepalive < 0 || c.MaxKeepalive > math.MaxUint16*time.Second {
		return c, nil, errors.New("bus/broker: a limit in Config is out of range: none may be negative, MaxInflight ends at 65535, MaxKeepalive at 18h and MaxPacket at 255 MiB")
	}
	setDefault(&c.Address, DefaultAddress)
	setDefault(&c.MaxPacket, 1<<20)
	setDefault(&c.MaxInflight, 4096)
	setDefault(&c.MaxClients, 1000)
	setDefault(&c.MaxPerAddress, 256)
	setDefault(&c.MaxPending, 256)
	setDefault(&c.MaxSessions, 1000)
	setDefault(&c.MaxSubscriptions, 1000)
	setDefault(&c.MaxQueue, 50_000)
	setDefault(&c.MaxQueueBytes, 8<<20)
	setDefault(&c.MaxQueuedBytes, 32<<20)
	setDefault(&c.MaxRetained, 10_000)
	setDefault(&c.MaxRetainedBytes, 16<<20)
	setDefault(&c.WriteBuffer, 256<<10)
	setDefault(&c.SessionExpiry, 24*time.Hour)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.NoListen {
		if c.Address != DefaultAddress || len(c.Listen) > 0 {
			return c, nil, errors.New("bus/broker: Config.NoListen is set: leave Config.Address and Config.Listen empty")
		}
		return c, nil, nil
	}
	var all []endpoint
	for i, address := range append([]string{c.Address}, c.Listen...) {
		field := "Config.Address"
		if i > 0 {
			field = fmt.Sprintf("Config.Listen[%d]", i-1)
		}
		e, err := c.parse(field, address)
		if err != nil {
			return c, nil, err
		}
		all = append(all, e)
	}
	return c, all, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// parse reads one address.
func (c *Config) parse(field, address string) (endpoint, error) {
	bad := func(reason string) (endpoint, error) {
		return endpoint{}, fmt.Errorf("bus/broker: %s is %q: %s", field, address, reason)
	}
	u, err := url.Parse(address)
	if err != nil {
		return bad("use tcp://host:port or tls://host:port")
	}
	e := endpoint{scheme: u.Scheme, host: u.Host, path: u.Path}
	switch u.Scheme {
	case "unix":
		if u.Host != "" || u.Path == "" {
			return bad("use unix:///path of the socket")
		}
		e.host, e.path = u.Path, ""
		return e, nil
	case "tcp", "tls":
		e.path = ""
	case "ws", "wss":
		setDefault(&e.path, "/mqtt")
	default:
		return bad("use tcp://host:port or tls://host:port, ws://, wss:// or unix:///path")
	}
	if u.Port() == "" {
		return bad("use " + u.Scheme + "://host:port")
	}
	if (u.Scheme == "tls" || u.Scheme == "wss") && c.TLS == nil {
		return bad(u.Scheme + " needs a certificate in Config.TLS")
	}
	if !loopback(u.Hostname()) && !c.AllowRemoteAnonymous && !c.authenticates(e) {
		return bad("other machines reach this address, and clients are not authenticated: use a loopback address, set Config.Access or Config.Authenticate, or set Config.AllowRemoteAnonymous")
	}
	return e, nil
}

// authenticates reports whether clients at the endpoint have to prove who they are.
func (c *Config) authenticates(e endpoint) bool {
	return c.Access != nil || (e.encrypted() && c.TLS.ClientAuth >= tls.RequireAnyClientCert)
}

func (e endpoint) encrypted() bool { return e.scheme == "tls" || e.scheme == "wss" }

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
