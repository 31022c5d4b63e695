package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/cmd/internal/kube"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/tracing"
	"github.com/edgekit/edgekit/controller"
	"github.com/edgekit/edgekit/controller/delegated"
	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/kubeletproxy"
	"github.com/edgekit/edgekit/controller/nodeapi"
	"github.com/edgekit/edgekit/controller/rules"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/metrics"
)

// runCmd runs the server. Its fields are the server's settings.
type runCmd struct {
	Kubeconfig        string         `help:"Kubeconfig of the API server. Default: the service account of the pod, or KUBECONFIG, or ~/.kube/config." placeholder:"FILE"`
	Listen            string         `help:"Where edge nodes connect: join and WebSocket on the TCP port, QUIC on the UDP port." default:":10000" placeholder:"ADDR"`
	QUIC              bool           `help:"Serve QUIC too, on the UDP port of --listen." default:"true" negatable:""`
	Advertise         []string       `help:"Addresses by which edge nodes reach this server, host:port. Its certificate names them. Default: all addresses of this machine." placeholder:"HOST:PORT"`
	ProxyProtocolFrom []netip.Prefix `help:"Networks of load balancers that begin each TCP connection with a PROXY protocol header (version 1 or 2): limits then apply to the addresses of the nodes. Connections from there without the header are closed." placeholder:"CIDR"`
	MetricsListen     string         `help:"Address of /healthz, /readyz, /metrics, /sd and /debug/pprof (plain HTTP). The last needs a token with the right to the non-resource URL, from this machine. Empty turns them off." default:"127.0.0.1:10001" placeholder:"ADDR"`
	MetricsOpen       bool           `help:"Allow --metrics-listen on an address that is not loopback. Clients are not authenticated."`
	Namespace         string         `help:"Namespace of edgekit's own objects: CA, join tokens, claims of node names, Leases." default:"edgekit-system"`
	Install           bool           `help:"Create the namespace and the device resources (CRDs) when they are missing." default:"true" negatable:""`
	MaxNodes          int            `help:"How many nodes may be connected; further nodes are refused. 0 means no limit." default:"0"`

	Impersonation string `help:"How cloudcore acts as nodes: constrained (Kubernetes 1.36 and later, with the role that 'edgectl manifest' prints), legacy (with that of 'edgectl manifest --impersonation=legacy'), or auto, which asks the API server." enum:"auto,constrained,legacy" default:"auto"`
	NodeServices  string `help:"Which nodes get all Namespaces, Services and EndpointSlices if they ask for them (edgecore --local-api-services): marked (nodes with the label edgekit.node-restriction.kubernetes.io/services=all) or all." enum:"marked,all" default:"marked"`

	NodeRequests     int `help:"How many requests of pods, through their nodes' own API, are open at the API server at a time, watches among them. Each takes about 50 KiB. Further ones get 429." default:"4096" name:"node-api-max-requests" placeholder:"N"`
	NodeRequestsEach int `help:"How many of these one node has." default:"256" name:"node-api-max-requests-per-node" placeholder:"N"`

	HandshakeRate int           `help:"How many nodes may connect in one second. Further nodes are asked to come back later." default:"1000" name:"max-handshake-rate"`
	Keepalive     time.Duration `help:"Time between two keepalives of an idle node. Over QUIC, nodes notice a restart of this server after this time, and a NAT must keep a mapping for as long. With tens of thousands of nodes, 1m saves half a core." default:"15s"`
	Drain         time.Duration `help:"When cloudcore stops, it asks its nodes to connect to another server, spread over this time so that they do not all arrive at once. Few nodes need less." default:"10s"`

	PodsNotReadyAfter time.Duration `name:"disconnected-pods-not-ready-after" help:"How long a node is without a link before its pods count as not ready in the API server (reason NodeDisconnected), so that Services do not lead to them. Nothing is evicted. 0 means never. The label edgekit.node-restriction.kubernetes.io/disconnected-pods-not-ready-after of a Node (a duration, or never) overrides it." default:"60s"`

	DeviceStatusEvery time.Duration `help:"Least time between two writes of one DeviceStatus." default:"1s"`
	DeviceWrites      int           `help:"How many writes about devices the API server gets in a second, whatever their number: DeviceStatuses, summaries in Devices, events. The newest values are written. -1 means no limit." default:"100" name:"device-writes-per-second"`

	Twins     twinsFlags     `embed:"" prefix:"twins-"`
	Trust     trustFlags     `embed:""`
	Kubelet   kubeletFlags   `embed:"" prefix:"kubelet-"`
	Rules     rulesFlags     `embed:"" prefix:"rules-"`
	Pipelines pipelinesFlags `embed:"" prefix:"pipelines-"`
	Jobs      jobsFlags      `embed:"" prefix:"jobs-"`
	Console   consoleFlags   `embed:"" prefix:"console-"`
	Groups    groupsFlags    `embed:"" prefix:"groups-"`
	Sites     sitesFlags     `embed:"" prefix:"sites-"`

	Tracing tracing.Flags `embed:"" prefix:"tracing-"`
}

