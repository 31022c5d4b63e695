package extra

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/internal/outbound"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// otlpSink posts OTLP over HTTP in protobuf.
type otlpSink struct {
	env     pipeline.Env
	client  *outbound.Client
	metrics bool
}

func openOTLP(spec *v1alpha1.Sink, env pipeline.Env) (pipeline.Sink, error) {
	u, err := outbound.ParseURL("otlp.endpoint", spec.OTLP.Endpoint, "https", "http")
	if err != nil {
		return nil, specError(spec, err)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/logs"
	}
	if _, err := compression(spec, "gzip", "none"); err != nil {
		return nil, err
	}
	client, err := outbound.NewClient(env, spec, u, nil)
	if err != nil {
		return nil, specError(spec, err)
	}
	return &otlpSink{env: env, client: client, metrics: strings.HasSuffix(u.Path, "/v1/metrics")}, nil
}

// Send posts the events in one request. A receiver that rejects some of them does not say which:
// then the engine sends halves.
func (s *otlpSink) Send(ctx context.Context, events []pipeline.Event) error {
	body, n, after := s.body(events)
	err := error(nil)
	if n > 0 {
		err = s.post(ctx, body)
	}
	if err == nil {
		err = after
	}
	if err != nil {
		return fmt.Errorf("bus/pipeline/extra: otlp: %w", err)
	}
	return nil
}

// body makes a request of the events up to the first that has no form; after is its error.
func (s *otlpSink) body(events []pipeline.Event) (m proto.Message, n int, after error) {
	resource := &resourcepb.Resource{}
	if s.env.Node != "" {
		resource.Attributes = []*commonpb.KeyValue{text("k8s.node.name", s.env.Node)}
	}
	scope := &commonpb.InstrumentationScope{Name: "edgekit/pipeline", Attributes: []*commonpb.KeyValue{text("pipeline", s.env.Ref.String())}}
	if s.metrics {
		list, n, after := metricsOf(events)
		return &metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{{Resource: resource, ScopeMetrics: []*metricspb.ScopeMetrics{{Scope: scope, Metrics: list}}}}}, n, after
	}
	var records []*logspb.LogRecord
	for i := range events {
		r, err := logOf(&events[i], s.env)
		if err != nil {
			after = refused(i, err)
			break
		}
		records = append(records, r)
	}
	return &logspb.LogsData{ResourceLogs: []*logspb.ResourceLogs{{Resource: resource, ScopeLogs: []*logspb.ScopeLogs{{Scope: scope, LogRecords: records}}}}}, len(records), after
}

func (s *otlpSink) post(ctx context.Context, m proto.Message) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	answer, err := s.client.PostAnswer(ctx, "application/x-protobuf", b)
	if err != nil {
		return err
	}
	if n := rejected(answer); n > 0 {
		return fmt.Errorf("%w: the receiver rejects %d items", pipeline.ErrRefused, n)
	}
	return nil
}

func (s *otlpSink) Close() error { return s.client.Close() }

// rejected reads how many items a receiver has rejected: field 1 of the partial success, which
// is field 1 of the answer for logs and for metrics. An answer that is none of the protocol says
// nothing.
func rejected(b []byte) int64 {
	if partial := field(b, protowire.BytesType); len(partial) > 0 {
		if n, size := protowire.ConsumeVarint(field(partial, protowire.VarintType)); size > 0 && n <= math.MaxInt64 {
			return int64(n)
		}
	}
	return 0
}

// field returns the content of the first field 1 of a type, nil if there is none.
func field(b []byte, want protowire.Type) []byte {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil
		}
		size := protowire.ConsumeFieldValue(number, kind, b[n:])
		if size < 0 {
			return nil
		}
		value := b[n : n+size]
		if number == 1 && kind == want {
			if kind == protowire.BytesType {
				value, _ = protowire.ConsumeBytes(value)
			}
			return value
		}
		b = b[n+size:]
	}
	return nil
}

func text(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: strings.ToValidUTF8(value, "\uFFFD")}}}
}

