package join_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/join"
)

// messages sends what is logged to a channel.
type messages chan string

func (messages) Enabled(context.Context, slog.Level) bool { return true }
func (m messages) Handle(_ context.Context, r slog.Record) error {
	m <- r.Message
	return nil
}
func (m messages) WithAttrs([]slog.Attr) slog.Handler { return m }
func (m messages) WithGroup(string) slog.Handler      { return m }

// TestRun: a certificate that is due is renewed; Run goes on while the cloud cannot be
// reached.
func TestRun(t *testing.T) {
	c := newCloud(t)
	cred := c.joined(t, "edge-1")
	clock, err := join.NewClock("")
	if err != nil {
		t.Fatal(err)
	}
	clock.Learn(time.Now().Add(join.DefaultNodeLife * 3 / 4))
	c.SetAhead(join.DefaultNodeLife * 3 / 4)
	for _, tt := range []struct{ url, want string }{
		{c.url, "certificate was renewed"},
		{"https://127.0.0.1:1", "certificate was not renewed"},
	} {
		log := make(messages, 16)
		id := identity(t, c, cred, func(cfg *join.IdentityConfig) {
			cfg.Clock, cfg.URL, cfg.Logger = clock, tt.url, slog.New(log)
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- id.Run(ctx) }()
		for got := ""; got != tt.want; got = <-log {
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
