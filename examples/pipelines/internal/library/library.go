package library

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cel"
	"github.com/edgekit/edgekit/bus/pipeline/codec"
	"github.com/edgekit/edgekit/bus/pipeline/queue"
	"github.com/edgekit/edgekit/bus/pipeline/sinks"
	"github.com/edgekit/edgekit/bus/pipeline/sources"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// Config sets up Run. Broker and Dir are required.
type Config struct {
	Broker    string                 // the MQTT broker: tcp://HOST:PORT
	Dir       string                 // keeps queues, window state and files
	Pipelines []*v1alpha1.Pipeline   // what runs
	Sinks     pipeline.SinkOpener    // nil: those of package sinks
	Twins     pipeline.Twins         // nil: none
	Secret    pipeline.Secret        // nil: none
	Running   func(*pipeline.Runner) // called once, when the pipelines are applied; nil means not
	Logger    *slog.Logger           // nil discards
}

// Run runs pipelines until ctx ends, then returns nil.
func Run(ctx context.Context, cfg Config) error {
	store, err := badgerstore.Open(badgerstore.Config{Dir: filepath.Join(cfg.Dir, "store")})
	if err != nil {
		return err
	}
	defer store.Close()
	queues, err1 := queue.New(queue.Config{Store: store, Logger: cfg.Logger})
	expressions, err2 := cel.New(cel.Config{})
	publish, err3 := client.New(client.Config{URL: cfg.Broker, ClientID: "pipelines", Logger: cfg.Logger})
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	if cfg.Sinks == nil {
		cfg.Sinks = sinks.Open
	}
	runner, err := pipeline.New(pipeline.Config{
		Options: pipeline.Options{Expressions: expressions, Decoder: codec.New, Schema: codec.Schema},
		Openers: pipeline.Openers{Source: sources.Open, Sink: cfg.Sinks},
		Env: pipeline.Env{Broker: &broker{cfg.Broker, publish}, Twins: cfg.Twins, Secret: cfg.Secret,
			Files: filepath.Join(cfg.Dir, "files"), State: filepath.Join(cfg.Dir, "state")},
		Queues: queues, Store: store, Logger: cfg.Logger,
	})
	if err != nil {
		return err
	}
	runner.Apply(cfg.Pipelines)
	if cfg.Running != nil {
		cfg.Running(runner)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return publish.Run(ctx) })
	group.Go(func() error { return runner.Run(ctx) })
	return group.Wait()
}

// broker is MQTT for pipelines: one client that publishes, and one for each source.
type broker struct {
	url     string
	publish *client.Client
}

// Publish returns nil when the broker has the message.
func (b *broker) Publish(ctx context.Context, m bus.Message) error {
	done := make(chan struct{})
	if err := b.publish.PublishConfirm(ctx, m, func() { close(done) }); err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Consume has a session at the broker, which keeps what comes while the program is away.
func (b *broker) Consume(ctx context.Context, name string, sub pipeline.Subscription, handle func(context.Context, bus.Message, func()) error) error {
	c, err := client.New(client.Config{URL: b.url, ClientID: "pipelines/" + name, SessionExpiry: 24 * time.Hour, ReceiveMaximum: 1024})
	if err != nil {
		return err
	}
	return c.Consume(ctx, sub.Filter, sub.QoS, handle)
}
