package main

import (
	"errors"
	"log/slog"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/rules"
	ruleswire "github.com/edgekit/edgekit/bus/rules/wire"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// TestAddRules: wrong settings are refused by name, and without rules nothing is added.
func TestAddRules(t *testing.T) {
	store, err := badgerstore.Open(badgerstore.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	b, err := bus.New(bus.Config{Internal: bustest.New()})
	if err != nil {
		t.Fatal(err)
	}
	good := rulesFlags{Rules: true, RulesListen: "127.0.0.1:9060", RulesQueueMiB: 64, RulesQueueMessages: 10}
	add := func(f rulesFlags) (parts, hub.Endpoints, error) {
		all, ends := make(parts), hub.Endpoints{Mux: &hub.Mux{}}
		metrics, err := f.addRules(all, &node{name: "edge-7", store: store}, b, &ends, &link{}, slog.New(slog.DiscardHandler))
		if (metrics != nil) != (all["rules"] != nil) {
			t.Errorf("metrics %v, parts %v", metrics, all)
		}
		return all, ends, err
	}
	if all, ends, err := add(good); err != nil || all["rules"] == nil || ends.Outbox == nil || ends.Inbox == nil {
		t.Errorf("%v, %v, %v", all, ends, err)
	}
	if all, ends, err := add(rulesFlags{}); err != nil || len(all) != 0 || ends.Outbox != nil || ends.Inbox != nil {
		t.Errorf("with --no-rules: %v, %v, %v", all, ends, err)
	}
	for setting, change := range map[string]func(*rulesFlags){
		"rules-queue-mib":      func(f *rulesFlags) { f.RulesQueueMiB = 0 },
		"rules-queue-messages": func(f *rulesFlags) { f.RulesQueueMessages = -1 },
		"rules-listen":         func(f *rulesFlags) { f.RulesListen = "0.0.0.0:9060" },
	} {
		f := good
		change(&f)
		_, _, err := add(f)
		if usage, ok := errors.AsType[*program.UsageError](err); !ok || usage.Setting != setting {
			t.Errorf("%s: %v", setting, err)
		}
	}
	for _, on := range []bool{true, false} {
		r := runCmd{rulesFlags: rulesFlags{Rules: on}}
		if slices.Contains(r.capabilities(), ruleswire.Capability) != on {
			t.Errorf("the hello names %q", r.capabilities())
		}
	}
}

// TestRulesMetrics: the metrics of rules come out with their values.
func TestRulesMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(newRulesMetrics(func() rules.Stats { return rules.Stats{Waiting: 3, Delivered: 5, Dropped: 7, ToPublish: 9} }))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		m := f.GetMetric()[0]
		got[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	for name, want := range map[string]float64{"waiting_messages": 3, "delivered_messages_total": 5, "dropped_messages_total": 7, "unpublished_messages": 9} {
		if got["edgecore_rules_"+name] != want {
			t.Errorf("%s is %v", name, got["edgecore_rules_"+name])
		}
	}
}
