package join_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/join"
)

// lives has the life of every node's certificate, or an error.
type lives struct {
	life time.Duration
	err  error
}

func (l lives) Life(context.Context, string) (time.Duration, error) { return l.life, l.err }

// TestLives: a node may have a life of its own, within bounds; one that cannot be read
// does not keep it from its certificate.
func TestLives(t *testing.T) {
	for name, tt := range map[string]struct {
		lives join.Lives
		want  time.Duration
	}{
		"none":       {nil, 24 * time.Hour},
		"default":    {lives{}, 24 * time.Hour},
		"its own":    {lives{life: 48 * time.Hour}, 48 * time.Hour},
		"too short":  {lives{life: time.Second}, 2 * time.Hour},
		"too long":   {lives{life: 1000 * time.Hour}, 100 * time.Hour},
		"unreadable": {lives{life: time.Hour, err: errors.New("damaged")}, 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t)
			c.url = serve(t, c.Handler(func(cfg *join.HandlerConfig) {
				cfg.Life, cfg.Lives, cfg.MinLife, cfg.MaxLife = 24*time.Hour, tt.lives, 2*time.Hour, 100*time.Hour
			}), c.ServerTLS())
			cred := c.joined(t, "edge-1")
			id := identity(t, c, cred)
			for range 2 { // a join and a renewal
				if got := time.Until(id.Credentials().Leaf.NotAfter); got < tt.want-time.Hour || got > tt.want+time.Minute {
					t.Errorf("valid for %s, want %s", got, tt.want)
				}
				if err := id.Renew(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestRenewAt: the cloud says when a certificate is renewed, and the node remembers it
// over a restart.
func TestRenewAt(t *testing.T) {
	c := newCloud(t)
	c.url = serve(t, c.Handler(func(cfg *join.HandlerConfig) { cfg.RenewAt = 0.25 }), c.ServerTLS())
	dir := t.TempDir()
	if err := c.joined(t, "edge-1").Save(dir); err != nil {
		t.Fatal(err)
	}
	cred, err := join.LoadCredentials(dir)
	if err != nil {
		t.Fatal(err)
	}
	life := cred.Leaf.NotAfter.Sub(cred.Leaf.NotBefore)
	if at := cred.RenewAt.Sub(cred.Leaf.NotBefore); at < life/4-time.Second || at > life/4 {
		t.Errorf("renewed after %s of %s", at, life)
	}
	if got := join.RenewTime(cred); !got.Equal(cred.RenewAt) {
		t.Errorf("renewed at %s, want %s", got, cred.RenewAt)
	}
	two := cred.Leaf.NotBefore.Add(life / 3 * 2)
	for name, at := range map[string]time.Time{"none": {}, "before its life": cred.Leaf.NotBefore, "after it": cred.Leaf.NotAfter} {
		cred.RenewAt = at
		if got := join.RenewTime(cred); !got.Equal(two) {
			t.Errorf("%s: renewed at %s, want %s", name, got, two)
		}
	}
}

func TestLifeSettings(t *testing.T) {
	c := newCloud(t)
	for field, edit := range map[string]func(*join.HandlerConfig){
		"HandlerConfig.MinLife": func(cfg *join.HandlerConfig) { cfg.MinLife = -1 },
		"HandlerConfig.Life":    func(cfg *join.HandlerConfig) { cfg.Life, cfg.MaxLife = 48*time.Hour, 24*time.Hour },
		"MinLife (":             func(cfg *join.HandlerConfig) { cfg.Life, cfg.MinLife = time.Hour, 24*time.Hour },
		"HandlerConfig.RenewAt": func(cfg *join.HandlerConfig) { cfg.RenewAt = 1 },
		"want a share":          func(cfg *join.HandlerConfig) { cfg.RenewAt = math.NaN() },
	} {
		cfg := join.HandlerConfig{Keyring: c.Keyring, Tokens: &c.Store, Names: &c.Store}
		edit(&cfg)
		if _, err := join.NewHandler(cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
