package main

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/edgekit/edgekit/hub"
)

// refusedRetry is how long the node works on without the cloud after the
// cloud refused it. Only an operator can mend that, on either side; the node
// must not stop its pods for it.
const refusedRetry = 5 * time.Minute

// link is the node's link to the cloud, for as long as the node runs.
type link struct {
	cfg    hub.ClientConfig
	log    *slog.Logger
	client atomic.Pointer[hub.Client]
}

// renew makes a client for the next run.
func (l *link) renew() error {
	c, err := hub.NewClient(l.cfg)
	if err == nil {
		l.client.Store(c)
	}
	return err
}

// Call asks the cloud: the link is the manager's Caller.
func (l *link) Call(ctx context.Context, m hub.Message) (hub.Message, error) {
	return l.client.Load().Call(ctx, m)
}

// OpenStream opens a stream to the cloud, for rules.
func (l *link) OpenStream(ctx context.Context, m hub.Message) (hub.Stream, error) {
	return l.client.Load().OpenStream(ctx, m)
}

// run keeps the link until ctx ends. While another program holds the node's session, the
// client logs that and waits.
func (l *link) run(ctx context.Context, endpoints hub.Endpoints) error {
	for {
		err := l.client.Load().Serve(ctx, endpoints)
		refused, ok := errors.AsType[*hub.RefusedError](err)
		if !ok {
			return err
		}
		l.log.Error("the cloud refuses this node: pods and devices go on without the cloud", "err", refused, "retry", refusedRetry)
		select {
		case <-time.After(refusedRetry):
		case <-ctx.Done():
			return nil
		}
		if err := l.renew(); err != nil {
			return err
		}
	}
}
