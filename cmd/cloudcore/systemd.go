package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/edgekit/edgekit/cmd/internal/sdnotify"
)

// reportToSystemd reports that cloudcore is ready, where nodes connect, and, for the
// watchdog, that the state of sessions and nodes can be read.
func (s *server) reportToSystemd(ctx context.Context) error {
	return sdnotify.New(sdnotify.Config{
		Healthy: func(context.Context) error {
			select {
			case <-s.controller.Ready():
			default:
				return errors.New("caches are being filled from the API server")
			}
			s.controller.LifecycleStats() // these two block where a lock is held for ever
			s.hub.Stats()
			return nil
		},
		Status: func(ctx context.Context, set func(string)) {
			set(fmt.Sprintf("nodes connect at %s", s.edge.listener.Addr()))
			<-ctx.Done()
		},
		Logger: s.log.With("component", "systemd"),
	}).Run(ctx)
}
