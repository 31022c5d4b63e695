package joinmetrics_test

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/join/joinmetrics"
	"github.com/edgekit/edgekit/hub/join/jointest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// names registers a collector, reads it, and gives the names of its figures.
func names(t *testing.T, c prometheus.Collector, err error) map[string]int {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]int)
	for _, f := range families {
		out[f.GetName()] = len(f.GetMetric())
	}
	return out
}

func TestCollectors(t *testing.T) {
	c := jointest.NewCloud(t)
	guard, err := join.NewGuard(join.GuardConfig{
		Directory: &hubtest.Directory{}, Disconnect: func(string, *hub.Error) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	guard.Revoke("key")
	collector, err := joinmetrics.NewCloud(joinmetrics.Cloud{Handler: c.Handler(), Keyring: c.Keyring, Guard: guard})
	got := names(t, collector, err)
	want := map[string]int{
		"edgekit_certificate_expiry_timestamp_seconds": 1, "edgekit_certificate_authorities": 1, "edgekit_revoked_keys": 1,
		"edgekit_revoked_sessions_ended_total": 1, "edgekit_revoked_connections_refused_total": 1,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("have %v, want %v", got, want)
	}
	if _, err := joinmetrics.NewCloud(joinmetrics.Cloud{}); err == nil {
		t.Error("made of nothing")
	}
	if _, err := joinmetrics.NewNode(nil); err == nil {
		t.Error("made of nothing")
	}
}
