package metrics_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
	"github.com/edgekit/edgekit/hub/metrics"
)

func sample() hub.Stats {
	return hub.Stats{
		Sessions:   map[string]int{"quic": 3},
		Backlog:    map[string]hub.Backlog{"quic": {UnderWay: 2, Waiting: 9}},
		Handshakes: map[hub.HandshakeResult]uint64{hub.HandshakeOK: 5, hub.HandshakeGarbage: 1},
		Ended:      map[hub.EndReason]uint64{hub.EndSilent: 2},
		Sent:       map[hub.Class]hub.Traffic{hub.ClassState: {Messages: 7, Bytes: 700}},
		Queued:     map[hub.Class]int{hub.ClassEvent: 4},
		Acked:      map[hub.Class]uint64{hub.ClassState: 6},
		Dropped:    map[hub.Drop]uint64{{Class: hub.ClassEvent, Reason: hub.DropRefused}: 1},
		RoundTrip:  hub.Histogram{Bounds: []time.Duration{time.Millisecond, time.Second}, Counts: []uint64{1, 2, 3}, Sum: time.Minute},
		Fenced:     true,
		Behind:     2, EventsPresumed: 8,
	}
}

func TestCollector(t *testing.T) {
	if _, err := metrics.New(metrics.Config{}); err == nil || !strings.Contains(err.Error(), "Config.Stats") {
		t.Errorf("without Stats: %v", err)
	}
	c, err := metrics.New(metrics.Config{Stats: sample})
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry() // wants Describe and Collect to agree
	registry.MustRegister(c)
	text := scrape(t, registry)
	for _, want := range []string{
		`edgekit_hub_sessions{transport="quic"} 3`,
		`edgekit_hub_entering{stage="line",transport="quic"} 9`,
		`edgekit_hub_entering{stage="handshake",transport="quic"} 2`,
		`edgekit_hub_handshakes_total{result="garbage"} 1`,
		`edgekit_hub_sessions_ended_total{reason="silent"} 2`,
		`edgekit_hub_bytes_total{class="state",direction="sent"} 700`,
		`edgekit_hub_queued{class="event"} 4`,
		`edgekit_hub_acked_total{class="state"} 6`,
		`edgekit_hub_dropped_total{class="event",reason="refused"} 1`,
		`edgekit_hub_round_trip_seconds_bucket{le="1"} 3`,
		`edgekit_hub_round_trip_seconds_count 6`,
		`edgekit_hub_owner_behind_total 2`,
		`edgekit_hub_events_presumed_total 8`,
		`edgekit_hub_resyncs_total{outcome="equal"} 0`,
		`edgekit_hub_fenced 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("missing: %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// scrape returns what a Prometheus would read.
func scrape(t testing.TB, registry *prometheus.Registry) string {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

func Example() {
	server, err := hub.NewServer(hub.ServerConfig{Listener: memconn.New(memconn.Config{}), Directory: &hubtest.Directory{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	collector, err := metrics.New(metrics.Config{Stats: server.Stats})
	if err != nil {
		fmt.Println(err)
		return
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector)
	families, err := registry.Gather()
	fmt.Println(families[0].GetName(), err)
	// Output: edgekit_hub_acked_total <nil>
}
