package metrics

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/hub"
)

// Config sets up a Collector. Stats is required.
type Config struct {
	Stats func() hub.Stats // of a hub.Server or hub.Client
	// Labels are added to all metrics; nil for none.
	Labels prometheus.Labels
}

// Collector is a prometheus.Collector of one end of the link.
type Collector struct {
	cfg Config

	sessions, entering, ended       *prometheus.Desc
	handshakes, resyncs             *prometheus.Desc
	messages, bytes                 *prometheus.Desc
	queued, acked, retried, dropped *prometheus.Desc
	roundTrip, fenced               *prometheus.Desc
	behind, presumed                *prometheus.Desc
}

var _ prometheus.Collector = (*Collector)(nil)

// New checks the configuration.
func New(cfg Config) (*Collector, error) {
	if cfg.Stats == nil {
		return nil, errors.New("metrics: Config.Stats is required: the Stats method of a hub.Server or hub.Client")
	}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("edgekit_hub_"+name, help, labels, cfg.Labels)
	}
	return &Collector{
		cfg:        cfg,
		sessions:   desc("sessions", "Sessions that stand now.", "transport"),
		entering:   desc("entering", "Connections that are no sessions yet: in their handshake, or waiting in line for it.", "transport", "stage"),
		ended:      desc("sessions_ended_total", "Sessions that ended.", "reason"),
		handshakes: desc("handshakes_total", "Handshakes.", "result"),
		resyncs:    desc("resyncs_total", "Comparisons of what both sides hold, at the begin of a session.", "outcome"),
		messages:   desc("messages_total", "Messages over the link.", "class", "direction"),
		bytes:      desc("bytes_total", "Bytes over the link, without the transport's own.", "class", "direction"),
		queued:     desc("queued", "Objects and events that are to be sent or on their way now.", "class"),
		acked:      desc("acked_total", "Objects and events that the peer has made durable.", "class"),
		retried:    desc("retried_total", "Objects and events that could not be read, sent or applied at once.", "class"),
		dropped:    desc("dropped_total", "Objects and events that were dropped.", "class", "reason"),
		behind:     desc("owner_behind_total", "Objects of which the owner stayed behind what its peer holds: versions must grow."),
		presumed:   desc("events_presumed_total", "Events that were not sent since the peer said that it has them."),
		fenced:     desc("fenced", "Whether another program with this node's identity has the node, so that this one goes on without the link."),
		roundTrip:  desc("round_trip_seconds", "Round-trip times of the edges' pings."),
	}, nil
}

// Describe lists the metrics.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.sessions, c.entering, c.ended, c.handshakes, c.resyncs, c.messages, c.bytes,
		c.queued, c.acked, c.retried, c.dropped, c.behind, c.presumed, c.roundTrip, c.fenced,
	} {
		out <- d
	}
}

// Collect reads the counts.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	s := c.cfg.Stats()
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for transport, n := range s.Sessions {
		gauge(c.sessions, float64(n), transport)
	}
	for transport, e := range s.Backlog {
		gauge(c.entering, float64(e.UnderWay), transport, "handshake")
		gauge(c.entering, float64(e.Waiting), transport, "line")
	}
	for reason, n := range s.Ended {
		count(c.ended, n, string(reason))
	}
	for result, n := range s.Handshakes {
		count(c.handshakes, n, string(result))
	}
	count(c.resyncs, s.ResyncsEqual, "equal")
	count(c.resyncs, s.ResyncsListed, "listed")
	count(c.behind, s.Behind)
	count(c.presumed, s.EventsPresumed)
	for direction, flow := range map[string]map[hub.Class]hub.Traffic{"sent": s.Sent, "received": s.Received} {
		for class, t := range flow {
			count(c.messages, t.Messages, string(class), direction)
			count(c.bytes, t.Bytes, string(class), direction)
		}
	}
	for _, class := range []hub.Class{hub.ClassState, hub.ClassEvent} {
		gauge(c.queued, float64(s.Queued[class]), string(class))
		count(c.acked, s.Acked[class], string(class))
		count(c.retried, s.Retried[class], string(class))
	}
	for drop, n := range s.Dropped {
		count(c.dropped, n, string(drop.Class), string(drop.Reason))
	}
	held := 0.0
	if s.Fenced {
		held = 1
	}
	gauge(c.fenced, held)
	out <- c.histogram(s.RoundTrip)
}

func (c *Collector) histogram(h hub.Histogram) prometheus.Metric {
	buckets := make(map[float64]uint64, len(h.Bounds))
	var sum uint64
	for i, n := range h.Counts {
		sum += n
		if i < len(h.Bounds) {
			buckets[h.Bounds[i].Seconds()] = sum
		}
	}
	return prometheus.MustNewConstHistogram(c.roundTrip, sum, h.Sum.Seconds(), buckets)
}
