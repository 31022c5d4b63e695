package main

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/bus/access"
	busmetrics "github.com/edgekit/edgekit/bus/metrics"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/apiserver"
	"github.com/edgekit/edgekit/meta/kube"
	"github.com/edgekit/edgekit/meta/manager"
	storemetrics "github.com/edgekit/edgekit/meta/metrics"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicesync"
	twinmqtt "github.com/edgekit/edgekit/twin/mqtt"
)

// Optional interfaces of the agent, which kube.Client implements. LastReports: conditions
// keep their times over a restart. BoundPodLister: after the store was lost, the cloud says
// which pods are bound to this node. Mirrorer: the API server shows static pods.
// NodeDeletionWatcher: the agent registers its Node again after it was deleted.
// RuntimeClassReader: pods may name runtime classes.
// TrustBundleReader, PodCertificates: for projected volumes. ReleaseStore: pods that were
// held and are released stay so.
var _ interface {
	edged.LastReports
	edged.BoundPodLister
	edged.Mirrorer
	edged.NodeDeletionWatcher
	edged.RuntimeClassReader
	edged.TrustBundleReader
	edged.PodCertificates
	edged.ReleaseStore
} = (*kube.Client)(nil)

// parts are the running pieces of the agent by their names in failures.
type parts map[string]func(context.Context) error

// assemble makes all parts of the agent, and starts none. Each part needs the one before
// it: the link carries queries (manager.Config.Caller), MetaManager stores and queries
// objects, kube.Client gives them Kubernetes' types, and the agent runs the pods. The link
// gets its endpoints, which are made of MetaManager, only when it runs.
func (r *runCmd) assemble(ctx context.Context, n *node, cli *cli, runtime containerRuntime, log *slog.Logger) (parts, error) {
	listener, err := r.listenAPI(log)
	if err != nil {
		return nil, err
	}
	link := &link{log: log, cfg: hub.ClientConfig{
		Dialer: n.dialer, Node: n.name, Instance: n.instance, Version: program.Version(),
		Capabilities: r.capabilities(), Logger: component(log, "hub"),
	}}
	if link.cfg.Earlier, err = rememberRun(ctx, n.store, n.instance); err != nil {
		log.Warn("the runs of this node cannot be stored: if the hello of a killed run arrives late, this run may have no link for some minutes", "err", err)
	}
	if err := link.renew(); err != nil {
		return nil, err
	}
	n.health = &health{dir: n.data, identity: n.identity.Stats, clockAhead: func(now time.Time) (time.Duration, bool) { return link.client.Load().ClockAhead(now) }}
	mgr, err := manager.New(manager.Config{Store: n.store, Caller: link, Node: n.name, Logger: component(log, "meta")})
	if err != nil {
		return nil, err
	}
	objects, err := kube.New(kube.Config{Store: n.store, Manager: mgr, Node: n.name, Logger: component(log, "meta")})
	if err != nil {
		return nil, err
	}
	endpoints := hub.Endpoints{
		Down: n.tracer.Sink(mgr.Down()), Up: n.tracer.Outbox(mgr.StateOutbox()), Outbox: mgr.EventOutbox(), Mux: &hub.Mux{},
		Connected: []func(hub.Info){n.connected(ctx, mgr, objects)},
	}
	// The agent gives its pods the CA of the node's own API, the kubelet API reads the
	// agent's pods, and the node's own API sends logs and exec to the kubelet API: so
	// they are made in the order authority, agent, kubelet API, node's own API.
	authority, err := apiserver.OpenAuthority(filepath.Join(n.data, apiDir))
	if err != nil {
		return nil, err
	}
	taints, err := parseTaints(r.RegisterTaints)
	if err != nil {
		return nil, err
	}
	logs, err := r.logs()
	if err != nil {
		return nil, err
	}
	images, err := r.images()
	if err != nil {
		return nil, err
	}
	images.InUse = n.pinnedImages
	divided, err := r.resources()
	if err != nil {
		return nil, err
	}
	aligned, err := r.topology()
	if err != nil {
		return nil, err
	}
	reports := newStorageReports(objects, n.name, component(log, "csi"))
	devices, plugins, err := r.devicePlugins(n, log)
	if err != nil {
		return nil, err
	}
	drivers, err := r.plugins(n, objects, reports, plugins, log)
	if err != nil {
		return nil, err
	}
	settings := edged.Config{
		NodeName: n.name, Version: program.NodeVersion(edged.DefaultVersion), Runtime: runtime, Objects: objects, Reports: traceReports(n.tracer, reports), Trace: n.tracer.PodTrace(), CSI: drivers.csi, ResourceClaims: drivers.claims, Devices: devices,
		Root: n.pods, LogRoot: r.PodLogDir, KernelLog: r.KernelLog, CgroupRoot: r.CgroupRoot, NodeIPs: r.NodeIP, WatchAddresses: true, Labels: r.NodeLabels, Annotations: r.NodeAnnotations, Taints: taints, MaxPods: r.MaxPods,
		ClusterDNS: r.ClusterDNS, ClusterDomain: r.ClusterDomain, ResolvConf: r.ResolvConf, StaticPodDir: r.StaticPodDir,
		SeccompDefault: r.SeccompDefault,
		ContainerLogs:  logs, ImageGC: images, Eviction: r.eviction(),
		Resources: divided, Topology: aligned, PodCgroups: toggle(r.CgroupsPerQOS),
		Store: n.store, UserNamespacesIDsPerPod: r.UserNamespacesIDs,
		API: edged.LocalAPI{Address: r.LocalAPIListen, CA: authority.CertPEM()},
		Conditions: func() []corev1.NodeCondition {
			now := time.Now()
			return append(r.conditions(n.outside.Load(), now), n.health.condition(now))
		},
		Unwritable: func() error { return n.store.Stats().Failure },
		Logger:     component(log, "edged"),
	}
	if err := r.setImages(&settings, objects, settings.Logger); err != nil {
		return nil, err
	}
	if err := r.apply(&settings); err != nil {
		return nil, err
	}
	settings.Shutdown.Flush = sendLast(mgr)
	agent, err := edged.New(settings)
	if err != nil {
		return nil, err
	}
	if n.upgrades, err = r.newUpgrades(n, cli, mgr, agent, objects, log); err != nil {
		return nil, err
	}
	if n.metrics, err = newRegistry(n, link); err != nil {
		return nil, err
	}
	n.metrics.MustRegister(agent, runtime, storemetrics.NewManager(mgr), drivers.claims, newJobMetrics(n.upgrades.runner.Stats), newUpgradeMetrics(n.upgrades.programs))
	granted, err := r.podResources(agent, devices, claimsView{drivers.claims}, log)
	if err != nil {
		return nil, err
	}
	if granted != nil {
		n.metrics.MustRegister(granted)
	}
	state := r.newNodeState(n, mgr, link, agent, runtime)
	kubelet, err := r.kubelet(n, agent, runtime, state, n.metrics, endpoints.Mux, log)
	if err != nil {
		return nil, err
	}
	n.kubelet = kubelet
	engine, err := r.engine(n, log)
	if err != nil {
		return nil, err
	}
	n.base = cli.starts.program.Base
	state.devices, n.health.devices, state.slot = engine.Devices, engine.Devices, cli.starts.program.Slot
	more := []map[string]http.Handler{unholdPaths(agent, n.name), jobPaths(n.upgrades.runner), machinePaths(agent, engine), linkPaths(n, mgr)}
	api, err := r.localAPI(n, mgr, link, listener, authority, kubelet, more, engine, log)
	if err != nil {
		return nil, err
	}
	users, err := r.access(n, api, agent, engine, log)
	if err != nil {
		return nil, err
	}
	all := parts{
		"kubelet socket": func(ctx context.Context) error {
			return serveSocket(ctx, filepath.Join(n.data, apiDir, kubeletSocket), kubelet, log)
		},
		"kubelet": kubelet.Run, "identity": n.identity.Run, "meta": mgr.Run, "meta client": objects.Run, "hub": func(ctx context.Context) error { return link.run(ctx, endpoints) },
		"edged": agent.Run, "local API": api.Run,
		"store":   func(ctx context.Context) error { return n.watchStore(ctx, objects) },
		"systemd": reportToSystemd(ctx, n, mgr, component(log, "systemd")),
	}
	if plugins != nil {
		all["device plugins"] = plugins.Run
	}
	if granted != nil {
		all["pod resources"] = granted.Run
	}
	drivers.addTo(all, agent, reports)
	n.upgrades.addTo(all)
	n.metrics.MustRegister(storemetrics.NewAPI(api.Stats))
	all["metrics"] = monitor(r.MetricsListen, kubelet)
	n.addTracing(all, engine)
	return all, r.addDevices(all, n, mgr, engine, users, &endpoints, link, state, log)
}

