package join_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/join"
)

func TestRenewSaves(t *testing.T) {
	c := newCloud(t)
	cred := c.joined(t, "edge-1")
	dir := t.TempDir()
	id := identity(t, c, cred, func(cfg *join.IdentityConfig) { cfg.Dir = dir })
	c.SetAhead(2 * time.Minute)
	if err := id.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := id.Credentials()
	if !got.Leaf.NotAfter.After(cred.Leaf.NotAfter) || join.SameKey(got.Key, cred.Key) {
		t.Fatalf("until %v, before %v", got.Leaf.NotAfter, cred.Leaf.NotAfter)
	}
	if saved, err := join.LoadCredentials(dir); err != nil || !saved.Leaf.Equal(got.Leaf) {
		t.Fatal(err)
	}
	if s := id.Stats(); s.Renewed != 1 || s.Failed != 0 || !s.Certificate.Equal(got.Leaf.NotAfter) || s.Authority.IsZero() {
		t.Errorf("%+v", s)
	}
}

// TestRenewRefusals: only the holder of the name renews, for as long as the
// cloud's grace lasts.
func TestRenewRefusals(t *testing.T) {
	const year = join.DefaultNodeLife
	for _, tt := range []struct {
		name  string
		cloud time.Duration // its clock is ahead by
		do    func(c *cloud, cred join.Credentials)
		want  error
	}{
		{"valid", 0, nil, nil},
		{"about to end", year - time.Hour, nil, nil},
		{"ended", year + time.Hour, nil, nil},
		{"ended, at the end of the grace period", year + join.DefaultGrace - time.Hour, nil, nil},
		{"ended, after the grace period", year + join.DefaultGrace + time.Hour, nil, join.ErrExpired},
		{"name was freed", 0, func(c *cloud, _ join.Credentials) { c.Forget("edge-1") }, join.ErrIdentity},
		{"name was freed and taken", 0, func(c *cloud, _ join.Credentials) {
			c.Forget("edge-1")
			c.joined(t, "edge-1")
		}, join.ErrIdentity},
		{"revoked", 0, func(c *cloud, cred join.Credentials) { c.Revoke("edge-1", join.KeyHash(cred.Leaf)) }, join.ErrRevoked},
		{"the cloud's clock is back in 1970", -55 * year, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCloud(t)
			cred := c.joined(t, "edge-1")
			if tt.do != nil {
				tt.do(c, cred)
			}
			clock, err := join.NewClock("")
			if err != nil {
				t.Fatal(err)
			}
			id := identity(t, c, cred, func(cfg *join.IdentityConfig) { cfg.Clock = clock })
			// The server's certificate is made when it is first shown.
			c.SetAhead(max(tt.cloud, 0))
			if err := id.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.SetAhead(tt.cloud)
			err = id.Renew(t.Context())
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if err != nil {
				t.Log(err)
			}
		})
	}
}

func TestNoGrace(t *testing.T) {
	c := newCloud(t)
	c.url = serve(t, c.Handler(func(cfg *join.HandlerConfig) { cfg.Grace = -1 }), c.ServerTLS())
	id := identity(t, c, c.joined(t, "edge-1"))
	c.SetAhead(join.DefaultNodeLife + time.Hour)
	if err := id.Renew(t.Context()); !errors.Is(err, join.ErrExpired) {
		t.Fatal(err)
	}
}

// TestExpiredNodeLinksAgain: a node that slept for longer than its certificate
// lives cannot link, renews with its key, and links.
func TestExpiredNodeLinksAgain(t *testing.T) {
	c := newLinkedCloud(t)
	clock, err := join.NewClock("")
	if err != nil {
		t.Fatal(err)
	}
	id := identity(t, c, c.joined(t, "edge-1"), func(cfg *join.IdentityConfig) { cfg.Clock = clock })
	c.SetAhead(join.DefaultNodeLife + 24*time.Hour)
	if _, err := c.link(t.Context(), id.TLS()); err == nil {
		t.Fatal("linked with a certificate that has expired")
	}
	if err := id.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.wantLink(t, id, "renewed")
}

// TestWrongClocks: the edge's clock is wrong. A late one is corrected by what the cloud's
// certificates prove; an early one gives an error, and the Clock learns nothing.
func TestWrongClocks(t *testing.T) {
	c := newCloud(t)
	c.SetAhead(3000 * time.Hour) // the edge is four months late
	clock, err := join.NewClock("")
	if err != nil {
		t.Fatal(err)
	}
	req := request(c, c.Token("edge-1"), "edge-1")
	req.Clock = clock
	cred, err := join.Join(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if ahead := time.Until(clock.Now()); ahead < 2999*time.Hour {
		t.Fatal("the clock learned only", ahead)
	}
	if err := identity(t, c, cred, func(cfg *join.IdentityConfig) { cfg.Clock = clock }).Renew(t.Context()); err != nil {
		t.Fatal(err)
	}

	// The edge believes that it is 2100: the cloud's certificate has ended.
	path := filepath.Join(t.TempDir(), "clock")
	const future = "2100-01-01T00:00:00Z\n"
	if err := os.WriteFile(path, []byte(future), 0o600); err != nil {
		t.Fatal(err)
	}
	early, err := join.NewClock(path)
	if err != nil {
		t.Fatal(err)
	}
	req = request(c, c.Token("edge-2"), "edge-2")
	req.Clock = early
	if _, err := join.Join(t.Context(), req); !errors.Is(err, join.ErrClock) {
		t.Fatal(err)
	}
	if _, err := join.Join(t.Context(), request(c, c.Token("edge-3"), "edge-3")); err != nil {
		t.Fatal(err)
	}
}

// TestClockLearnsOnlyWhatIsProved: the Clock does not learn from a system clock that is
// wrong by months, so the node works again when that is corrected.
func TestClockLearnsOnlyWhatIsProved(t *testing.T) {
	c := newCloud(t)
	path := filepath.Join(t.TempDir(), "clock")
	clock, err := join.NewClock(path)
	if err != nil {
		t.Fatal(err)
	}
	cred := c.joined(t, "edge-1")
	id := identity(t, c, cred, func(cfg *join.IdentityConfig) { cfg.Clock = clock })
	if err := id.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	learned, err := time.Parse(time.RFC3339, string(b[:len(b)-1]))
	if err != nil || !learned.Before(time.Now().Add(-time.Minute)) {
		t.Errorf("learned %v, which no certificate proves: %v", learned, err)
	}
}

// TestPendingKey: a join whose answer was lost is repeated, after a restart too,
// and does not use up its token for that.
func TestPendingKey(t *testing.T) {
	c := newCloud(t)
	dir := filepath.Join(t.TempDir(), "identity")
	token := c.Token("edge-1")
	for attempt := range 3 { // the first two answers are lost
		key, err := join.PendingKey(dir)
		if err != nil {
			t.Fatal(err)
		}
		cred, err := join.JoinWithKey(t.Context(), request(c, token, "edge-1"), key)
		if err != nil {
			t.Fatalf("attempt %d: %v", attempt, err)
		}
		if attempt == 2 {
			if err := cred.Save(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != join.File {
		t.Fatal("left behind:", left, err)
	}
	// A damaged file is replaced, and dropping a missing file is no error.
	if err := os.WriteFile(filepath.Join(dir, join.PendingFile), []byte("-----BEGIN"), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := join.PendingKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := join.PendingKey(dir); err != nil || !again.Equal(key) {
		t.Fatal("the new key was not kept:", err)
	}
	for range 2 {
		if err := join.DropPendingKey(dir); err != nil {
			t.Fatal(err)
		}
	}
}
