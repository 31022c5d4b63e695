package manager

import (
	"context"
	"io"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/edgekit/edgekit/hub"
)

// Outboxes makes one hub.Outbox of several, for hub.Endpoints.Outbox. No two may have a
// source in common: the names that EventOutbox and EventQueues make are random. If one of
// them fails to list its sources, the link gets that error, and asks again.
func Outboxes(parts ...hub.Outbox) hub.Outbox {
	return &outboxes{parts: parts, owner: make(map[string]hub.Outbox)}
}

type outboxes struct {
	parts []hub.Outbox

	mu    sync.Mutex
	owner map[string]hub.Outbox // by source
}

// Sources yields the sources of all parts.
func (o *outboxes) Sources(ctx context.Context) (iter.Seq[string], error) {
	var all []string
	owner := make(map[string]hub.Outbox)
	for _, p := range o.parts {
		list, err := p.Sources(ctx)
		if err != nil {
			return nil, err
		}
		for source := range list {
			all, owner[source] = append(all, source), p
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.Copy(o.owner, owner)
	return slices.Values(all), nil
}

// of returns the part that a source belongs to; nil if that is not known.
func (o *outboxes) of(source string) hub.Outbox {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.owner[source]
}

// Next reads the next event of a source.
func (o *outboxes) Next(ctx context.Context, source string, after uint64) (hub.Event, error) {
	if p := o.of(source); p != nil {
		return p.Next(ctx, source, after)
	}
	return hub.Event{}, io.EOF
}

// Acked passes the acknowledgement on. One for a source that no part has had since the start
// concerns nobody.
func (o *outboxes) Acked(ctx context.Context, source string, id uint64) error {
	if p := o.of(source); p != nil {
		return p.Acked(ctx, source, id)
	}
	return nil
}

// Subscribe subscribes at all parts.
func (o *outboxes) Subscribe(appended func(source string)) (stop func()) {
	stops := make([]func(), 0, len(o.parts))
	for _, p := range o.parts {
		stops = append(stops, p.Subscribe(func(source string) {
			o.mu.Lock()
			o.owner[source] = p
			o.mu.Unlock()
			appended(source)
		}))
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}
