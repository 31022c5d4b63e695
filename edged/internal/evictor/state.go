package evictor

import (
	"context"
	"maps"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/notfound"
)

// lastConditions are the conditions that an earlier run reported and that thresholds had
// caused.
func (e *Evictor) lastConditions(ctx context.Context) []corev1.NodeConditionType {
	if e.cfg.LastNode == nil {
		return nil
	}
	node, err := e.cfg.LastNode(ctx)
	if err != nil {
		if !notfound.Is(err) && ctx.Err() == nil {
			e.log.Debug("cannot recall the node's conditions", "err", err)
		}
		return nil
	}
	var out []corev1.NodeConditionType
	for _, c := range node.Status.Conditions {
		switch c.Reason {
		case "KubeletHasInsufficientMemory", "KubeletHasDiskPressure", "KubeletHasInsufficientPID":
			if c.Status == corev1.ConditionTrue {
				out = append(out, c.Type)
			}
		}
	}
	return out
}

// Describe describes the metric of an Evictor, a prometheus.Collector.
func (e *Evictor) Describe(ch chan<- *prometheus.Desc) { ch <- evictions() }

// Collect sends how many pods were evicted, by signal, under the kubelet's name.
func (e *Evictor) Collect(ch chan<- prometheus.Metric) {
	e.mu.Lock()
	evicted := maps.Clone(e.evicted)
	e.mu.Unlock()
	for signal, n := range evicted {
		ch <- prometheus.MustNewConstMetric(evictions(), prometheus.CounterValue, float64(n), string(signal))
	}
}

func evictions() *prometheus.Desc {
	return prometheus.NewDesc("kubelet_evictions", "Cumulative number of pod evictions by eviction signal", []string{"eviction_signal"}, nil)
}