// Run serves until ctx ends or a part fails.
func (r *runCmd) Run(ctx context.Context, cli *cli) error {
	setGCPercent()
	log := cli.Log.Logger(os.Stderr)
	cfg, err := kube.Config(r.Kubeconfig)
	if err != nil {
		return &program.UsageError{Setting: "kubeconfig", Reason: err.Error()}
	}
	if r.Keepalive < time.Second || r.Keepalive > 10*time.Minute {
		return &program.UsageError{Setting: "keepalive", Reason: "must be 1s to 10m"}
	}
	if r.NodeRequests < 1 || r.NodeRequestsEach < 1 {
		return &program.UsageError{Setting: "node-api-max-requests", Reason: "it and node-api-max-requests-per-node must be 1 or more"}
	}
	if r.DeviceStatusEvery < 100*time.Millisecond || r.DeviceStatusEvery > time.Hour {
		return &program.UsageError{Setting: "device-status-every", Reason: "must be 100ms to 1h"}
	}
	if r.DeviceWrites == 0 || r.DeviceWrites < -1 {
		return &program.UsageError{Setting: "device-writes-per-second", Reason: "must be 1 or more, or -1 for no limit"}
	}
	if err := checkNotReadyAfter(r.PodsNotReadyAfter); err != nil {
		return err
	}
	if err := checkMonitor(r.MetricsListen, r.MetricsOpen); err != nil {
		return err
	}
	if err := kube.Reach(ctx, cfg); err != nil {
		return program.UnlessEnded(ctx, err)
	}
	if r.Install {
		if err := install.Ensure(ctx, install.Config{REST: cfg, Namespace: r.Namespace}); err != nil {
			return program.UnlessEnded(ctx, err)
		}
	}
	listener, err := net.Listen("tcp", r.Listen)
	if err != nil {
		return &program.UsageError{Setting: "listen", Reason: err.Error() + ": choose a free address"}
	}
	defer listener.Close()
	s, err := r.assemble(ctx, cfg, listener, log)
	if err != nil {
		return program.UnlessEnded(ctx, err)
	}
	return s.run(ctx)
}

// server is cloudcore put together.
type server struct {
	id         string // of this run, among all cloudcores
	log        *slog.Logger
	controller *controller.Controller
	hub        *hub.Server
	edge       edgeServer
	trust      *trust
	guard      *join.Guard
	monitor    monitor
	draining   *atomic.Bool    // it stops: /readyz says so
	twins      *liveValues     // nil if they are not served
	tracer     *tracing.Tracer // nil if there are no traces
}

