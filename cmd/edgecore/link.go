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
	// refused is set while the node waits after the cloud refused it.
	refused atomic.Pointer[refusal]
}

// refusal is why the cloud refuses the node, and when the node asks again.
type refusal struct {
	err      error
	at, next time.Time
}

// attempt is how the last attempt to connect ended.
func (l *link) attempt() hub.Attempt {
	if r := l.refused.Load(); r != nil {
		return hub.Attempt{Failed: 1, Err: r.err, At: r.at, Next: r.next}
	}
	return l.client.Load().LastAttempt()
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
		now := time.Now()
		l.refused.Store(&refusal{refused, now, now.Add(refusedRetry)})
		select {
		case <-time.After(refusedRetry):
		case <-ctx.Done():
			return nil
		}
		if err := l.renew(); err != nil {
			return err
		}
		l.refused.Store(nil)
	}
}
