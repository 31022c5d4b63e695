package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cloudevents"
)

// cloud is the way of events to cloudcore: edgecore's store.
type cloud struct{ host *host }

var _ pipeline.Cloud = cloud{}

// minGzip is from how many bytes on a batch is compressed.
const minGzip = 512

// busyPause is how long edgecore is left alone when it takes no more; tries of the sink would
// count as failures, and nothing has failed.
const busyPause = time.Second

// Send sends a batch: one CloudEvent, or a list of them. A batch that is too large for the link
// goes in halves: a first half that edgecore has is not sent again with the second. While edgecore
// holds enough, Send waits: the sink's queue keeps what comes.
func (c cloud) Send(ctx context.Context, p pipeline.Ref, sink, url string, events []pipeline.Event) error {
	if len(events) == 0 {
		return nil
	}
	body, err := encode(events)
	if err != nil {
		return fmt.Errorf("%w: %w", pipeline.ErrRefused, err)
	}
	encoding := ""
	if len(body) >= minGzip {
		if body, err = compress(body); err != nil {
			return err
		}
		encoding = "gzip"
	}
	for {
		err = c.host.events(ctx, p.Namespace, p.Name, sink, url, encoding, len(events), body)
		if _, busy := errors.AsType[*busyError](err); !busy {
			break
		}
		if !sleep(ctx, busyPause) {
			return ctx.Err()
		}
	}
	if !errors.Is(err, errTooLarge) {
		return err
	}
	if len(events) == 1 {
		return fmt.Errorf("%w: %w", pipeline.ErrRefused, err)
	}
	half := len(events) / 2
	if err := c.Send(ctx, p, sink, url, events[:half]); err != nil {
		return err
	}
	return behind(half, c.Send(ctx, p, sink, url, events[half:]))
}

// behind adds to err, which is about the rest of a batch, that its first events were sent.
func behind(sent int, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*pipeline.SentError](err); ok {
		return &pipeline.SentError{Sent: sent + e.Sent, Err: e.Err}
	}
	return &pipeline.SentError{Sent: sent, Err: err}
}

// encode is the form that controller/pipelines posts: one event by itself, several as a list.
func encode(events []pipeline.Event) ([]byte, error) {
	if len(events) == 1 {
		return cloudevents.AppendJSON(nil, &events[0])
	}
	return cloudevents.AppendBatch(nil, events)
}

func compress(body []byte) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(body); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
