package main

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
)

// TestUnreadPipeline: a Pipeline that this edgepipe cannot read, as a newer cloudcore may send it,
// has that in its status, and its former form goes on: else its queues would be removed.
func TestUnreadPipeline(t *testing.T) {
	p, err := newParts(&wire.Set{Node: "edge-7"}, nil, t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	set := func(texts ...string) (s *wire.Set) {
		s = new(wire.Set)
		for _, text := range texts {
			s.Pipelines = append(s.Pipelines, json.RawMessage(text))
		}
		return s
	}
	const readable = `{"metadata":{"namespace":"plant","name":"a","uid":"u","generation":1},"spec":{"nodeName":"edge-7"}}`
	const changed = `{"metadata":{"namespace":"plant","name":"a","uid":"u","generation":2},"spec":{"nodeName":{"new":1}}}`
	const other = `{"metadata":{"namespace":"plant","name":"b","uid":"v","generation":1},"spec":{"nodeName":{"new":1}}}`
	if all := p.read(set(readable)); len(all) != 1 {
		t.Fatalf("%+v", all)
	}
	all := p.read(set(changed, other))
	if len(all) != 1 || all[0].Name != "a" || all[0].Spec.NodeName != "edge-7" {
		t.Fatalf("the former form does not go on: %+v", all)
	}
	got := make(map[string]wire.Report)
	for _, s := range p.statuses([]pipeline.Status{{Ref: pipeline.Ref{Namespace: "plant", Name: "a"}, Generation: 1, State: pipeline.Running}}).Statuses {
		if _, twice := got[s.Name]; twice {
			t.Errorf("%s has two statuses", s.Name)
		}
		got[s.Name] = s.Report
	}
	for name, generation := range map[string]int64{"a": 2, "b": 1} {
		r := got[name]
		if r.State != wire.Failed || r.Generation != generation || len(r.Failures) != 1 || !strings.Contains(r.Failures[0].Message, "install its release") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if p.read(set(readable)); len(p.statuses(nil).Statuses) != 0 {
		t.Error("a Pipeline that can be read again has failed still")
	}
}