func (r *runCmd) assemble(ctx context.Context, cfg *rest.Config, listener net.Listener, log *slog.Logger) (*server, error) {
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("cloudcore: %w", err)
	}
	nodeClient, err := r.nodeClient(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	registry := newRegistry()
	trust, err := newTrust(ctx, r, client, log)
	if err != nil {
		return nil, err
	}
	kubelets, err := r.Kubelet.config(kubeletParts{
		addressType: func() corev1.NodeAddressType {
			return detectAddressType(ctx, client, r.Kubelet.Hostname, log.With("component", "kubelet"))
		},
		apiServer: cfg.Host, advertise: r.Advertise, issue: trust.keyring.ServerCertificate, metrics: registry, log: log,
	})
	if err != nil {
		return nil, err
	}
	pipelines, err := r.Pipelines.config(log)
	if err != nil {
		return nil, err
	}
	rules, err := r.rules(cfg, kubelets, trust, log)
	if err != nil {
		return nil, err
	}
	jobs, err := r.Jobs.config(log)
	if err != nil {
		return nil, err
	}
	edgeSyncs, err := r.Sites.config(log)
	if err != nil {
		return nil, err
	}
	nodeGroups, err := r.Groups.config(log)
	if err != nil {
		return nil, err
	}
	live, err := newLiveValues(r, cfg, client, trust, log)
	if err != nil {
		return nil, err
	}
	page, err := r.Console.config(consoleParts{advertise: r.Advertise, namespace: r.Namespace, issue: trust.keyring.ServerCertificate, log: log})
	if err != nil {
		return nil, err
	}
	id := instance()
	ctl, err := controller.New(controller.Config{
		Console: page, PodsNotReadyAfter: orNever(r.PodsNotReadyAfter), ReconnectGrace: reconnectGrace(r.Keepalive),
		DeviceStatusEvery: r.DeviceStatusEvery, DeviceWrites: r.DeviceWrites, Live: live.reports(),
		REST: cfg, Rules: rules, Pipelines: pipelines, Jobs: jobs, Groups: nodeGroups, Sites: edgeSyncs, NodeClient: nodeClient, NodeServices: nodeapi.Services(r.NodeServices), NodeRequests: r.NodeRequests, NodeRequestsEach: r.NodeRequestsEach, Metrics: registry, Namespace: r.Namespace, ID: id, Kubelet: kubelets, Logger: log.With("component", "controller"),
	})
	if err != nil {
		return nil, err
	}
	tracer, err := r.Tracing.New(tracing.Config{Service: "cloudcore", Version: program.Version(), Instance: id, Logger: log.With("component", "tracing")})
	if err != nil {
		return nil, err
	}
	mux := &hub.Mux{}
	nodes, err := hub.NewServer(hub.ServerConfig{
		Mux: mux, Version: program.Version(), MaxNodes: r.MaxNodes,
		HandshakeRate: r.HandshakeRate, Keepalive: r.Keepalive, Drain: r.Drain, Leaving: ctl.Leaving,
		Logger: log.With("component", "hub"),
	})
	if err != nil {
		return nil, err
	}
	guard, err := trust.newGuard(tracer.Directory(ctl), nodes.Disconnect, registry)
	if err != nil {
		return nil, err
	}
	edge, err := newEdgeServer(ctx, r, trust, listener, log)
	if err != nil {
		return nil, err
	}
	ctl.Handle(mux)
	links, err := metrics.New(metrics.Config{Stats: nodes.Stats})
	if err != nil {
		return nil, err
	}
	registry.MustRegister(tracing.Metrics(tracer), links, newLifecycleMetrics(ctl.LifecycleStats))
	if rules != nil {
		registry.MustRegister(newRulesMetrics(ctl.RulesStats))
	}
	if edgeSyncs != nil {
		registry.MustRegister(newSitesMetrics(ctl.SitesStats))
	}
	if pipelines != nil {
		registry.MustRegister(newPipelinesMetrics(ctl.PipelinesStats))
	}
	if nodeGroups != nil {
		registry.MustRegister(newGroupsMetrics(ctl.GroupsStats))
	}
	if jobs != nil {
		registry.MustRegister(newJobsMetrics(ctl.JobsStats))
	}
	fleet, err := ctl.FleetMetrics(nodes.Extremes, nodes.Stats)
	if err != nil {
		return nil, err
	}
	registry.MustRegister(fleet)
	users, err := delegated.New(delegated.Config{Cloud: client, Logger: log.With("component", "debug")})
	if err != nil {
		return nil, err
	}
	draining := new(atomic.Bool)
	return &server{
		id: id, draining: draining, log: log, controller: ctl, hub: nodes, edge: edge, trust: trust, guard: guard,
		monitor: newMonitor(r.MetricsListen, registry, ctl, draining, users), twins: live, tracer: tracer,
	}, nil
}

