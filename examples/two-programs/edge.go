package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/memstate"
	"github.com/edgekit/edgekit/hub/quicconn"
	"github.com/edgekit/edgekit/hub/wsconn"
)

// edge is the program on a node.
type edge struct {
	cloud, node, dir, token string
	out                     io.Writer
	log                     *slog.Logger
}

func (e *edge) run(ctx context.Context) error {
	if e.node == "" || e.dir == "" {
		return errors.New("-node and -dir are required: the node's name, and where its certificate is kept")
	}
	identity, err := e.identity(ctx)
	if err != nil {
		return err
	}
	dialer, err := e.dialer(identity)
	if err != nil {
		return err
	}

	// What the cloud wants is printed as it comes; what this node reports is a reading.
	settings, err := memstate.NewSink(memstate.Limits{}, func(objects []hub.Object) {
		for _, o := range objects {
			fmt.Fprintf(e.out, "the cloud sets %s: %s\n", o.Key.Name, o.Body)
		}
	})
	if err != nil {
		return err
	}
	readings, err := memstate.NewSource(memstate.Limits{})
	if err != nil {
		return err
	}
	client, err := hub.NewClient(hub.ClientConfig{
		Dialer: dialer, Node: e.node, Down: settings, Up: readings, Logger: e.log,
	})
	if err != nil {
		return err
	}

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return identity.Run(ctx) }) // renews the certificate
	g.Go(func() error { return client.Run(ctx) })   // keeps the link
	g.Go(func() error { return e.ask(ctx, client) })
	g.Go(func() error { return measure(ctx, readings) })
	return g.Wait()
}

// identity loads the node's certificate, or joins with the token.
func (e *edge) identity(ctx context.Context) (*join.Identity, error) {
	url := "https://" + e.cloud
	cred, err := join.LoadCredentials(e.dir)
	if errors.Is(err, join.ErrNoCredentials) {
		cred, err = e.join(ctx, url)
	}
	if err != nil {
		return nil, err
	}
	return join.NewIdentity(join.IdentityConfig{Credentials: cred, URL: url, Dir: e.dir, Logger: e.log})
}

// join makes a key and gets a certificate for it. If the answer of the cloud is lost, the
// same token may be used again with the same key, which is on disk before it is sent.
func (e *edge) join(ctx context.Context, url string) (join.Credentials, error) {
	if e.token == "" {
		return join.Credentials{}, errors.New("this node has not joined yet: -token is required, the cloud prints one")
	}
	key, err := join.PendingKey(e.dir)
	if err != nil {
		return join.Credentials{}, err
	}
	cred, err := join.JoinWithKey(ctx, join.Request{URL: url, Token: e.token, Node: e.node}, key)
	if err != nil {
		return join.Credentials{}, err
	}
	return cred, cred.Save(e.dir)
}

// dialer tries QUIC first, and WebSocket where UDP does not get through.
func (e *edge) dialer(identity *join.Identity) (hub.Dialer, error) {
	quic, err := quicconn.NewDialer(quicconn.DialerConfig{Addr: e.cloud, TLS: identity.TLS()})
	if err != nil {
		return nil, err
	}
	ws, err := wsconn.NewDialer(wsconn.DialerConfig{URL: "https://" + e.cloud, TLS: identity.TLS()})
	if err != nil {
		return nil, err
	}
	return hub.NewRacer(hub.RaceConfig{Logger: e.log, Lanes: []hub.Lane{{Name: "quic", Dialer: quic}, {Name: "websocket", Dialer: ws}}})
}

// ask calls the cloud once, when there is a link.
func (e *edge) ask(ctx context.Context, client *hub.Client) error {
	select {
	case <-client.Ready():
	case <-ctx.Done():
		return nil
	}
	answer, err := client.Call(ctx, hub.Message{Key: hub.Key{Resource: "greetings"}})
	if err != nil {
		e.log.Warn("the cloud did not answer", "err", err) // ErrOffline: nothing was sent
		return nil
	}
	fmt.Fprintf(e.out, "the cloud says over %s: %s\n", client.Info().Transport, answer.Body)
	return nil
}

// measure reports a reading each second. While there is no link, the last one waits.
func measure(ctx context.Context, readings *memstate.Source) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for n := 0; ; n++ {
		if err := readings.Put(hub.Key{Resource: "readings", Name: "temperature"}, fmt.Appendf(nil, "%.1f", 20+float64(n%10)/10)); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}
