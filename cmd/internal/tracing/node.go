package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/resources"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicesync"
)

// Sink makes the spans of what arrives at the node. A nil Tracer returns s.
func (t *Tracer) Sink(s hub.Sink) hub.Sink {
	if t == nil {
		return s
	}
	return &downSink{Sink: s, t: t}
}

type downSink struct {
	hub.Sink
	t *Tracer
}

// Apply stores objects. A trace that comes with one is that of the object from now on.
func (s *downSink) Apply(ctx context.Context, objects []hub.Object) error {
	began := time.Now()
	type stored struct {
		key  string
		span trace.Span
	}
	var spans []stored
	for i := range objects {
		o := &objects[i]
		of := kind(o.Key.Resource)
		if o.Trace == "" || of == "" {
			continue
		}
		span := s.t.start(remote(o.Trace), of+store, began, append(about(s.t.cfg.Node, o.Key), attribute.Bool("edgekit.deleted", o.Deleted))...)
		key := o.Key.String()
		spans = append(spans, stored{key, span})
		// Before: the agent and the twins may begin before Apply has returned.
		s.t.tracks.set(key, span.SpanContext(), began, o.Version)
	}
	err := s.Sink.Apply(ctx, objects)
	for _, o := range spans {
		end(o.span, err)
		if err != nil {
			s.t.tracks.leave(o.key, o.span.SpanContext())
		} else {
			s.t.tracks.ended(o.key, o.span.SpanContext(), time.Now())
		}
	}
	return err
}

// StateOutbox is the Source of a node's reports; manager.StateOutbox is one.
type StateOutbox interface {
	hub.Source
	hub.Acker
}

// Outbox makes the spans of reports on their way to the cloud. A nil Tracer returns o.
func (t *Tracer) Outbox(o StateOutbox) hub.Source {
	if t == nil {
		return o
	}
	return &upSource{StateOutbox: o, t: t, open: newSends(t)}
}

type upSource struct {
	StateOutbox
	t    *Tracer
	open sends
}

var (
	_ hub.Acker         = (*upSource)(nil)
	_ hub.TraceObserver = (*upSource)(nil)
)

// Load reads a report and gives it its trace.
func (s *upSource) Load(ctx context.Context, key hub.Key, held string) (hub.Object, error) {
	o, err := s.StateOutbox.Load(ctx, key, held)
	of := kind(key.Resource)
	if of == "" || err != nil || o.Version == "" {
		return o, err
	}
	if at, ok := s.t.outgoing.take(key.String()); ok {
		o.Trace = s.open.begin(key, o.Version, at.parent, of+reportSend, at.at, about(s.t.cfg.Node, key))
		return o, nil
	}
	o.Trace = s.open.again(key, o.Version)
	return o, nil
}

// TraceDelivered ends the span of a report on its way.
func (s *upSource) TraceDelivered(key hub.Key, parent string, err error) {
	s.open.end(key, parent, err)
}

// PodTrace makes the spans of an agent's steps; nil for a nil Tracer.
func (t *Tracer) PodTrace() edged.PodTrace {
	if t == nil {
		return nil
	}
	return t.podStep
}

// within is the key of the span around a step, in its context.
type within struct{}

func (t *Tracer) podStep(ctx context.Context, pod *corev1.Pod, step edged.TraceStep) (context.Context, func(error)) {
	key := podKey(pod)
	at, ok := t.tracks.next(key.String())
	if !ok {
		return ctx, func(error) {}
	}
	parent := at.parent
	if outer, ok := ctx.Value(within{}).(trace.SpanContext); ok {
		parent = outer
	}
	span := t.start(parent, "pod."+step.Name, time.Now(), append(about(t.cfg.Node, key), text("k8s.pod.uid", string(pod.UID)))...)
	if step.Container != "" {
		span.SetAttributes(text("k8s.container.name", step.Container))
	}
	if step.Image != "" {
		span.SetAttributes(text("container.image.name", step.Image))
	}
	return context.WithValue(ctx, within{}, span.SpanContext()), func(err error) { end(span, err) }
}

