package tracing_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/tracing"
	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

const sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func podKey(name string) hub.Key {
	return hub.Key{Resource: "pods", Namespace: "shop", Name: name}
}

func statusKey(name string) hub.Key {
	return hub.Key{Resource: "pods/status", Namespace: "shop", Name: name}
}

// started runs a tracer until the test ends.
func started(t *testing.T, cfg tracing.Config) *tracing.Tracer {
	t.Helper()
	tracer := newTracer(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := tracer.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return tracer
}

// oneNode is a Directory with one node.
type oneNode struct{ node hub.Node }

func (d oneNode) Attach(context.Context, hub.Hello) (hub.Node, error) { return d.node, nil }

// attach is what a session gets of a cloudcore with these endpoints.
func attach(t *testing.T, tracer *tracing.Tracer, n hub.Node) hub.Node {
	t.Helper()
	got, err := tracer.Directory(oneNode{n}).Attach(t.Context(), hub.Hello{Node: edgeNode})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// eagerSink has an agent begin, and a failure happen, before Apply has returned.
type eagerSink struct {
	hubtest.Sink
	before func()
	err    error
}

func (s *eagerSink) Apply(context.Context, []hub.Object) error {
	s.before()
	return s.err
}

// TestStepsBeforeApplyReturns: an agent that is quicker than the return of the store has its steps in the trace.
// An object that was not stored is in no trace.
func TestStepsBeforeApplyReturns(t *testing.T) {
	collector := newReceiver(t)
	tracer := started(t, tracing.Config{Endpoint: collector.URL, Sampling: 0, Service: "edgecore", Node: edgeNode})
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	step := func(name string) {
		_, end := tracer.PodTrace()(t.Context(), pod, edged.TraceStep{Name: name})
		end(nil)
	}
	sink := &eagerSink{before: func() { step("sandbox") }}
	objects := []hub.Object{{Key: podKey("web"), Version: "1", Trace: sampled}}
	if err := tracer.Sink(sink).Apply(t.Context(), objects); err != nil {
		t.Fatal(err)
	}
	collector.wait(t, "step of the pod", chains([]string{"pod.store", "pod.sandbox"}))
	sink.before, sink.err = func() {}, errors.New("the disk is full")
	if err := tracer.Sink(sink).Apply(t.Context(), objects); !errors.Is(err, sink.err) {
		t.Fatal(err)
	}
	step("remove")
	sink.before, sink.err = func() {}, nil
	if err := tracer.Sink(sink).Apply(t.Context(), objects); err != nil {
		t.Fatal(err)
	}
	step("stop")
	if all := collector.wait(t, "step of the pod", func(all []span) []span { return named(all, "pod.stop") }); len(named(collector.all(), "pod.remove")) > 0 {
		t.Errorf("a step of an object that was not stored has a span: %v", all)
	}
}

// TestOff: without an endpoint there is no tracer, and nothing is wrapped.
func TestOff(t *testing.T) {
	off, err := tracing.Flags{Sampling: 1}.New(tracing.Config{Service: "edgecore"})
	if err != nil || off != nil {
		t.Fatalf("%v, %v", off, err)
	}
	sink, outbox := &hubtest.Sink{}, &hubtest.AckedSource{}
	if off.Sink(sink) != hub.Sink(sink) || off.Outbox(outbox) != hub.Source(outbox) || off.PodTrace() != nil || off.Published() != nil || off.Reporter(nil) != nil {
		t.Error("something is wrapped")
	}
	if d := (&oneNode{}); off.Directory(d) != hub.Directory(d) {
		t.Error("the directory is wrapped")
	}
	report := func() error { return nil }
	pod := &corev1.Pod{}
	if n := testing.AllocsPerRun(100, func() { _ = off.PodReport("pods/status", pod, report) }); n != 0 {
		t.Errorf("%v allocations of a report", n)
	}
}

func TestFlags(t *testing.T) {
	for name, c := range map[string]struct {
		flags tracing.Flags
		want  string
	}{
		"off":          {tracing.Flags{Sampling: 7}, ""},
		"good":         {tracing.Flags{Endpoint: "https://tempo.example:4318/otlp/v1/traces", Sampling: 1}, ""},
		"no scheme":    {tracing.Flags{Endpoint: "collector:4318"}, "tracing-endpoint"},
		"gRPC":         {tracing.Flags{Endpoint: "grpc://collector:4317"}, "tracing-endpoint"},
		"credentials":  {tracing.Flags{Endpoint: "http://me:secret@collector"}, "tracing-endpoint"},
		"no host":      {tracing.Flags{Endpoint: "http://"}, "tracing-endpoint"},
		"above one":    {tracing.Flags{Endpoint: "http://collector:4318", Sampling: 1.1}, "tracing-sampling"},
		"negative":     {tracing.Flags{Endpoint: "http://collector:4318", Sampling: -1}, "tracing-sampling"},
		"not a number": {tracing.Flags{Endpoint: "http://collector:4318", Sampling: nan()}, "tracing-sampling"},
	} {
		_, err := c.flags.New(tracing.Config{Service: "cloudcore"})
		usage, _ := errors.AsType[*program.UsageError](err)
		if c.want == "" && err != nil || c.want != "" && (usage == nil || usage.Setting != c.want || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for want, cfg := range map[string]tracing.Config{
		"Service":          {Endpoint: "http://a"},
		"tracing-endpoint": {Service: "cloudcore"},
		"Queue":            {Service: "cloudcore", Endpoint: "http://a", Queue: -1},
	} {
		if _, err := tracing.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func nan() float64 { zero := 0.0; return zero / zero }

// loads has one object read for the node n times, and returns how long that took.
func loads(t *testing.T, node hub.Node, n int) time.Duration {
	t.Helper()
	began := time.Now()
	for i := range n {
		if o, err := node.Down.Load(t.Context(), podKey(fmt.Sprint("web-", i)), ""); err != nil || o.Trace == "" && i == 0 {
			t.Fatalf("%+v, %v", o, err)
		}
	}
	return time.Since(began)
}

// TestOutage: while the receiver does not answer, spans wait up to the bound, the others are dropped and
// counted, and nobody waits; afterwards spans arrive again.
func TestOutage(t *testing.T) {
	collector := newReceiver(t)
	collector.fail(http.StatusServiceUnavailable)
	tracer := started(t, tracing.Config{Endpoint: collector.URL, Sampling: 1, Service: "cloudcore", Queue: 50, RetryFor: 1500 * time.Millisecond})
	source := &hubtest.Source{}
	for i := range 500 {
		source.Put(podKey(fmt.Sprint("web-", i)), 1, "{}")
	}
	node := attach(t, tracer, hub.Node{Down: source})
	if took := loads(t, node, 500); took > time.Minute { // each would wait for RetryFor
		t.Errorf("500 objects took %v", took)
	}
	if s := tracer.Stats(); s.Dropped == 0 || s.Waiting > 50 || s.Exported != 0 {
		t.Errorf("during the outage: %+v", s)
	}
	collector.fail(0)
	// Each of the 500 has two spans, of which the second is on its way still.
	var s tracing.Stats
	hubtest.Until(t, "all 500 spans to be counted", func() bool {
		s = tracer.Stats()
		return s.Exported > 0 && s.Exported+s.Dropped+s.Failed == 500
	})
	if got := len(collector.all()); uint64(got) != s.Exported {
		t.Errorf("the receiver has %d spans, counted are %d", got, s.Exported)
	}
}

// TestLinkLost: what was on its way when the link ended goes on in the same trace when the node is back; a
// change meanwhile begins another one.
func TestLinkLost(t *testing.T) {
	collector := newReceiver(t)
	tracer := started(t, tracing.Config{Endpoint: collector.URL, Sampling: 1, Service: "cloudcore"})
	source := &hubtest.Source{}
	session := func() (hub.Node, func()) {
		node := attach(t, tracer, hub.Node{Down: source})
		return node, node.Down.Subscribe(func(hub.Key) {})
	}
	node, stop := session()
	source.Put(podKey("same"), 1, "{}")
	source.Put(podKey("changed"), 1, "{}")
	first := make(map[string]string)
	for _, name := range []string{"same", "changed"} {
		o, err := node.Down.Load(t.Context(), podKey(name), "")
		if err != nil {
			t.Fatal(err)
		}
		first[name] = o.Trace
	}
	stop()
	source.Put(podKey("changed"), 2, "{}")
	node, stop = session()
	defer stop()
	for _, name := range []string{"same", "changed"} {
		o, err := node.Down.Load(t.Context(), podKey(name), "")
		if err != nil {
			t.Fatal(err)
		}
		if goesOn := o.Trace[:35] == first[name][:35]; goesOn != (name == "same") || o.Trace == first[name] {
			t.Errorf("%s: %s, then %s", name, first[name], o.Trace)
		}
		node.Down.(hub.TraceObserver).TraceDelivered(podKey(name), o.Trace, nil)
	}
	sends := collector.wait(t, "four spans", func(all []span) []span {
		if sends := named(all, "pod.send"); len(sends) == 4 {
			return sends
		}
		return nil
	})
	if sends[0].attributes["edgekit.interrupted"] != "true" || sends[3].attributes["edgekit.interrupted"] != "" {
		t.Errorf("sends: %+v", sends)
	}
	if mirrors := named(collector.all(), "pod.mirror"); len(mirrors) != 3 || mirrors[0].attributes["edgekit.resync"] != "" || mirrors[2].attributes["edgekit.resync"] != "true" {
		t.Errorf("mirrors: %+v", mirrors)
	}
}

// TestOffline: a node without a link keeps the trace of its report, whose span lasts until the cloud has it.
// The peers know nothing of traces, as those of earlier releases.
func TestOffline(t *testing.T) {
	collector := newReceiver(t)
	tracer := started(t, tracing.Config{Endpoint: collector.URL, Service: "edgecore", Node: edgeNode})
	outbox, sink := &hubtest.AckedSource{}, &hubtest.Sink{}
	down := tracer.Sink(sink)
	if err := down.Apply(t.Context(), []hub.Object{{Key: podKey("web"), Version: "1", Body: []byte("{}"), Trace: sampled}}); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	err := tracer.PodReport("pods/status", pod, func() error { outbox.Put(statusKey("web"), 1, "{}"); return nil })
	if err != nil {
		t.Fatal(err)
	}
	collector.wait(t, "span of the report", func(all []span) []span { return named(all, "pod.report") })
	if early := named(collector.all(), "pod.report.send"); len(early) > 0 {
		t.Fatalf("sent without a link: %+v", early)
	}
	connected := time.Now()
	link := memconn.New(memconn.Config{})
	cloud := &hubtest.Sink{}
	server := must[*hub.Server](t)(hub.NewServer(hub.ServerConfig{Listener: link, Directory: oneNode{hub.Node{Up: cloud}}}))
	client := must[*hub.Client](t)(hub.NewClient(hub.ClientConfig{Dialer: link.Dialer(edgeNode), Node: edgeNode, Down: down, Up: tracer.Outbox(outbox)}))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Run(ctx) })
	wg.Go(func() { _ = client.Run(ctx) })
	defer func() { cancel(); wg.Wait() }()
	sent := collector.wait(t, "span of the way to the cloud", func(all []span) []span { return named(all, "pod.report.send") })[0]
	if sent.trace != sampled[3:35] || !sent.began.Before(connected) || !sent.ended.After(connected) {
		t.Errorf("sent %v to %v in trace %s; connected at %v", sent.began, sent.ended, sent.trace, connected)
	}
	if cloud.Held(statusKey("web")) != "1" {
		t.Error("the report did not arrive")
	}
}

// TestCrashLoop: a container that starts again and again does not make a trace without end.
func TestCrashLoop(t *testing.T) {
	collector := newReceiver(t)
	tracer := started(t, tracing.Config{Endpoint: collector.URL, Service: "edgecore", Node: edgeNode})
	if err := tracer.Sink(&hubtest.Sink{}).Apply(t.Context(), []hub.Object{{Key: podKey("web"), Version: "1", Trace: sampled}}); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	step := tracer.PodTrace()
	for range 1000 {
		_, end := step(t.Context(), pod, edged.TraceStep{Name: edged.TraceStart, Container: "main"})
		end(errors.New("it crashed"))
	}
	all := collector.wait(t, "64 starts", func(all []span) []span {
		if starts := named(all, "pod.start"); len(starts) >= 64 {
			return starts
		}
		return nil
	})
	if len(all) != 64 || all[0].failed != "it crashed" {
		t.Errorf("%d spans, the first: %+v", len(all), all[0])
	}
}

// TestHostileNode: a node that sends traceparents in masses, for names that are no text, gets a bounded number
// of spans, and none that cloudcore's own sampling would not have chosen; its reports are written.
func TestHostileNode(t *testing.T) {
	collector := newReceiver(t)
	hostile := make([]hub.Object, 5000)
	for i := range hostile {
		hostile[i] = hub.Object{
			Key:     hub.Key{Resource: "devicestatuses", Namespace: "\xff\xfe<script>alert(1)</script>\x1b[2J", Name: strings.Repeat("é", 300) + fmt.Sprint(i)},
			Version: "1", Trace: fmt.Sprintf("00-%032x-%016x-01", i+1, i+1),
		}
	}
	none := started(t, tracing.Config{Endpoint: collector.URL, Sampling: 0, Service: "cloudcore"})
	all := started(t, tracing.Config{Endpoint: collector.URL, Sampling: 1, Service: "cloudcore"})
	for _, tracer := range []*tracing.Tracer{none, all} {
		sink := &hubtest.Sink{}
		up := attach(t, tracer, hub.Node{Up: sink}).Up
		for _, o := range hostile {
			if err := up.Apply(t.Context(), []hub.Object{o}); err != nil {
				t.Fatal(err)
			}
		}
		if sink.Held(hostile[4999].Key) != "1" {
			t.Error("a report was lost")
		}
		if tracer.Stats().Ignored < 4000 {
			t.Errorf("ignored: %+v", tracer.Stats())
		}
	}
	got := collector.wait(t, "spans", func(all []span) []span {
		if got := named(all, "device.report.write"); len(got) >= 200 {
			return got
		}
		return nil
	})
	if len(got) > 1000 || none.Stats().Exported+uint64(none.Stats().Waiting) > 0 {
		t.Errorf("%d spans; without sampling: %+v", len(got), none.Stats())
	}
	if name := got[0].attributes["edgekit.device.name"]; len(name) > 260 || !strings.HasPrefix(name, "éé") {
		t.Errorf("name of %d bytes: %q", len(name), name)
	}
}

// TestRefused: the span of an object that the node did not take has the error.
func TestRefused(t *testing.T) {
	collector := newReceiver(t)
	tracer := started(t, tracing.Config{Endpoint: collector.URL, Sampling: 1, Service: "cloudcore"})
	source := &hubtest.Source{}
	source.Put(podKey("web"), 1, "{}")
	node := attach(t, tracer, hub.Node{Down: source})
	o, err := node.Down.Load(t.Context(), podKey("web"), "")
	if err != nil {
		t.Fatal(err)
	}
	node.Down.(hub.TraceObserver).TraceDelivered(podKey("web"), o.Trace, &hub.Error{Code: hub.CodeInvalid, Text: "never"})
	sent := collector.wait(t, "span", func(all []span) []span { return named(all, "pod.send") })[0]
	if sent.failed != "hub: peer: never" {
		t.Errorf("%+v", sent)
	}
}
