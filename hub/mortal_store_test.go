package hub_test

import (
	"context"
	"iter"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
)

type mortalSource struct {
	hub.Source
	*life
}

func (s mortalSource) Versions(ctx context.Context) (iter.Seq2[hub.Key, string], error) {
	return take(s.life, "list the source", func() (iter.Seq2[hub.Key, string], error) { return s.Source.Versions(ctx) })
}

func (s mortalSource) Load(ctx context.Context, k hub.Key, held string) (hub.Object, error) {
	return take(s.life, "load", func() (hub.Object, error) { return s.Source.Load(ctx, k, held) })
}

type mortalAckedSource struct {
	mortalSource
	acker hub.Acker
}

func (s mortalAckedSource) Acked(ctx context.Context, acked []hub.Object) error {
	return s.act("tell the acker", func() error { return s.acker.Acked(ctx, acked) }, nil)
}

type mortalSink struct {
	hub.Sink
	*life
}

func (s mortalSink) Versions(ctx context.Context) (iter.Seq2[hub.Key, string], error) {
	return take(s.life, "list the sink", func() (iter.Seq2[hub.Key, string], error) { return s.Sink.Versions(ctx) })
}

func (s mortalSink) Apply(ctx context.Context, objects []hub.Object) error {
	return s.act("apply", func() error { return s.Sink.Apply(ctx, objects) }, nil)
}

type mortalOutbox struct {
	hub.Outbox
	*life
}

func (o mortalOutbox) Sources(ctx context.Context) (iter.Seq[string], error) {
	return take(o.life, "list the outbox", func() (iter.Seq[string], error) { return o.Outbox.Sources(ctx) })
}

func (o mortalOutbox) Next(ctx context.Context, source string, after uint64) (hub.Event, error) {
	return take(o.life, "read", func() (hub.Event, error) { return o.Outbox.Next(ctx, source, after) })
}

func (o mortalOutbox) Acked(ctx context.Context, source string, id uint64) error {
	return o.act("forget", func() error { return o.Outbox.Acked(ctx, source, id) }, nil)
}

type mortalInbox struct {
	hub.Inbox
	*life
}

func (i mortalInbox) Marks(ctx context.Context) (iter.Seq2[string, uint64], error) {
	return take(i.life, "list the marks", func() (iter.Seq2[string, uint64], error) { return i.Inbox.Marks(ctx) })
}

func (i mortalInbox) Append(ctx context.Context, source string, events []hub.Event) error {
	return i.act("append", func() error { return i.Inbox.Append(ctx, source, events) }, nil)
}

type mortalDirectory struct {
	*hubtest.Directory
	*life
}

func (d mortalDirectory) Attach(ctx context.Context, h hub.Hello) (hub.Node, error) {
	n, err := take(d.life, "attach", func() (hub.Node, error) { return d.Directory.Attach(ctx, h) })
	if err != nil {
		return hub.Node{}, err
	}
	n.Down, n.Up = mortalSource{n.Down, d.life}, mortalSink{n.Up, d.life}
	n.Inbox, n.Outbox = mortalInbox{n.Inbox, d.life}, mortalOutbox{n.Outbox, d.life}
	return n, nil
}
