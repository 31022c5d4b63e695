package shutdown

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/edged/internal/durable"
)

// times are those of the last shutdown. Nothing else of it is known after the boot.
type times struct {
	Start time.Time `json:"startTime,omitzero"`
	End   time.Time `json:"endTime,omitzero"` // zero while it is under way, or was cut short
}

// loadTimes reads the times of the last shutdown; there may be none.
func (m *Manager) loadTimes() {
	if m.cfg.StateFile == "" {
		return
	}
	text, err := os.ReadFile(m.cfg.StateFile)
	var last times
	if err != nil || json.Unmarshal(text, &last) != nil {
		return
	}
	m.mu.Lock()
	m.last = last
	m.mu.Unlock()
}

// saveTimes keeps the times of this shutdown.
func (m *Manager) saveTimes(t times) {
	m.mu.Lock()
	m.last = t
	m.mu.Unlock()
	if m.cfg.StateFile == "" {
		return
	}
	text, err := json.Marshal(t)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(m.cfg.StateFile), 0o750)
	}
	if err == nil {
		err = durable.WriteFile(m.cfg.StateFile, text)
	}
	if err != nil {
		m.log.Warn("the times of this shutdown cannot be kept", "err", err)
	}
}

func descriptions() (start, end *prometheus.Desc) {
	return prometheus.NewDesc("kubelet_graceful_shutdown_start_time_seconds", "Last graceful shutdown start time since unix epoch in seconds", nil, nil),
		prometheus.NewDesc("kubelet_graceful_shutdown_end_time_seconds", "Last graceful shutdown end time since unix epoch in seconds", nil, nil)
}

// Describe describes the metrics of a Manager, a prometheus.Collector.
func (m *Manager) Describe(ch chan<- *prometheus.Desc) {
	start, end := descriptions()
	ch <- start
	ch <- end
}

// Collect sends when the last shutdown began and ended, 0 for never, under the kubelet's
// names.
func (m *Manager) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	last := m.last
	m.mu.Unlock()
	seconds := func(t time.Time) float64 {
		if t.IsZero() {
			return 0
		}
		return float64(t.UnixNano()) / 1e9
	}
	start, end := descriptions()
	ch <- prometheus.MustNewConstMetric(start, prometheus.GaugeValue, seconds(last.Start))
	ch <- prometheus.MustNewConstMetric(end, prometheus.GaugeValue, seconds(last.End))
}
