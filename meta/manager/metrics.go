package manager

import (
	"context"
	"fmt"
	"io"
)

// Export writes the Manager's figures in Prometheus' text format.
func (m *Manager) Export(_ context.Context, w io.Writer) error {
	s, info := m.Stats(), m.Connection()
	connected, since := 0, int64(0)
	if info.Connected {
		connected = 1
	}
	if !info.Since.IsZero() {
		since = info.Since.Unix()
	}
	for _, f := range []struct {
		name, kind, help string
		value            any
	}{
		{"edgekit_meta_connected", "gauge", "Whether the link to the cloud stands.", connected},
		{"edgekit_meta_connected_since_seconds", "gauge", "Since when the link has stood or not, in seconds since 1970; 0 if unknown.", since},
		{"edgekit_meta_events_waiting", "gauge", "Events in the outbox that the cloud has not acknowledged.", s.EventsWaiting},
		{"edgekit_meta_events_dropped_total", "counter", "Events dropped because the outbox was full.", s.EventsDropped},
		{"edgekit_meta_state_refused_total", "counter", "Reports of state refused because the outbox was full.", s.StateRefused},
		{"edgekit_meta_queries_local_total", "counter", "Queries answered by the store.", s.QueriesLocal},
		{"edgekit_meta_queries_stale_total", "counter", "Queries answered by what was not fresh, for want of the cloud.", s.QueriesStale},
		{"edgekit_meta_queries_cloud_total", "counter", "Queries answered by the cloud.", s.QueriesCloud},
	} {
		if _, err := fmt.Fprintf(w, "# HELP %[1]s %[3]s\n# TYPE %[1]s %[2]s\n%[1]s %[4]d\n", f.name, f.kind, f.help, f.value); err != nil {
			return fmt.Errorf("meta/manager: %w", err)
		}
	}
	return nil
}
