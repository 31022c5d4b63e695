package main

import (
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/rules"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/statsmetrics"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/manager"
)

// rulesFlags are the settings of rules (rules.kubeedge.io).
type rulesFlags struct {
	Rules               bool     `help:"Carry messages between MQTT and HTTP on this node and the cloud, as the cluster's Rules say. --no-rules turns it off." default:"true" negatable:""`
	RulesListen         string   `help:"Where programs on this node reach rules whose source is servicebus; a loopback address. It is open only while there is such a rule." default:"127.0.0.1:9060" placeholder:"IP:PORT"`
	RulesAllowedHosts   []string `help:"Hosts besides this machine whose services rules may call, HOST or HOST:PORT; several are separated by commas." placeholder:"HOST"`
	RulesCustomMessages bool     `help:"Also send messages on the topics SYS/dis/upload_records, +/user/# and $$hw/events/upload/# to the cloud, for a consumer in a cloudcore of your own. Rules need no flag."`
	RulesQueueMiB       int64    `help:"How many MiB of messages of rules wait on disk for the cloud. One more drops the oldest of its rule." name:"rules-queue-mib" default:"64"`
	RulesQueueMessages  int      `help:"How many messages of one rule wait on disk for the cloud. One more drops the oldest." name:"rules-queue-messages" default:"10000"`
}

// addRules makes the part that carries messages of rules, and its metrics; nil without rules.
func (f *rulesFlags) addRules(all parts, n *node, b *bus.Bus, ends *hub.Endpoints, link *link, log *slog.Logger) (prometheus.Collector, error) {
	if !f.Rules {
		return nil, nil
	}
	switch {
	case f.RulesQueueMiB < 1 || f.RulesQueueMiB > 1<<20:
		return nil, &program.UsageError{Setting: "rules-queue-mib", Reason: fmt.Sprintf("%d MiB: give a number from 1 to 1048576", f.RulesQueueMiB)}
	case f.RulesQueueMessages < 1 || f.RulesQueueMessages > 10_000_000:
		return nil, &program.UsageError{Setting: "rules-queue-messages", Reason: fmt.Sprintf("%d: give a number from 1 to 10000000", f.RulesQueueMessages)}
	}
	r, err := rules.New(rules.Config{
		Store: n.store, Bus: b, Node: n.name, Open: link.OpenStream, Listen: f.RulesListen, AllowedHosts: f.RulesAllowedHosts,
		CustomMessages: f.RulesCustomMessages, MaxEvents: f.RulesQueueMessages, MaxBytes: f.RulesQueueMiB << 20, Logger: component(log, "rules"),
	})
	if err != nil {
		return nil, &program.UsageError{Setting: "rules-listen", Reason: err.Error() + " (of edgecore: --rules-listen, --rules-allowed-hosts)"}
	}
	r.Handle(ends.Mux)
	ends.Outbox, ends.Inbox = manager.Outboxes(ends.Outbox, r.Outbox()), r.Inbox()
	all["rules"] = r.Run
	return newRulesMetrics(r.Stats), nil
}

// newRulesMetrics makes the metrics of rules.
func newRulesMetrics(stats func() rules.Stats) prometheus.Collector {
	m := statsmetrics.New("edgecore_rules_", stats)
	m.Gauge("active", "Rules whose source is this node.", func(s rules.Stats) float64 { return float64(s.Rules) })
	m.Gauge("waiting_messages", "Messages that are stored for the cloud.", func(s rules.Stats) float64 { return float64(s.Waiting) })
	m.Gauge("unpublished_messages", "Messages from the cloud that are stored and not published yet.", func(s rules.Stats) float64 { return float64(s.ToPublish) })
	m.Counter("queued_messages_total", "Messages stored for the cloud.", func(s rules.Stats) float64 { return float64(s.Queued) })
	m.Counter("delivered_messages_total", "Messages that the cloud has delivered, or given up by the rule's ttl.", func(s rules.Stats) float64 { return float64(s.Delivered) })
	m.Counter("dropped_messages_total", "Stored messages that were dropped because a bound was reached.", func(s rules.Stats) float64 { return float64(s.Dropped) })
	m.Counter("too_large_messages_total", "Messages over 3 MiB, which were dropped.", func(s rules.Stats) float64 { return float64(s.TooLarge) })
	m.Counter("published_messages_total", "Messages from the cloud that were published.", func(s rules.Stats) float64 { return float64(s.Published) })
	m.Counter("calls_total", "Calls of services on the node.", func(s rules.Stats) float64 { return float64(s.Calls) })
	m.Counter("requests_total", "Requests of programs on the node.", func(s rules.Stats) float64 { return float64(s.Requests) })
	return m
}
