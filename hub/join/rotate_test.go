package join_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/join"
)

const linkPath = "/link"

// newLinkedCloud is a cloud with a handler that only a node can reach: it answers with
// the node's name.
func newLinkedCloud(t *testing.T) *cloud {
	t.Helper()
	c := newCloud(t)
	mux := http.NewServeMux()
	mux.Handle("/", c.Handler())
	mux.HandleFunc(linkPath, func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.VerifiedChains) == 0 {
			http.Error(w, "no certificate", http.StatusUnauthorized)
			return
		}
		name, err := join.NodeName(r.TLS.VerifiedChains[0][0])
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, name)
	})
	c.url = serve(t, mux, c.ServerTLS())
	return c
}

// link connects as a node does, and returns the name by which the cloud knows it.
func (c *cloud) link(ctx context.Context, cfg *tls.Config) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+linkPath, http.NoBody)
	if err != nil {
		return "", err
	}
	tr := &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	return string(b), err
}

func (c *cloud) wantLink(t *testing.T, id *join.Identity, stage string) {
	t.Helper()
	if name, err := c.link(t.Context(), id.TLS()); err != nil || name != id.Credentials().Node {
		t.Fatalf("%s: %s links as %q: %v", stage, id.Credentials().Node, name, err)
	}
}

// step changes the cloud's authorities while it runs.
func (c *cloud) step(t *testing.T, change func(join.Authorities) (join.Authorities, error)) join.Authorities {
	t.Helper()
	a, err := change(c.Keyring.Authorities())
	if err != nil {
		t.Fatal(err)
	}
	// Over the form in which it is stored.
	files, err := a.Files()
	if err != nil {
		t.Fatal(err)
	}
	if a, err = join.ParseAuthorities(files); err != nil {
		t.Fatal(err)
	}
	if err := c.Keyring.Update(a); err != nil {
		t.Fatal(err)
	}
	return a
}

func publish(next *join.CA) func(join.Authorities) (join.Authorities, error) {
	return func(a join.Authorities) (join.Authorities, error) { return a.Publish(next, time.Now()) }
}

