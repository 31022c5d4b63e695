package pipelines

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/delivery"
	"github.com/edgekit/edgekit/hub"
)

// Headers of requests.
const (
	nodeHeader     = "Edgekit-Node"
	idHeader       = "Edgekit-Event-Id" // the same at each try of a batch
	pipelineHeader = "Edgekit-Pipeline" // NAMESPACE/NAME
	sinkHeader     = "Edgekit-Sink"
)

// defaultRetry is how long a batch is tried where retry.for says nothing.
const defaultRetry = 24 * time.Hour

// try sends one batch once. nil means that it is done with: taken, given up, or nobody's.
func (c *Controller) try(ctx context.Context, node string, e hub.Event, since time.Time) error {
	err := c.tryOnce(ctx, node, e, since)
	if err == nil {
		c.partials.forget(sourceKey{node, e.Source})
	}
	return err
}

// tryOnce delivers a batch, or the parts of it that earlier tries have left.
func (c *Controller) tryOnce(ctx context.Context, node string, e hub.Event, since time.Time) error {
	name := cache.Name{Namespace: e.Key.Namespace, Name: e.Key.Name}
	drop := func(why string, args ...any) error {
		c.statuses.counts.dropped.Add(1)
		c.log.Warn("a batch of a node is dropped: "+why, append(args, "node", node, "pipeline", e.Key.String())...)
		return nil
	}
	batch, err := wire.DecodeBatch(e.Body)
	if err != nil {
		return drop("it cannot be read", "err", err)
	}
	item, ok := c.pipelines.Load(name)
	if !ok || !c.isFor(item.Object, node) {
		p, err := c.get(ctx, name)
		if err == nil && p != nil {
			ok, err = c.isLive(ctx, p, node)
		} else {
			ok = false
		}
		if err != nil || ok {
			return &delivery.SendError{Text: "the pipeline is not known yet"}
		}
		return drop("it has no such pipeline")
	}
	sink := cloudSink(item.Object, batch.Sink)
	if sink == nil {
		return drop("the pipeline has no such sink of kind cloud", "sink", batch.Sink)
	}
	from := sourceKey{node, e.Source}
	s := &sending{c: c, node: node, event: e, batch: &batch, p: item.Object, sink: sink, partial: c.partials.load(from, e.ID, batch.Events)}
	err = s.all(ctx)
	c.partials.keep(from, e.ID, batch.Events, s.partial)
	switch {
	case err == nil:
		if s.refused > 0 {
			c.statuses.failure(name, node, wire.Failure{
				Step: batch.Sink, Reason: v1alpha1.ReasonRefused, Event: s.last,
				Message: fmt.Sprintf("%d of %d events were given up, since the URL refuses them: %v", s.refused, batch.Events, s.why),
			}, s.refused)
		}
		c.statuses.taken(name, node, batch.Sink, s.taken)
		return nil
	case ctx.Err() != nil:
		return err
	}
	wait := defaultRetry
	if sink.Retry != nil && sink.Retry.For != nil {
		wait = max(0, sink.Retry.For.Duration)
	}
	failed, ok := errors.AsType[*delivery.SendError](err)
	if (!ok || !failed.Final) && time.Since(since) < wait {
		c.statuses.failure(name, node, wire.Failure{Step: batch.Sink, Reason: v1alpha1.ReasonSinkRetrying, Message: err.Error()}, 0)
		return err
	}
	if s.taken > 0 {
		c.statuses.taken(name, node, batch.Sink, s.taken)
	}
	left := batch.Events - s.taken
	c.statuses.failure(name, node, wire.Failure{Step: batch.Sink, Reason: v1alpha1.ReasonExpired, Message: fmt.Sprintf("%d events were given up: %v", left, err)}, left)
	return nil
}

// cloudSink finds a sink of kind cloud.
func cloudSink(p *v1alpha1.Pipeline, name string) *v1alpha1.Sink {
	for i := range p.Spec.Sinks {
		if s := &p.Spec.Sinks[i]; string(s.Name) == name && s.Cloud != nil {
			return s
		}
	}
	return nil
}

// send sends a batch, or a part of it, to the URL of the Pipeline: what the node says of it does
// not count.
func (c *Controller) send(ctx context.Context, s *sending, some *part) error {
	var inflated *inflater
	err := c.targets.Send(ctx, func(ctx context.Context) (*http.Request, error) {
		u, err := delivery.ParseTarget(string(s.sink.Cloud.URL))
		if err != nil {
			return nil, fmt.Errorf("sink %s: cloud.url: %w", s.sink.Name, err)
		}
		var body io.Reader
		if some != nil {
			body = some.body()
		} else if body, inflated, err = s.body(); err != nil {
			return nil, err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), body)
		if err != nil {
			return nil, err
		}
		s.headers(req.Header, some)
		return req, nil
	})
	if inflated != nil && inflated.failed() != nil && err != nil {
		return &delivery.SendError{Text: "the batch cannot be read: " + inflated.failed().Error(), Final: true}
	}
	return err
}

// inflater decompresses a batch on its way, so that it is never in memory as a whole.
type inflater struct {
	z    *gzip.Reader
	left int64
	errs chan error // holds the error of a batch that is no gzip or too large
}

func newInflater(b []byte) (*inflater, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("the batch cannot be read: %w", err)
	}
	return &inflater{z: z, left: wire.MaxInflated, errs: make(chan error, 1)}, nil
}

// Read reads the decompressed batch. net/http calls it from one goroutine.
func (i *inflater) Read(p []byte) (int, error) {
	n, err := i.z.Read(p)
	if i.left -= int64(n); i.left < 0 {
		n, err = 0, fmt.Errorf("it has more than %d bytes", wire.MaxInflated)
	}
	if err != nil && err != io.EOF { //nolint:errorlint // a gzip.Reader gives io.EOF itself
		select {
		case i.errs <- err:
		default:
		}
	}
	return n, err
}

// failed returns why reading failed; nil if it did not.
func (i *inflater) failed() error {
	select {
	case err := <-i.errs:
		i.errs <- err
		return err
	default:
		return nil
	}
}

// now is the time as a status has it.
func now() metav1.Time { return metav1.Now().Rfc3339Copy() }
