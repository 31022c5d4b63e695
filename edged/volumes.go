package edged

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/edgekit/edgekit/edged/internal/events"
	"github.com/edgekit/edgekit/edged/nodestatus"
	"github.com/edgekit/edgekit/edged/volume"
)

// newVolumes makes what prepares the pods' volumes, of what Objects and Reports can do
// besides. inUseChanged is called when the node uses other attached volumes than before.
func (c Config) newVolumes(recorder *events.Recorder, inUseChanged func()) (*volume.Manager, error) {
	cfg := volume.Config{
		Root: c.Root, Source: c.API.withLocalCA(c.Objects), Logger: c.Logger, CSI: c.CSI,
		Node: c.NodeName, Labels: nodestatus.Labels(c.NodeName, c.Labels), InUseChanged: inUseChanged,
		Event: func(pod *corev1.Pod, reason, message string) {
			recorder.Pod(pod, corev1.EventTypeWarning, reason, message)
		},
		OnDisk: func(err error) {
			recorder.Node(corev1.EventTypeWarning, "SecretsOnDisk", "the agent may not mount a tmpfs: pods' secrets are written to disk: "+err.Error())
		},
	}
	cfg.Claims, _ = c.Objects.(VolumeReader) // nil without
	cfg.CSIDrivers, _ = c.Objects.(CSIDriverReader)
	cfg.TrustBundles, _ = c.Objects.(TrustBundleReader)
	cfg.PodCertificates, _ = c.Objects.(PodCertificates)
	cfg.Attachments, _ = c.Objects.(VolumeAttachmentReader)
	if node, ok := c.Objects.(NodeReader); ok {
		cfg.OwnNode = node.OwnNode
	}
	if claims, ok := c.Reports.(ClaimReporter); ok {
		cfg.Expanded = claims.ClaimExpanded
	}
	return volume.New(cfg)
}

// VolumeStats says how full the pod's persistent volumes are, for the summary of
// edged/stats.
func (a *Agent) VolumeStats(ctx context.Context, pod *corev1.Pod) []statsapi.VolumeStats {
	return a.volumes.Stats(ctx, pod)
}