// attributes are those of an event, for a log record or a point.
func attributes(e *pipeline.Event) []*commonpb.KeyValue {
	out := []*commonpb.KeyValue{text("event.source", e.Source)}
	if e.Subject != "" {
		out = append(out, text("event.subject", e.Subject))
	}
	for _, k := range slices.Sorted(maps.Keys(e.Extensions)) {
		out = append(out, text(k, e.Extensions[k]))
	}
	return out
}

func logOf(e *pipeline.Event, env pipeline.Env) (*logspb.LogRecord, error) {
	body, err := anyValue(e.Data, 0)
	if err != nil {
		return nil, err
	}
	r := &logspb.LogRecord{Body: body, EventName: strings.ToValidUTF8(e.Type, "\uFFFD"), Attributes: append(attributes(e), text("event.id", e.ID))}
	r.ObservedTimeUnixNano = nanos(env.Clock.Now().UnixNano())
	if y := e.Time.Year(); !e.Time.IsZero() && y >= 1970 && y < 2262 {
		r.TimeUnixNano = nanos(e.Time.UnixNano())
	}
	return r, nil
}

func nanos(n int64) uint64 { return uint64(max(n, 0)) } //nolint:gosec // not negative

// anyValue is the form of data.
func anyValue(v any, depth int) (*commonpb.AnyValue, error) {
	if depth > 64 {
		return nil, errors.New("the data is too deep")
	}
	switch v := v.(type) {
	case nil:
		return &commonpb.AnyValue{}, nil
	case bool:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: v}}, nil
	case int64:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: v}}, nil
	case uint64:
		if v > math.MaxInt64 {
			return &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: float64(v)}}, nil
		}
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: int64(v)}}, nil
	case float64:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: v}}, nil
	case string:
		return text("", v).Value, nil
	case []byte:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_BytesValue{BytesValue: v}}, nil
	case []any:
		list := &commonpb.ArrayValue{}
		for _, e := range v {
			one, err := anyValue(e, depth+1)
			if err != nil {
				return nil, err
			}
			list.Values = append(list.Values, one)
		}
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: list}}, nil
	case map[string]any:
		list := &commonpb.KeyValueList{}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			one, err := anyValue(v[k], depth+1)
			if err != nil {
				return nil, err
			}
			list.Values = append(list.Values, &commonpb.KeyValue{Key: strings.ToValidUTF8(k, "\uFFFD"), Value: one})
		}
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_KvlistValue{KvlistValue: list}}, nil
	}
	return nil, fmt.Errorf("data of type %T has no form in OTLP", v)
}

// metricsOf makes gauges of the numbers in the data: one with the event's type as its name for a
// number, one for each field that is a number for an object.
func metricsOf(events []pipeline.Event) (list []*metricspb.Metric, n int, after error) {
	byName := make(map[string]*metricspb.Gauge)
	for i := range events {
		e := &events[i]
		fields, ok := e.Data.(map[string]any)
		if !ok {
			fields = map[string]any{e.Type: e.Data}
		}
		found := false
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			p := &metricspb.NumberDataPoint{TimeUnixNano: nanos(e.Time.UnixNano()), Attributes: attributes(e)}
			switch v := fields[name].(type) {
			case int64:
				p.Value = &metricspb.NumberDataPoint_AsInt{AsInt: v}
			case uint64:
				p.Value = &metricspb.NumberDataPoint_AsDouble{AsDouble: float64(v)}
			case float64:
				p.Value = &metricspb.NumberDataPoint_AsDouble{AsDouble: v}
			default:
				continue
			}
			found = true
			name = strings.ToValidUTF8(name, "\uFFFD")
			if byName[name] == nil {
				byName[name] = &metricspb.Gauge{}
				list = append(list, &metricspb.Metric{Name: name, Data: &metricspb.Metric_Gauge{Gauge: byName[name]}})
			}
			byName[name].DataPoints = append(byName[name].DataPoints, p)
		}
		if !found {
			return list, i, refused(i, errors.New("the data has no number, which a metric is made of"))
		}
	}
	return list, len(events), nil
}