func newCA(t testing.TB, name string) *join.CA {
	t.Helper()
	ca, err := join.NewCA(name, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// TestRotation rotates a cloud's authority, with real TLS. One node is online all the
// time, one is offline during all of it, one joins in the middle, and one is offline
// until its authority is forgotten.
func TestRotation(t *testing.T) {
	c := newLinkedCloud(t)
	ctx := t.Context()
	dir := t.TempDir()
	awake := identity(t, c, c.joined(t, "awake"), func(cfg *join.IdentityConfig) { cfg.Dir = dir })
	asleep, lost := identity(t, c, c.joined(t, "asleep")), identity(t, c, c.joined(t, "lost"))
	invited := c.token("invited", time.Hour) // carries the pin of the first authority
	first, next := c.CA.Pin(), newCA(t, "second")

	c.step(t, publish(next))
	c.wantLink(t, asleep, "published")
	if err := awake.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if got := awake.Credentials(); len(got.Roots) != 2 || join.KeyHash(got.Roots[0]) != first || join.KeyHash(got.Roots[1]) != next.Pin() {
		t.Fatalf("after publish the node trusts %d authorities", len(got.Roots))
	}
	if saved, err := join.LoadCredentials(dir); err != nil || len(saved.Roots) != 2 {
		t.Fatal("the new authority was not saved:", err)
	}

	c.step(t, join.Authorities.Switch)
	c.wantLink(t, awake, "switched")
	c.wantLink(t, asleep, "switched, without knowing the new authority") // over the bridge
	if err := awake.Renew(ctx); err != nil {
		t.Fatal(err)
	}
	if err := awake.Credentials().Leaf.CheckSignatureFrom(next.Certificate()); err != nil {
		t.Fatal("the new authority did not sign:", err)
	}
	if c.Issuer("awake") != next.Pin() || c.Issuer("asleep") != first {
		t.Fatal("the ledger does not say who has a certificate of which authority")
	}
	cred, err := join.Join(ctx, request(c, invited, "invited"))
	if err != nil {
		t.Fatal("a token with the pin of the authority before:", err)
	}
	c.wantLink(t, identity(t, c, cred), "joined after the switch")

	c.step(t, join.Authorities.Retire)
	c.wantLink(t, awake, "retired")
	if _, err := c.link(ctx, asleep.TLS()); err == nil {
		t.Fatal("a certificate of a retired authority is good for the link")
	}
	if err := asleep.Renew(ctx); err != nil {
		t.Fatal("slept through all of it:", err)
	}
	c.wantLink(t, asleep, "woken")
	if err := awake.Refresh(ctx); err != nil || len(awake.Credentials().Roots) != 1 {
		t.Fatal("the node still trusts the retired authority:", err)
	}

	c.step(t, func(a join.Authorities) (join.Authorities, error) { return a.Forget(first) })
	c.wantLink(t, awake, "forgotten")
	c.wantLink(t, asleep, "forgotten")
	if err := lost.Renew(ctx); !errors.Is(err, join.ErrPin) {
		t.Fatal("knows only a forgotten authority:", err)
	}
}

// TestRotationsOverslept: a node that was offline during several rotations comes back
// over the bridges of all authorities that were not forgotten.
func TestRotationsOverslept(t *testing.T) {
	c := newLinkedCloud(t)
	id := identity(t, c, c.joined(t, "edge-1"))
	for _, name := range []string{"second", "third", "fourth"} {
		c.step(t, publish(newCA(t, name)))
		c.step(t, join.Authorities.Switch)
		c.step(t, join.Authorities.Retire)
	}
	if err := id.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.wantLink(t, id, "after three rotations")
}

// TestNodeNoticesNewAuthority: after a connection over a bridge the node asks which
// authorities to trust, and a node whose authority no longer signs renews.
func TestNodeNoticesNewAuthority(t *testing.T) {
	c := newLinkedCloud(t)
	id := identity(t, c, c.joined(t, "edge-1"))
	c.step(t, publish(newCA(t, "second")))
	select {
	case <-id.NewAuthority():
		t.Fatal("news before there are any")
	default:
	}
	c.step(t, join.Authorities.Switch)
	c.wantLink(t, id, "switched")
	select {
	case <-id.NewAuthority():
	default:
		t.Fatal("the node did not notice")
	}
}

func TestStages(t *testing.T) {
	a := join.Authorities{Issuer: newCA(t, "first")}
	second := newCA(t, "second")
	if _, err := a.Switch(); !errors.Is(err, join.ErrStage) {
		t.Error("switched to nothing:", err)
	}
	if _, err := a.Retire(); !errors.Is(err, join.ErrStage) {
		t.Error("retired nothing:", err)
	}
	for _, pin := range []string{a.Issuer.Pin(), "none"} {
		if _, err := a.Forget(pin); !errors.Is(err, join.ErrStage) {
			t.Errorf("forgot %s: %v", pin, err)
		}
	}
	if _, err := a.Publish(a.Issuer, time.Now()); !errors.Is(err, join.ErrStage) {
		t.Error("published the issuer:", err)
	}
	b, err := a.Publish(second, time.Now())
	if err != nil || !b.Bridged() || a.Next != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(newCA(t, "third"), time.Now()); !errors.Is(err, join.ErrStage) {
		t.Error("published two:", err)
	}
	if c, err := b.Forget(second.Pin()); err != nil || c.Next != nil || len(c.Bridges) != 0 {
		t.Error("a publication was not taken back:", err)
	}
	if b, err = b.Switch(); err != nil {
		t.Fatal(err)
	}
	var stages []string
	for _, l := range b.List() {
		stages = append(stages, l.Stage+" "+l.Certificate.Subject.CommonName)
	}
	if got := fmt.Sprint(stages); got != "[issuer second trusted first]" {
		t.Error(got)
	}
}
