package tracing

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/resources"
)

// Directory makes the spans of cloudcore for the nodes of d. A nil Tracer returns d.
func (t *Tracer) Directory(d hub.Directory) hub.Directory {
	if t == nil {
		return d
	}
	return hub.DirectoryFunc(func(ctx context.Context, hello hub.Hello) (hub.Node, error) {
		n, err := d.Attach(ctx, hello)
		if err != nil {
			return n, err
		}
		if n.Down != nil {
			n.Down = &downSource{Source: n.Down, t: t, node: hello.Node, seen: make(map[hub.Key]time.Time), open: newSends(t)}
		}
		if n.Up != nil {
			n.Up = &upSink{Sink: n.Up, t: t, node: hello.Node}
		}
		return n, nil
	})
}

// kind is the first word of the names of spans about an object; "" for one that is not traced.
func kind(resource string) string {
	switch resource {
	case resources.Pods, resources.PodStatus:
		return "pod."
	case resources.Devices, resources.DeviceStatuses:
		return "device."
	}
	return ""
}

// about are the attributes of a span about an object.
func about(node string, key hub.Key) []attribute.KeyValue {
	name := attribute.Key("edgekit.device.name")
	if strings.HasPrefix(key.Resource, resources.Pods) {
		name = "k8s.pod.name"
	}
	return []attribute.KeyValue{text("k8s.node.name", node), text("k8s.namespace.name", key.Namespace), text(name, key.Name)}
}

// nodeKey is an object on its way to a node.
type nodeKey struct {
	node string
	key  hub.Key
}

// maxSeen bounds the changes of one node that are noted and not yet read for it.
const maxSeen = 1024

// downSource is what a node must hold, in one session.
type downSource struct {
	hub.Source
	t    *Tracer
	node string
	open sends

	mu   sync.Mutex
	seen map[hub.Key]time.Time // changes, until they are read
}

var _ hub.TraceObserver = (*downSource)(nil)

// Subscribe notes when each change is seen. When the session ends, what was not delivered waits for the
// next session of the node at this cloudcore.
func (s *downSource) Subscribe(changed func(hub.Key)) (stop func()) {
	unsubscribe := s.Source.Subscribe(func(key hub.Key) {
		if kind(key.Resource) != "" {
			s.note(key)
		}
		changed(key)
	})
	return func() {
		unsubscribe()
		for key, o := range s.open.interrupt() {
			s.t.waiting.set(nodeKey{s.node, key}, o.parent, time.Now(), o.version)
		}
	}
}

func (s *downSource) note(key hub.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.seen[key]; !there && len(s.seen) < maxSeen {
		s.seen[key] = time.Now()
	}
}

// Load reads an object and begins its trace.
func (s *downSource) Load(ctx context.Context, key hub.Key, held string) (hub.Object, error) {
	of := kind(key.Resource)
	began := time.Now()
	o, err := s.Source.Load(ctx, key, held)
	if of == "" || err != nil {
		return o, err
	}
	s.mu.Lock()
	seen, noticed := s.seen[key]
	delete(s.seen, key)
	s.mu.Unlock()
	if o.Version != "" && o.Version == held || o.Deleted && o.Version == "" && held == "" {
		return o, nil // nothing is sent
	}
	if noticed {
		began = seen
	}
	attributes := about(s.node, key)
	if o.Version != "" {
		attributes = append(attributes, text("edgekit.version", o.Version))
	}
	if o.Deleted {
		attributes = append(attributes, attribute.Bool("edgekit.deleted", true))
	}
	parent, again := s.t.waiting.take(nodeKey{s.node, key})
	if !again || parent.version != o.Version {
		span := s.t.start(trace.SpanContext{}, of+mirror, began, append(attributes, attribute.Bool("edgekit.resync", !noticed))...)
		span.End()
		parent = track{parent: span.SpanContext()}
	}
	if parent.parent.IsSampled() {
		o.Trace = s.open.begin(key, o.Version, parent.parent, of+send, time.Now(), attributes)
	}
	return o, nil
}

// TraceDelivered ends the span of an object on its way.
func (s *downSource) TraceDelivered(key hub.Key, parent string, err error) {
	s.open.end(key, parent, err)
}

// reportLimits bound what cloudcore traces for one node.
type reportLimits struct {
	ignored atomic.Uint64

	mu    sync.Mutex
	nodes map[string]*rate.Limiter
}

const (
	reportRate  = 20  // spans in a second for the reports of one node
	reportBurst = 200 // at once
	limitedMost = 20_000
)

// allow reports whether one more report of a node is traced.
func (l *reportLimits) allow(node string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.nodes[node]
	if of == nil {
		if l.nodes == nil || len(l.nodes) >= limitedMost {
			l.nodes = make(map[string]*rate.Limiter)
		}
		of = rate.NewLimiter(reportRate, reportBurst)
		l.nodes[node] = of
	}
	if !of.Allow() {
		l.ignored.Add(1)
		return false
	}
	return true
}

// upSink takes a node's reports.
type upSink struct {
	hub.Sink
	t    *Tracer
	node string
}

// Apply writes reports to the API server. A report is written with the others of its batch; the span of
// each is that of the batch.
func (s *upSink) Apply(ctx context.Context, objects []hub.Object) error {
	var spans []trace.Span
	for i := range objects {
		o := &objects[i]
		of := kind(o.Key.Resource)
		if o.Trace == "" || of == "" || !s.t.reports.allow(s.node) {
			continue
		}
		spans = append(spans, s.t.start(remote(o.Trace), of+reportWrite, time.Now(), append(about(s.node, o.Key), attribute.Int("edgekit.batch", len(objects)))...))
	}
	err := s.Sink.Apply(ctx, objects)
	for _, span := range spans {
		end(span, err)
	}
	return err
}
