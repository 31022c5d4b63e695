package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cel"
	"github.com/edgekit/edgekit/bus/pipeline/codec"
	"github.com/edgekit/edgekit/bus/pipeline/control"
	"github.com/edgekit/edgekit/bus/pipeline/queue"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/apiserver"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// run runs what edgecore says until ctx ends.
func run(ctx context.Context, folder string, log *slog.Logger) error {
	host := newHost(filepath.Join(folder, wire.HostSocket), log)
	defer host.close()
	first, err := host.first(ctx)
	if err != nil || ctx.Err() != nil {
		return ignoreCancel(ctx, err)
	}
	store, err := badgerstore.Open(badgerstore.Config{
		Dir: filepath.Join(folder, wire.Store), Logger: log.With("component", "store"),
		Damaged: func(e *meta.CorruptError) {
			log.Error("the store of pipelines was damaged and is set aside: events and windows in it are lost", "err", e)
		},
	})
	if err != nil {
		return err
	}
	defer store.Close()
	queues, err := queue.New(queue.Config{Store: store, Logger: log.With("component", "queue")})
	if err != nil {
		return err
	}
	expressions, err := cel.New(cel.Config{})
	if err != nil {
		return err
	}
	parts, err := newParts(first, host, filepath.Join(folder, wire.State), log)
	if err != nil {
		return err
	}
	runner, err := pipeline.New(pipeline.Config{
		Options: pipeline.Options{Expressions: expressions, Decoder: codec.New, Schema: codec.Schema},
		Openers: openers(), Env: parts.env, Queues: queues, Store: store, Logger: log.With("component", "pipelines"),
	})
	if err != nil {
		return err
	}
	handler, err := control.New(control.Config{Runner: runner, Queues: queues, More: newMetrics(runner)})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, part := range parts.runs {
		g.Go(func() error { return part(ctx) })
	}
	g.Go(func() error { return runner.Run(ctx) })
	g.Go(func() error { return serve(ctx, filepath.Join(folder, wire.Socket), handler, log) })
	g.Go(func() error { return host.follow(ctx, first, func(s *wire.Set) { parts.apply(s, runner) }) })
	g.Go(func() error { return report(ctx, host, parts, runner) })
	return ignoreCancel(ctx, g.Wait())
}

// ignoreCancel returns nil for the end of ctx, which is how edgepipe is stopped.
func ignoreCancel(ctx context.Context, err error) error {
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil
	}
	return err
}

// serve serves edgectl, and edgecore's /metrics, on a socket that only root may open.
func serve(ctx context.Context, path string, handler http.Handler, log *slog.Logger) error {
	l, err := apiserver.ListenSocket(ctx, path, log)
	if err != nil {
		return ignoreCancel(ctx, fmt.Errorf("edgepipe.sock: %w", err))
	}
	s := &http.Server{Handler: handler, ReadHeaderTimeout: 15 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	defer context.AfterFunc(ctx, func() { s.Close() })()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("edgepipe.sock: %w", err)
	}
	return nil
}

// report sends the status of all Pipelines to edgecore, at once when one changes and now and then.
func report(ctx context.Context, host *host, parts *parts, runner *pipeline.Runner) error {
	for {
		changed := runner.Changed()
		if err := host.report(ctx, parts.statuses(runner.Status())); err != nil && ctx.Err() == nil {
			host.log.Warn("edgecore does not take the status of pipelines; trying again", "err", err)
		}
		gather := time.NewTimer(reportEvery)
		select {
		case <-changed:
			gather.Reset(reportGather)
			select {
			case <-gather.C:
			case <-ctx.Done():
			}
		case <-gather.C:
		case <-ctx.Done():
		}
		gather.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// reportEvery is how often statuses are sent though none has changed; reportGather how long
// changes are gathered.
const (
	reportEvery  = 10 * time.Second
	reportGather = 200 * time.Millisecond
)
