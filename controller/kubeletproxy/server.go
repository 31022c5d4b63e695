package kubeletproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/internal/auth"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/runguard"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/httplink"
	"github.com/edgekit/edgekit/meta/resources"
)

// Open opens a stream to a node; hub.Server.OpenStream is one.
type Open func(ctx context.Context, node string, m hub.Message) (hub.Stream, error)

// Config sets up a Server. Cloud, NodeClient and Address are required; a
// controller.Controller sets Cloud, NodeClient, Nodes and Logger where they are nil.
type Config struct {
	Cloud      kubernetes.Interface // cloudcore's own identity: to ask for users' rights
	NodeClient kubernetes.Interface // controller.NewNodeClient: to write endpoints
	// Nodes are the edge nodes. New subscribes to the store, which must not run
	// yet; nil knows no Nodes, and so no ports of before.
	Nodes *cache.Store[*corev1.Node]

	Address   netip.Addr // by which the API server and metrics-server reach this cloudcore
	Bind      string     // address to listen on; "" means Address, "0.0.0.0" or "::" all
	FirstPort int        // of the nodes' ports; 0 means 20000
	Ports     int        // how many there are; 0 means 10000

	// AddressType is the type of the address under which a Node lists this cloudcore: the
	// API server dials the first address of the first type in its list that a Node has
	// (--kubelet-preferred-address-types). "" means InternalIP, which every API server
	// dials, and which other programs then take for the node's own. With InternalDNS,
	// ExternalDNS, ExternalIP or Hostname the node's own InternalIP comes first; the API
	// server must prefer that type to InternalIP. AddressNone lists no address.
	AddressType corev1.NodeAddressType
	// Hostname leaves a node the address of type Hostname that it reports. It is
	// for API servers that prefer InternalIP (--kubelet-preferred-address-types;
	// kubeadm and k3s set it so): others would dial the name instead of this
	// cloudcore.
	Hostname bool

	// Certificate is the endpoints' server certificate, asked for at each
	// connection; nil makes a self-signed one for Address. An API server accepts
	// any certificate unless it is given the authority of kubelets
	// (--kubelet-certificate-authority): cloudcore uses edgekit's own authority
	// (join.Keyring.ServerCertificate).
	Certificate func() (*tls.Certificate, error)
	// ClientCA returns the PEM of the authorities of clients; nil reads the
	// cluster's, from the config map extension-apiserver-authentication in
	// kube-system.
	ClientCA func(context.Context) ([]byte, error)

	MaxSessions     int // logs, execs, attaches and port forwards at once; 0 means 10000
	MaxNodeSessions int // of one node; 0 means 2000
	// MaxConnections is how many connections may be open; one more is closed at
	// once. 0 means MaxSessions and 1000.
	MaxConnections int
	// MaxUnauthenticated is how many of them may be of clients that are not authenticated
	// yet, MaxUnauthenticatedPerNetwork how many of one network (IPv4 /24, IPv6 /64). A
	// further one closes the oldest of them. 0 means 1024 and 128.
	MaxUnauthenticated, MaxUnauthenticatedPerNetwork int

	Metrics prometheus.Registerer // nil registers the metrics nowhere
	Logger  *slog.Logger          // nil discards
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Cloud == nil || c.NodeClient == nil:
		return c, errors.New("kubeletproxy: Config.Cloud and NodeClient are required")
	case !c.Address.IsValid() || c.Address.IsUnspecified():
		return c, errors.New("kubeletproxy: Config.Address is required: the IP by which the API server reaches this cloudcore")
	case c.MaxSessions < 0, c.MaxNodeSessions < 0, c.MaxConnections < 0, c.MaxUnauthenticated < 0, c.MaxUnauthenticatedPerNetwork < 0:
		return c, errors.New("kubeletproxy: a limit in Config is negative: leave it 0 for the default")
	}
	switch c.AddressType {
	case "":
		c.AddressType = corev1.NodeInternalIP
	case corev1.NodeInternalIP, corev1.NodeInternalDNS, corev1.NodeExternalIP, corev1.NodeExternalDNS, corev1.NodeHostName, AddressNone:
	default:
		return c, fmt.Errorf("kubeletproxy: Config.AddressType is %q: want InternalIP, InternalDNS, ExternalIP, ExternalDNS, Hostname or none", c.AddressType)
	}
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.FirstPort, 20000)
	def(&c.Ports, 10000)
	def(&c.MaxSessions, 10000)
	def(&c.MaxNodeSessions, 2000)
	def(&c.MaxConnections, c.MaxSessions+1000)
	def(&c.MaxUnauthenticated, 1024)
	def(&c.MaxUnauthenticatedPerNetwork, 128)
	if c.Bind == "" {
		c.Bind = c.Address.String()
	}
	if c.FirstPort < 1 || c.Ports < 1 || c.FirstPort+c.Ports-1 > 65535 {
		return c, fmt.Errorf("kubeletproxy: ports %d to %d: want a range within 1 to 65535", c.FirstPort, c.FirstPort+c.Ports-1)
	}
	if c.Certificate == nil {
		c.Certificate = (&selfSigned{host: c.Address.String()}).current
	}
	if c.ClientCA == nil {
		c.ClientCA = clusterClientCA(c.Cloud)
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// The ports of Services of type NodePort, unless an API server is given others
// (--service-node-port-range).
const (
	firstNodePort = 30000
	lastNodePort  = 32767
)

// lossGrace is how long a client may take to read the rest of its session after its
// node's link was lost.
const lossGrace = 5 * time.Second

// Server serves the nodes' kubelet endpoints. Its methods may be called by
// several goroutines at once.
type Server struct {
	cfg      Config
	log      *slog.Logger
	guard    runguard.Guard
	http     *http.Server
	proxy    *httputil.ReverseProxy
	auth     *authenticator
	rights   *auth.Rights
	limiter  *connLimiter
	sessions *sessions
	requests runguard.Requests
	wake     chan struct{} // holds a value: a Node is to be written
	grace    time.Duration // for clients whose node's link was lost
	handover time.Duration // handoverTime

	mu      sync.Mutex
	byNode  map[string]*endpoint
	byPort  map[int]*endpoint
	records records
	due     map[string]bool // Nodes to be written
	// moved are the endpoints whose nodes changed over to another cloudcore, the oldest first.
	moved     []movedEndpoint
	movedWake chan struct{}
	forwards  int           // connections that another cloudcore serves
	forwarded chan struct{} // closed when there are none any more; nil without
	// openStream is what Run was given; nil before.
	openStream Open
	// serve answers on a listener; nil while Run does not run.
	serve func(net.Listener)
	// dial connects to another cloudcore's endpoint, until closed is; nil while Run does not run.
	dial func(to netip.AddrPort, closed <-chan struct{}) (net.Conn, error)
}

// New checks cfg and makes a Server. Nothing happens until Run.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.FirstPort <= lastNodePort && cfg.FirstPort+cfg.Ports > firstNodePort {
		cfg.Logger.Warn("the kubelet ports overlap Kubernetes' NodePorts: if kube-proxy runs on this machine, a Service with such a NodePort receives what the API server sends to a node; choose other ports",
			"first", cfg.FirstPort, "ports", cfg.Ports, "nodeports", fmt.Sprintf("%d-%d", firstNodePort, lastNodePort))
	}
	s := &Server{
		cfg: cfg, log: cfg.Logger, wake: make(chan struct{}, 1), grace: lossGrace, handover: handoverTime, movedWake: make(chan struct{}, 1),
		byNode: make(map[string]*endpoint), byPort: make(map[int]*endpoint), due: make(map[string]bool),
		records: records{port: make(map[string]int), nodes: make(map[int][]string)},
		auth:    newAuthenticator(cfg), rights: newRights(cfg.Cloud, cfg.Logger), limiter: newConnLimiter(cfg),
	}
	if s.sessions, err = newSessions(cfg); err != nil {
		return nil, fmt.Errorf("kubeletproxy: %w", err)
	}
	s.proxy = s.newProxy(httplink.NewTransport(s.open))
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 15 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ConnContext:       withConn,
		ConnState:         s.stateChanged,
		// HTTP/1.1 alone: a connection that has to move to another cloudcore can be closed between two
		// requests, and the client repeats one that it had just sent.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ErrorLog:     slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			// ServeHTTP verifies the certificate, because only an HTTP answer can explain a refusal.
			ClientAuth:     tls.RequestClientCert,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cfg.Certificate() },
		},
	}
	if cfg.Nodes != nil {
		cfg.Nodes.OnChange(s.nodeChanged)
	}
	return s, nil
}

