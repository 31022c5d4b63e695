package edged

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/edgekit/edgekit/edged/internal/notfound"
	"github.com/edgekit/edgekit/edged/nodestatus"
)

// nodeLabels are the labels of this node, by which a persistent volume says on which
// nodes it is: those of the cloud's Node, where there is one, over those that the
// agent gives its Node itself.
func (c Config) nodeLabels(ctx context.Context) map[string]string {
	labels := nodestatus.Labels(c.NodeName, c.Labels)
	reader, ok := c.Objects.(NodeReader)
	if !ok {
		return labels
	}
	node, err := reader.OwnNode(ctx)
	if err == nil {
		maps.Copy(labels, node.Labels)
	} else if !notfound.Is(err) && ctx.Err() == nil {
		c.Logger.Warn("cannot read this node's Node; volumes are judged by the labels of this agent alone", "err", err)
	}
	return labels
}

// claimExpanded reports that a claim's volume has grown.
func (c Config) claimExpanded(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if reports, ok := c.Reports.(ClaimReporter); ok {
		return reports.ClaimExpanded(ctx, claim)
	}
	return nil
}

// VolumeStats says how full the pod's persistent volumes are, for the summary of
// edged/stats.
func (a *Agent) VolumeStats(ctx context.Context, pod *corev1.Pod) []statsapi.VolumeStats {
	return a.volumes.Stats(ctx, pod)
}
