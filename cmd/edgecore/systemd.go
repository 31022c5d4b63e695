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

	"github.com/edgekit/edgekit/cmd/internal/linkstate"
	"github.com/edgekit/edgekit/cmd/internal/sdnotify"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/manager"
)

// answerLimit is how long each of the node's own servers has for an answer that needs no work.
const answerLimit = 20 * time.Second

// reportToSystemd is the part that says that the agent is ready, what its link does, and, for
// the watchdog, that it is healthy: the store can be read, and both of the node's own servers
// answer. That the cloud or the container runtime is away is no reason for a restart. asked ends
// when the program is asked to stop: if its parts end before, it may start itself again.
func reportToSystemd(asked context.Context, n *node, mgr *manager.Manager, log *slog.Logger) func(context.Context) error {
	return sdnotify.New(sdnotify.Config{
		Healthy: func(ctx context.Context) error { return healthy(ctx, n.store, filepath.Join(n.data, apiDir)) },
		Status: func(ctx context.Context, set func(string)) {
			for info := range mgr.Connections(ctx) {
				set(linkOf(n, info).String())
			}
		},
		Continues: func() bool { return asked.Err() == nil },
		Logger:    log,
	}).Run
}

// healthy reads the store and asks the servers behind the sockets in dir.
func healthy(ctx context.Context, store meta.Store, dir string) error {
	if _, err := store.Get(ctx, runsKey); err != nil && !errors.Is(err, meta.ErrNotFound) {
		return fmt.Errorf("the store: %w", err)
	}
	for _, socket := range []string{apiSocket, kubeletSocket} {
		if err := answers(ctx, filepath.Join(dir, socket)); err != nil {
			return fmt.Errorf("%s: %w", socket, err)
		}
	}
	return nil
}

// answers asks the server behind a socket; any answer is good.
func answers(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node/healthz", nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// linkOf describes the link.
func linkOf(n *node, info hub.Info) linkstate.Link {
	return linkstate.Link{
		Node: n.name, Cloud: n.cloud, Connected: info.Connected, Since: info.Since, Reason: info.Reason, Transport: info.Transport,
	}
}

// linkPaths are the path of the link's state in the node's own API. Only the node's administrator
// may read it: it names the cloud.
func linkPaths(n *node, mgr *manager.Manager) map[string]http.Handler {
	return map[string]http.Handler{linkstate.Path: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if onlyAdmin(w, r, "see the link") {
			answerJSON(w, linkOf(n, mgr.Connection()))
		}
	})}
}
