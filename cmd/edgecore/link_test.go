package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// TestLinkOfClonedDisk has a second program with this node's identity connect:
// the link goes on without a session, says so in one line with what to do, and
// stands again when the other has been gone for a while.
func TestLinkOfClonedDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := memconn.New(memconn.Config{})
		server, err := hub.NewServer(hub.ServerConfig{Listener: net, Directory: &hubtest.Directory{}})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 3)
		run := func(f func(context.Context) error) context.CancelFunc {
			ctx, cancel := context.WithCancel(t.Context())
			go func() { done <- f(ctx) }()
			return cancel
		}
		stopServer := run(server.Run)
		var text bytes.Buffer
		log := slog.New(slog.NewTextHandler(&text, nil))
		l := &link{log: log, cfg: hub.ClientConfig{Dialer: net.Dialer("edge-1"), Node: "edge-1", Instance: "own", Logger: log}}
		if err := l.renew(); err != nil {
			t.Fatal(err)
		}
		stopLink := run(func(ctx context.Context) error { return l.run(ctx, hub.Endpoints{}) })
		time.Sleep(time.Minute)
		clone, err := hub.NewClient(hub.ClientConfig{Dialer: net.Dialer("edge-1"), Node: "edge-1", Instance: "clone"})
		if err != nil {
			t.Fatal(err)
		}
		stopClone := run(clone.Run)
		time.Sleep(time.Hour)
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("the link ended: %v", err)
		default:
		}
		if l.client.Load().Fenced() == nil || !clone.Info().Connected {
			t.Errorf("fenced: %v; the clone: %+v", l.client.Load().Fenced(), clone.Info())
		}
		stopClone()
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		if !l.client.Load().Info().Connected {
			t.Error("the clone is gone, and the link is not back")
		}
		stopLink()
		stopServer()
		for range 3 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if n := strings.Count(text.String(), "another program has taken this node over"); n != 1 || !strings.Contains(text.String(), "an identity of its own") || !strings.Contains(text.String(), "clone") {
			t.Errorf("%d lines say it: %s", n, text.String())
		}
	})
}
