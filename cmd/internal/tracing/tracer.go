package tracing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

// Flags are the settings of both programs.
type Flags struct {
	Endpoint string  `help:"Send traces of the ways of pods and twins by OTLP over HTTP to this receiver, for example http://collector:4318: an OpenTelemetry Collector, Jaeger or Tempo. The path is /v1/traces if it has none. Empty turns traces off." placeholder:"URL"`
	Sampling float64 `help:"Part of the traces that this program begins which are sampled: 0 to 1. A node goes on with every trace that cloudcore has sampled." default:"0.01" placeholder:"PART"`
}

// Config sets up a Tracer. Endpoint and Service are required.
type Config struct {
	Endpoint string  // http:// or https:// of an OTLP receiver
	Sampling float64 // of traces that begin here, 0 to 1
	Service  string  // "cloudcore" or "edgecore"
	Version  string  // of the program
	Instance string  // of this run
	Node     string  // of an edgecore
	Queue    int     // how many ended spans wait for the receiver; 0 means 2,048
	// Headers are sent with each request, besides those in OTEL_EXPORTER_OTLP_HEADERS.
	Headers map[string]string
	// RetryFor is how long one batch is tried again; 0 means 30s.
	RetryFor time.Duration
	Logger   *slog.Logger // nil discards
}

// Tracer makes spans and exports them. Its methods may be called by several goroutines at once.
type Tracer struct {
	cfg      Config
	queue    *queue
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	reports  reportLimits
	waiting  *tracks[nodeKey] // cloudcore: what was not delivered when the link ended
	tracks   *tracks[string]  // edgecore: which trace an object belongs to
	outgoing *tracks[string]  // edgecore: that of a report which waits in the outbox
}

// Check returns what is wrong with the settings, and which one it is.
func (f Flags) Check() (setting string, err error) {
	if f.Endpoint == "" {
		return "", nil
	}
	if _, err := endpoint(f.Endpoint); err != nil {
		return "tracing-endpoint", err
	}
	if f.Sampling < 0 || f.Sampling > 1 || f.Sampling != f.Sampling {
		return "tracing-sampling", errors.New("must be 0 to 1")
	}
	return "", nil
}

// New makes the Tracer of a program with these settings in place of those of cfg; nil without an endpoint.
func (f Flags) New(cfg Config) (*Tracer, error) {
	if setting, err := f.Check(); err != nil {
		return nil, &program.UsageError{Setting: setting, Reason: err.Error()}
	}
	if f.Endpoint == "" {
		return nil, nil
	}
	cfg.Endpoint, cfg.Sampling = f.Endpoint, f.Sampling
	return New(cfg)
}

// endpoint completes the URL of a receiver.
func endpoint(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return "", errors.New("want the URL of an OTLP/HTTP receiver, for example http://collector:4318; headers, such as credentials, are in the environment variable OTEL_EXPORTER_OTLP_HEADERS")
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces"
	}
	return u.String(), nil
}

