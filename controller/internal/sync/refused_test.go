package sync_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// oneSink is a Directory whose every node reports to one sink.
type oneSink struct{ sink *nodesync.Sink }

func (d oneSink) Attach(context.Context, hub.Hello) (hub.Node, error) {
	return hub.Node{Up: d.sink}, nil
}

// oneSession has node edge-7 send its reports to the server in one session, in a bubble.
func oneSession(t *testing.T, cfg hub.ServerConfig, reports hub.Source) {
	t.Helper()
	network := memconn.New(memconn.Config{})
	cfg.Listener = network
	server, err := hub.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	client, err := hub.NewClient(hub.ClientConfig{Dialer: network.Dialer("edge-7"), Node: "edge-7", Up: reports})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Run(ctx) })
	wg.Go(func() { _ = client.Run(ctx) })
	synctest.Wait()
	cancel()
	wg.Wait()
}

// TestRefusedIsLoggedOnce: two of three reports of a batch are refused for good. hub logs
// each of them once, and no other code does.
func TestRefusedIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		log := slog.New(slog.NewTextHandler(&text, nil))
		sink, err := nodesync.NewSink(nodesync.SinkConfig{Node: "edge-7", Writers: map[string]nodesync.Writer{
			"pods/status": func(_ context.Context, _ string, obj hub.Object) error {
				if obj.Key.Name == "good" {
					return nil
				}
				return &hub.Error{Code: hub.CodeForbidden, Text: "not yours"}
			},
		}})
		if err != nil {
			t.Fatal(err)
		}
		var reports hubtest.Source
		for _, name := range []string{"bad", "good", "worse"} {
			reports.Put(hub.Key{Resource: "pods/status", Namespace: "shop", Name: name}, 1, "{}")
		}
		oneSession(t, hub.ServerConfig{Directory: oneSink{sink}, Logger: log}, &reports)
		for name, want := range map[string]int{"bad": 1, "good": 0, "worse": 1} {
			if n := strings.Count(text.String(), "key=pods/status/shop/"+name); n != want {
				t.Errorf("%s is in %d lines, want %d:\n%s", name, n, want, text.String())
			}
		}
		if !strings.Contains(text.String(), "node=edge-7") || !strings.Contains(text.String(), "not yours") {
			t.Errorf("the line lacks the node or the reason:\n%s", text.String())
		}
	})
}
