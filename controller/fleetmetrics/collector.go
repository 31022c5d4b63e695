package fleetmetrics

import (
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/controller/jobs"
	"github.com/edgekit/edgekit/hub"
)

// Nodes are the edge nodes as a cloudcore's cache has them. The cache of package controller
// implements it.
type Nodes interface {
	// Objects returns all nodes, in no order. They are shared and must not be written to.
	Objects() []*corev1.Node
}

// Config sets up a Collector. Nodes is required.
type Config struct {
	Nodes Nodes
	// Extremes are those of the links, hub.Server.Extremes; nil leaves out the backlog and the
	// clocks.
	Extremes func() hub.Extremes
	Stats    func() hub.Stats   // of the links, for the sum of the backlog; nil leaves it out
	Jobs     func() jobs.Counts // nil leaves out fleet jobs
	// EventWaits counts how often events of a node had to wait since they were too many; nil
	// leaves that out.
	EventWaits func() uint64
	Every      time.Duration    // least time between two looks at all; 0 means 10s, negative none
	Now        func() time.Time // nil means time.Now
}

// Collector is a prometheus.Collector of the fleet. Several goroutines may use it at once.
type Collector struct {
	cfg Config

	nodes, versions, degraded, expiring *prometheus.Desc
	fill, skew, stale, backlog          *prometheus.Desc
	jobs, jobNodes, waits               *prometheus.Desc

	mu   sync.Mutex
	last []prometheus.Metric // made at at
	at   time.Time
}

var _ prometheus.Collector = (*Collector)(nil)

// New checks the configuration.
func New(cfg Config) (*Collector, error) {
	if cfg.Nodes == nil {
		return nil, errors.New("fleetmetrics: Config.Nodes is required: give the cache of nodes")
	}
	if cfg.Every == 0 {
		cfg.Every = 10 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("edgekit_fleet_"+name, help, labels, nil)
	}
	return &Collector{
		cfg:      cfg,
		nodes:    desc("nodes", "Edge nodes by the state of their link: connected, disconnected, or unknown before the first link. The same at every cloudcore.", "state"),
		versions: desc("nodes_by_version", "Edge nodes by the version of their edgecore; \"other\" beyond the 20 most frequent, \"invalid\" for what is no version. The same at every cloudcore.", "version"),
		degraded: desc("nodes_degraded", "Edge nodes whose condition EdgeDegraded is true, by its reason. The same at every cloudcore.", "reason"),
		expiring: desc("certificates_expiring", "Edge nodes whose certificate, as they reported it, ends within this time or has ended. The same at every cloudcore.", "within"),
		fill:     desc("store_fill_ratio", "How full the fullest disk of a node's store is, as nodes reported it. The same at every cloudcore.", "stat"),
		skew:     desc("clock_skew_seconds", "How far the clock of a node is ahead of or behind that of this cloudcore at most, among the nodes that are connected here, by their last keepalives. Exact to half a round trip.", "stat"),
		stale:    desc("twins_stale", "Twins whose actual value is older than it may be, by the last report of each node. A node that is connected reports a change within an hour. The same at every cloudcore."),
		backlog:  desc("backlog_messages", "Objects and events that wait for nodes that are connected here: of all (sum), and of the node with most (max).", "stat"),
		jobs:     desc("jobs", "Fleet jobs that are stored, by kind and phase. The same at every cloudcore.", "kind", "phase"),
		waits:    desc("event_waits_total", "How often Kubernetes Events of a node had to wait at the node, since it reported more than 100 a second to this cloudcore."),
		jobNodes: desc("job_nodes", "Nodes of fleet jobs that go on, by the kind of the job and the phase of the node. The same at every cloudcore.", "kind", "phase"),
	}, nil
}

// Describe lists the metrics.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.nodes, c.versions, c.degraded, c.expiring, c.fill, c.stale} {
		out <- d
	}
	if c.cfg.Extremes != nil {
		out <- c.skew
	}
	if c.cfg.Extremes != nil || c.cfg.Stats != nil {
		out <- c.backlog
	}
	if c.cfg.EventWaits != nil {
		out <- c.waits
	}
	if c.cfg.Jobs != nil {
		out <- c.jobs
		out <- c.jobNodes
	}
}

// Collect sends the metrics, which are Config.Every old at most.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	for _, m := range c.current() {
		out <- m
	}
}

func (c *Collector) current() []prometheus.Metric {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	if c.last == nil || now.Sub(c.at) >= c.cfg.Every || now.Before(c.at) {
		c.last, c.at = c.look(now), now
	}
	return c.last
}

// look makes the metrics as of now.
func (c *Collector) look(now time.Time) []prometheus.Metric {
	var out []prometheus.Metric
	send := func(d *prometheus.Desc, v float64, labels ...string) {
		out = append(out, prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...))
	}
	s := summarize(c.cfg.Nodes, now)
	for state, n := range s.states {
		send(c.nodes, float64(n), state)
	}
	for version, n := range s.mostFrequent() {
		send(c.versions, float64(n), version)
	}
	for reason, n := range s.degraded {
		send(c.degraded, float64(n), reason)
	}
	for i, w := range windows() {
		send(c.expiring, float64(s.expiring[i]), w.name)
	}
	send(c.fill, float64(s.fill)/100, "max")
	send(c.stale, float64(s.stale))
	if c.cfg.Extremes != nil {
		x := c.cfg.Extremes()
		send(c.skew, x.ClockSkew.Seconds(), "max")
		send(c.backlog, float64(x.Queued), "max")
	}
	if c.cfg.Stats != nil {
		queued := c.cfg.Stats().Queued
		send(c.backlog, float64(queued[hub.ClassState]+queued[hub.ClassEvent]), "sum")
	}
	if c.cfg.EventWaits != nil {
		out = append(out, prometheus.MustNewConstMetric(c.waits, prometheus.CounterValue, float64(c.cfg.EventWaits())))
	}
	if c.cfg.Jobs != nil {
		counts := c.cfg.Jobs()
		for k, n := range counts.Jobs {
			send(c.jobs, float64(n), k.Kind, k.Phase)
		}
		for k, n := range counts.Nodes {
			send(c.jobNodes, float64(n), k.Kind, k.Phase)
		}
	}
	return out
}
