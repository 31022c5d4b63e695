package main

import (
	"fmt"
	"log/slog"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/rules"
	"github.com/edgekit/edgekit/cmd/internal/program"
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

// addRules makes the part that carries messages of rules.
func (f *rulesFlags) addRules(all parts, n *node, b *bus.Bus, ends *hub.Endpoints, link *link, log *slog.Logger) error {
	if !f.Rules {
		return nil
	}
	switch {
	case f.RulesQueueMiB < 1 || f.RulesQueueMiB > 1<<20:
		return &program.UsageError{Setting: "rules-queue-mib", Reason: fmt.Sprintf("%d MiB: give a number from 1 to 1048576", f.RulesQueueMiB)}
	case f.RulesQueueMessages < 1 || f.RulesQueueMessages > 10_000_000:
		return &program.UsageError{Setting: "rules-queue-messages", Reason: fmt.Sprintf("%d: give a number from 1 to 10000000", f.RulesQueueMessages)}
	}
	r, err := rules.New(rules.Config{
		Store: n.store, Bus: b, Node: n.name, Open: link.OpenStream, Listen: f.RulesListen, AllowedHosts: f.RulesAllowedHosts,
		CustomMessages: f.RulesCustomMessages, MaxEvents: f.RulesQueueMessages, MaxBytes: f.RulesQueueMiB << 20, Logger: component(log, "rules"),
	})
	if err != nil {
		return &program.UsageError{Setting: "rules-listen", Reason: err.Error() + " (of edgecore: --rules-listen, --rules-allowed-hosts)"}
	}
	r.Handle(ends.Mux)
	ends.Outbox, ends.Inbox = manager.Outboxes(ends.Outbox, r.Outbox()), r.Inbox()
	all["rules"] = r.Run
	return nil
}