// rules sets up rules.
func (r *runCmd) rules(cfg *rest.Config, kubelets *kubeletproxy.Config, trust *trust, log *slog.Logger) (*rules.Config, error) {
	hosts, err := serverHosts(r.Advertise)
	if err != nil {
		return nil, err
	}
	parts := rulesParts{rest: cfg, hosts: hosts, issue: trust.keyring.ServerCertificate, bundle: trust.keyring.Bundle, log: log}
	if kubelets != nil {
		parts.address = kubelets.Address
		parts.hosts = append(parts.hosts, kubelets.Address.String())
	}
	return r.Rules.config(parts)
}

// nodeClient makes the client that acts as nodes.
func (r *runCmd) nodeClient(ctx context.Context, cfg *rest.Config, log *slog.Logger) (kubernetes.Interface, error) {
	mode := controller.Impersonation(r.Impersonation)
	if r.Impersonation == "auto" {
		var err error
		if mode, err = controller.DetectImpersonation(ctx, cfg); err != nil {
			return nil, err
		}
	}
	if mode == controller.ImpersonationLegacy {
		log.Warn("cloudcore uses the impersonation of Kubernetes before 1.36, which gives it the rights of an administrator; with Kubernetes 1.36 or later apply what 'edgectl manifest' prints")
	}
	return controller.NewNodeClient(cfg, mode)
}

// instance names this run of cloudcore among all replicas.
func instance() string {
	host, err := os.Hostname()
	if err != nil {
		host = "cloudcore"
	}
	return host + "-" + rand.Text()[:6]
}

// run serves until ctx ends or a part fails. When ctx ends, the nodes are handed over first: what
// writes their reports and answers them goes on until the last one has been asked to connect to
// another cloudcore.
func (s *server) run(ctx context.Context) error {
	defer s.edge.links.Close() // after the sessions, whose connections end with it
	all, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, all := errgroup.WithContext(all)
	links, cancel := context.WithCancel(all)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		s.draining.Store(true)
		cancel()
	})()
	group.Go(func() error {
		defer stop()
		err := s.hub.Serve(links, s.edge.links, s.guard)
		s.controller.HandedOver(all)
		return err
	})
	group.Go(func() error { return s.edge.run(links) })
	group.Go(func() error { return s.controller.Run(all, s.hub) })
	group.Go(func() error { return s.trust.watcher.Run(all, s.trust.changes(s.guard)) })
	group.Go(func() error { return s.trust.keepDecisions(all, s.controller.Mine) })
	group.Go(func() error { return returnMemory(all, s.hub) })
	group.Go(func() error { return s.monitor.run(all) })
	group.Go(func() error { return s.twins.run(all) })
	group.Go(func() error { return s.tracer.Run(all) })
	group.Go(func() error { return s.reportToSystemd(links) })
	group.Go(func() error {
		select {
		case <-s.controller.Ready():
			s.log.Info("cloudcore is ready", "version", program.Version(), "listen", s.edge.listener.Addr().String())
		case <-links.Done():
		}
		return nil
	})
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
