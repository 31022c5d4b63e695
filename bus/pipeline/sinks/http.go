package sinks

import (
	"context"
	"fmt"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cloudevents"
	"github.com/edgekit/edgekit/bus/pipeline/internal/outbound"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// httpSink posts batches.
type httpSink struct {
	kind    string
	client  *outbound.Client
	content string
	body    func([]pipeline.Event) ([]byte, error)
}

func openHTTP(spec *v1alpha1.Sink, env pipeline.Env) (pipeline.Sink, error) {
	u, err := outbound.ParseURL("http.url", spec.HTTP.URL, "https", "http")
	if err != nil {
		return nil, specError(spec, err)
	}
	client, err := outbound.NewClient(env, spec, u, spec.HTTP.Headers)
	if err != nil {
		return nil, specError(spec, fmt.Errorf("http.%w", err))
	}
	s := &httpSink{kind: "http", client: client}
	switch spec.HTTP.Format {
	case "", formatCloudEvents:
		s.content = cloudevents.BatchContentType
		s.body = func(events []pipeline.Event) ([]byte, error) { return appendBatch(nil, events) }
	case formatLines:
		s.content = "application/x-ndjson"
		s.body = func(events []pipeline.Event) ([]byte, error) { return appendLines(nil, events, appendData) }
	default:
		return nil, specError(spec, fmt.Errorf("http.format is %.40q: use cloudevents or lines", spec.HTTP.Format))
	}
	return s, nil
}

// Send posts the events in one request. If the receiver refuses them, the engine sends halves.
func (s *httpSink) Send(ctx context.Context, events []pipeline.Event) error {
	body, n, after, err := sendable(events, s.body)
	if err == nil && n > 0 {
		err = s.client.Post(ctx, s.content, body)
	}
	if err == nil {
		err = after
	}
	if err != nil {
		return fmt.Errorf("bus/pipeline/sinks: %s: %w", s.kind, err)
	}
	return nil
}

func (s *httpSink) Close() error { return s.client.Close() }