func podKey(pod *corev1.Pod) hub.Key {
	return hub.Key{Resource: resources.Pods, Namespace: pod.Namespace, Name: pod.Name}
}

// PodReport calls store, which makes a report about a pod durable under the resource, within its span. A nil
// Tracer only calls it.
func (t *Tracer) PodReport(resource string, pod *corev1.Pod, store func() error) error {
	if t == nil {
		return store()
	}
	return t.report(podKey(pod).String(), hub.Key{Resource: resource, Namespace: pod.Namespace, Name: pod.Name}, "pod.", store)
}

// report calls store within the span of a report, if the object that it is about has a trace.
func (t *Tracer) report(object string, key hub.Key, of string, store func() error) error {
	at, ok := t.tracks.next(object)
	if !ok {
		return store()
	}
	span := t.start(at.parent, of+report, time.Now(), about(t.cfg.Node, key)...)
	// Before: the link may read the report before store has returned.
	t.outgoing.set(key.String(), span.SpanContext(), time.Now(), "")
	err := store()
	end(span, err)
	return err
}

// Reporter makes the spans of DeviceStatuses. A nil Tracer returns r.
func (t *Tracer) Reporter(r devicesync.Reporter) devicesync.Reporter {
	if t == nil {
		return r
	}
	return reporter{r, t}
}

type reporter struct {
	devicesync.Reporter
	t *Tracer
}

// Update puts a report into the outbox.
func (r reporter) Update(ctx context.Context, o meta.Object) error {
	return r.t.report(reported(o.Key.Namespace+"/"+o.Key.Name), hub.Key(o.Key), "device.", func() error { return r.Reporter.Update(ctx, o) })
}

// reported names what a device has reported in the table.
func reported(device string) string { return "reported " + device }

func deviceKey(device string) hub.Key {
	d := twin.Device{ID: device}
	return hub.Key{Resource: resources.Devices, Namespace: d.Namespace(), Name: d.Name()}
}

// Published is for twin/mqtt's Config; nil for a nil Tracer.
func (t *Tracer) Published() func(device string, began time.Time, err error) {
	if t == nil {
		return nil
	}
	return func(device string, began time.Time, err error) {
		key := deviceKey(device)
		at, ok := t.tracks.next(key.String())
		if !ok {
			return
		}
		span := t.start(at.parent, twinPublish, began, about(t.cfg.Node, key)...)
		end(span, err)
		t.tracks.follow(key.String(), span.SpanContext(), time.Now())
	}
}

// Twins makes the spans of the engine's commits from now on. It is called before a twin/mqtt.Bridge runs,
// so that a commit has its span before its delta is published. A nil Tracer does nothing.
func (t *Tracer) Twins(engine *twin.Engine) {
	if t != nil {
		engine.Subscribe(t.commit) // for the life of both
	}
}

// commit makes the span of one commit. The engine waits for it.
func (t *Tracer) commit(c twin.Commit) {
	var delta, changed bool
	for _, effect := range c.Effects {
		switch effect.(type) {
		case twin.Delta:
			delta = true
		case twin.Report:
			changed = true
		}
	}
	if !delta && !changed {
		return
	}
	key := deviceKey(c.Device)
	switch c.Request.(type) {
	case twin.Put:
		if at, ok := t.tracks.next(key.String()); ok {
			span := t.start(at.parent, twinApply, at.at, about(t.cfg.Node, key)...)
			end(span, c.Err())
			t.tracks.follow(key.String(), span.SpanContext(), time.Now())
		}
	case twin.Update:
		if changed {
			t.actual(c, key)
		}
	}
}

// actual makes the span of an actual value: in the trace of the desired one, or at the begin of a trace.
func (t *Tracer) actual(c twin.Commit, key hub.Key) {
	now := time.Now()
	at, ok := t.tracks.next(key.String())
	if !ok || now.Before(at.at) {
		at.at = now
	}
	span := t.start(at.parent, twinReport, at.at, append(about(t.cfg.Node, key), text("edgekit.origin", c.Origin))...)
	end(span, c.Err())
	if span.SpanContext().IsSampled() {
		t.tracks.set(reported(c.Device), span.SpanContext(), now, "")
	}
}
