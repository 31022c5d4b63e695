package evictor

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

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

// Write writes how many pods were evicted, by signal, in Prometheus' text format and
// under the kubelet's name.
func (e *Evictor) Write(w io.Writer) error {
	e.mu.Lock()
	evicted := maps.Clone(e.evicted)
	e.mu.Unlock()
	var out strings.Builder
	out.WriteString("# HELP kubelet_evictions Cumulative number of pod evictions by eviction signal\n# TYPE kubelet_evictions counter\n")
	for _, s := range slices.Sorted(maps.Keys(evicted)) {
		fmt.Fprintf(&out, "kubelet_evictions{eviction_signal=%q} %d\n", string(s), evicted[s])
	}
	_, err := io.WriteString(w, out.String())
	return err
}
