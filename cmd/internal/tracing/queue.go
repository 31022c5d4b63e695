package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

const (
	batchSize  = 256
	linger     = time.Second     // how long a batch waits for more spans
	flushLimit = 2 * time.Second // for what waits when the program stops
)

// Stats are the counts of spans so far.
type Stats struct {
	Exported uint64 // the receiver has them
	Dropped  uint64 // the queue was full
	Failed   uint64 // the receiver did not take them
	Ignored  uint64 // traceparents of nodes beyond the limit of a node
	Waiting  int    // in the queue now
}

// queue is between the ends of spans and the receiver. The SDK's own batch processor does not say how many
// spans it dropped, and starts its goroutine when it is made.
type queue struct {
	spans   chan sdktrace.ReadOnlySpan
	options []otlptracehttp.Option
	log     *slog.Logger

	exported, dropped, failed atomic.Uint64
}

var _ sdktrace.SpanProcessor = (*queue)(nil)

func newQueue(cfg Config, options []otlptracehttp.Option, headers map[string]string) *queue {
	if len(headers) > 0 {
		options = append(options, otlptracehttp.WithHeaders(headers))
	}
	return &queue{spans: make(chan sdktrace.ReadOnlySpan, cfg.Queue), options: options, log: cfg.Logger}
}

// OnStart does nothing.
func (q *queue) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd queues a span, or drops it.
func (q *queue) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	select {
	case q.spans <- s:
	default:
		q.dropped.Add(1)
	}
}

// Shutdown does nothing: run ends with its context.
func (q *queue) Shutdown(context.Context) error { return nil }

// ForceFlush does nothing: run exports.
func (q *queue) ForceFlush(context.Context) error { return nil }

// run exports batches until ctx ends.
func (q *queue) run(ctx context.Context) error {
	exporter, err := otlptrace.New(ctx, otlptracehttp.NewClient(q.options...))
	if err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	failing := false
	for ctx.Err() == nil {
		batch := q.batch(ctx)
		if len(batch) == 0 {
			continue
		}
		if ctx.Err() != nil { // the last one is flushed below
			q.flush(ctx, exporter, batch)
			break
		}
		err := exporter.ExportSpans(ctx, batch)
		q.count(len(batch), err)
		switch {
		case ctx.Err() != nil:
		case err != nil && !failing:
			q.log.Warn("the receiver of traces does not take spans; they are dropped until it does", "err", clip(err.Error()))
		case err == nil && failing:
			q.log.Info("the receiver of traces takes spans again", "failed", q.failed.Load(), "dropped", q.dropped.Load())
		}
		failing = err != nil
	}
	q.flush(ctx, exporter, q.rest())
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushLimit)
	defer cancel()
	if err := exporter.Shutdown(end); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		q.log.Debug("the exporter of traces did not end in order", "err", err)
	}
	return nil
}

func (q *queue) count(n int, err error) {
	if err != nil {
		q.failed.Add(uint64(n))
		return
	}
	q.exported.Add(uint64(n))
}

// batch waits for a span and then for more. It returns none when ctx ends first.
func (q *queue) batch(ctx context.Context) []sdktrace.ReadOnlySpan {
	var batch []sdktrace.ReadOnlySpan
	select {
	case s := <-q.spans:
		batch = append(batch, s)
	case <-ctx.Done():
		return nil
	}
	timer := time.NewTimer(linger)
	defer timer.Stop()
	for len(batch) < batchSize {
		select {
		case s := <-q.spans:
			batch = append(batch, s)
		case <-timer.C:
			return batch
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}

// rest is what waits.
func (q *queue) rest() (batch []sdktrace.ReadOnlySpan) {
	for {
		select {
		case s := <-q.spans:
			batch = append(batch, s)
		default:
			return batch
		}
	}
}

// flush sends a last batch, for a limited time, after ctx has ended.
func (q *queue) flush(ctx context.Context, exporter *otlptrace.Exporter, batch []sdktrace.ReadOnlySpan) {
	if len(batch) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushLimit)
	defer cancel()
	q.count(len(batch), exporter.ExportSpans(ctx, batch))
}

// Stats returns the counts so far.
func (t *Tracer) Stats() Stats {
	q := t.queue
	return Stats{Exported: q.exported.Load(), Dropped: q.dropped.Load(), Failed: q.failed.Load(), Ignored: t.reports.ignored.Load(), Waiting: len(q.spans)}
}