// New checks the configuration. Nothing is sent until Run.
func New(cfg Config) (*Tracer, error) {
	if cfg.Service == "" {
		return nil, errors.New("tracing: Config.Service is required")
	}
	if setting, err := (Flags{cmp.Or(cfg.Endpoint, "none"), cfg.Sampling}).Check(); err != nil {
		return nil, fmt.Errorf("tracing: %s: %w", setting, err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Queue, cfg.RetryFor = cmp.Or(cfg.Queue, 2048), cmp.Or(cfg.RetryFor, 30*time.Second)
	if cfg.Queue < 0 || cfg.RetryFor < 0 {
		return nil, errors.New("tracing: Config.Queue or RetryFor is negative: leave it 0 for the default")
	}
	to, err := endpoint(cfg.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("tracing: tracing-endpoint: %w", err)
	}
	attributes := []attribute.KeyValue{
		attribute.String("service.name", cfg.Service), attribute.String("service.version", cfg.Version), attribute.String("service.instance.id", cfg.Instance),
	}
	if cfg.Node != "" {
		attributes = append(attributes, attribute.String("k8s.node.name", cfg.Node))
	}
	ratio := sdktrace.TraceIDRatioBased(cfg.Sampling)
	remote := sdktrace.AlwaysSample() // cloudcore has decided
	if cfg.Node == "" {
		remote = ratio // a node's word counts only for what would be sampled here as well
	}
	t := &Tracer{cfg: cfg, waiting: newTracks[nodeKey](4096, 0), tracks: newTracks[string](1024, quiet), outgoing: newTracks[string](1024, 0)}
	t.queue = newQueue(cfg, []otlptracehttp.Option{
		otlptracehttp.WithEndpointURL(to), otlptracehttp.WithTimeout(10 * time.Second), otlptracehttp.WithCompression(otlptracehttp.GzipCompression),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: 500 * time.Millisecond, MaxInterval: 5 * time.Second, MaxElapsedTime: cfg.RetryFor}),
	}, cfg.Headers)
	t.provider = sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.ParentBased(ratio, sdktrace.WithRemoteParentSampled(remote))),
		sdktrace.WithResource(resource.NewSchemaless(attributes...)),
		sdktrace.WithRawSpanLimits(sdktrace.SpanLimits{AttributeValueLengthLimit: maxText, AttributeCountLimit: 16, EventCountLimit: 0, LinkCountLimit: 0}),
		sdktrace.WithSpanProcessor(t.queue),
	)
	t.tracer = t.provider.Tracer("github.com/edgekit/edgekit", trace.WithInstrumentationVersion(cfg.Version))
	return t, nil
}

// Run exports spans until ctx ends, then tries for two seconds to send those that wait, and returns nil. A
// nil Tracer only waits.
func (t *Tracer) Run(ctx context.Context) error {
	if t == nil {
		<-ctx.Done()
		return nil
	}
	return t.queue.run(ctx)
}

// maxText bounds the text of an attribute, in bytes.
const maxText = 256

// text is an attribute. Names and errors may come from a peer: OTLP refuses a whole batch for a string
// that is not UTF-8.
func text(key attribute.Key, value string) attribute.KeyValue {
	return key.String(clip(value))
}

func clip(value string) string {
	if len(value) > maxText {
		value = value[:maxText]
	}
	return strings.ToValidUTF8(value, "?")
}

// start begins a span below parent, which may be of another program; the zero parent begins a trace.
func (t *Tracer) start(parent trace.SpanContext, name string, at time.Time, attributes ...attribute.KeyValue) trace.Span {
	ctx := trace.ContextWithSpanContext(context.Background(), parent) // spans carry no deadline
	_, span := t.tracer.Start(ctx, name, trace.WithTimestamp(at), trace.WithAttributes(attributes...))
	return span
}

// end ends a span with its error.
func end(span trace.Span, err error, attributes ...attribute.KeyValue) {
	if err != nil {
		span.SetStatus(codes.Error, clip(err.Error()))
	}
	span.SetAttributes(attributes...)
	span.End()
}

// traceparent is the W3C form of a span, "" if it is not sampled.
func traceparent(sc trace.SpanContext) string {
	if !sc.IsSampled() {
		return ""
	}
	return "00-" + sc.TraceID().String() + "-" + sc.SpanID().String() + "-01"
}

// remote reads a traceparent, which hub has checked. It is the zero value for none.
func remote(parent string) trace.SpanContext {
	if len(parent) < 52 {
		return trace.SpanContext{}
	}
	id, err := trace.TraceIDFromHex(parent[3:35])
	if err != nil {
		return trace.SpanContext{}
	}
	span, err := trace.SpanIDFromHex(parent[36:52])
	if err != nil {
		return trace.SpanContext{}
	}
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: span, TraceFlags: trace.FlagsSampled, Remote: true})
}