func toggle(on bool) edged.Toggle {
	if on {
		return edged.On
	}
	return edged.Off
}

// addDevices makes the parts that concern devices, and registers their metrics.
func (r *runCmd) addDevices(all parts, n *node, mgr *manager.Manager, engine *twin.Engine, users *access.Access, ends *hub.Endpoints, link *link, state *nodeState, log *slog.Logger) error {
	if r.Pipelines && users != nil {
		n.mqttSocket = filepath.Join(n.pipelinesFolder(), wire.MQTTSocket)
	}
	b, internal, err := r.bus(n, users, log)
	if err != nil {
		return err
	}
	topics, err := twinmqtt.New(twinmqtt.Config{Engine: engine, Bus: b, Node: n.name, Published: n.tracer.Published(), Logger: component(log, "twin")})
	if err != nil {
		return err
	}
	resources, err := devicesync.New(devicesync.Config{Engine: engine, Store: n.store, Reporter: n.tracer.Reporter(mgr), Logger: component(log, "twin")})
	if err != nil {
		return err
	}
	rules, err := r.addRules(all, n, b, ends, link, log)
	if err != nil {
		return err
	}
	if rules != nil {
		n.metrics.MustRegister(rules)
	}
	if err := r.addPipelines(all, n, mgr, ends, log); err != nil {
		return err
	}
	if users != nil {
		all["MQTT access"] = users.Run
		n.metrics.MustRegister(busmetrics.NewAccess(users.Stats))
	}
	all["memory"] = trimMemory(component(log, "memory"))
	topicsOfJobs := &jobTopics{bus: b, jobs: n.upgrades.runner, node: n.name, log: component(log, "jobs")}
	all["job topics"] = topicsOfJobs.run
	found := newFoundDevices(b, n.name, component(log, "devices"))
	all["found devices"], state.found = found.run, found
	all["link state"] = publishLinkState(b, mgr, component(log, "bus"))
	all["link state to twin"] = passLinkState(resources, mgr)
	all["bus"], all["twin"], all["twin topics"], all["twin resources"] = b.Run, engine.Run, topics.Run, resources.Run
	if internal != nil {
		state.broker = internal.Stats
		n.metrics.MustRegister(busmetrics.NewBroker(internal.Stats))
	}
	mappers, err := r.dmi(n, engine, topics, log)
	if err != nil {
		return err
	}
	if mappers != nil {
		all["DMI"] = mappers.Run
		n.metrics.MustRegister(newDMIMetrics(mappers.Stats))
	}
	return nil
}