// Run serves until ctx ends, with streams to nodes from open. It then ends all sessions, waits
// for everything that it started, and returns nil. A second Run returns
// controller.ErrStarted.
func (s *Server) Run(ctx context.Context, open Open) error {
	if open == nil {
		return errors.New("kubeletproxy: Run needs a function that opens streams: give hub.Server.OpenStream")
	}
	if err := s.guard.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	var wg sync.WaitGroup
	s.mu.Lock()
	s.openStream = open
	s.serve = func(l net.Listener) {
		wg.Go(func() {
			if err := s.http.ServeTLS(l, "", ""); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				s.log.Warn("a node's endpoint is closed", "address", l.Addr().String(), "err", err)
			}
		})
	}
	s.dial = func(to netip.AddrPort, closed <-chan struct{}) (net.Conn, error) {
		return dialEndpoint(ctx, to, closed, s.handover)
	}
	for _, st := range s.byNode {
		if err := s.listenLocked(st); err != nil {
			s.log.Error("a node's kubelet endpoint cannot be opened: kubectl logs and exec will not reach it", "node", st.node, "err", err)
		}
	}
	s.mu.Unlock()
	wg.Go(func() { s.auth.run(ctx) })
	wg.Go(func() { s.writeEndpoints(ctx) })
	wg.Go(func() { s.closeMoved(ctx) })
	<-ctx.Done()
	s.mu.Lock()
	s.serve, s.dial = nil, nil // no goroutine may be added once they are being joined
	s.mu.Unlock()
	cancel()
	err := s.http.Close()
	wg.Wait()
	s.requests.Close()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("kubeletproxy: %w", err)
	}
	return nil
}

// open opens the stream of a request.
func (s *Server) open(ctx context.Context, node string) (hub.Stream, error) {
	s.mu.Lock()
	openStream := s.openStream
	s.mu.Unlock()
	if openStream == nil {
		return nil, hub.ErrOffline
	}
	st, err := openStream(ctx, node, hub.Message{Key: hub.Key{Resource: resources.NodeProxy, Name: node}})
	if err != nil {
		return nil, err
	}
	return counted(ctx, st), nil
}
