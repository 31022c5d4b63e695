package volume

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// Stats is Usage in the form of a kubelet's summary.
func (m *Manager) Stats(ctx context.Context, pod *corev1.Pod) []statsapi.VolumeStats {
	var out []statsapi.VolumeStats
	for _, u := range m.Usage(ctx, pod) {
		v := statsapi.VolumeStats{Name: u.Volume, FsStats: statsapi.FsStats{
			Time: metav1.NewTime(u.Time), CapacityBytes: count(u.Bytes), UsedBytes: count(u.BytesUsed), AvailableBytes: count(u.BytesAvailable),
			Inodes: count(u.Inodes), InodesUsed: count(u.InodesUsed), InodesFree: count(u.InodesAvailable),
		}}
		if u.Claim != "" {
			v.PVCRef = &statsapi.PVCReference{Name: u.Claim, Namespace: pod.Namespace}
		}
		out = append(out, v)
	}
	return out
}

// count is a count of a volume; a driver that is wrong may give one below 0.
func count(n int64) *uint64 { return new(uint64(max(n, 0))) }

// metric is a metric of the claims' volumes.
type metric struct {
	desc  *prometheus.Desc
	value func(Usage) int64
}

// metrics are a kubelet's: pkg/kubelet/metrics/collectors/volume_stats.go.
// That of a volume's health (KEP-1432) is gone from Kubernetes 1.37, as what it was made of
// is from CSI.
func metrics() []metric {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("kubelet_volume_stats_"+name, help, []string{"namespace", "persistentvolumeclaim"}, nil)
	}
	return []metric{
		{desc("capacity_bytes", "Capacity in bytes of the volume"), func(u Usage) int64 { return u.Bytes }},
		{desc("available_bytes", "Number of available bytes in the volume"), func(u Usage) int64 { return u.BytesAvailable }},
		{desc("used_bytes", "Number of used bytes in the volume"), func(u Usage) int64 { return u.BytesUsed }},
		{desc("inodes", "Maximum number of inodes in the volume"), func(u Usage) int64 { return u.Inodes }},
		{desc("inodes_free", "Number of free inodes in the volume"), func(u Usage) int64 { return u.InodesAvailable }},
		{desc("inodes_used", "Number of used inodes in the volume"), func(u Usage) int64 { return u.InodesUsed }},
	}
}

// collectLimit is how long Collect waits for drivers: a scrape is not held up by one
// that hangs.
const collectLimit = 5 * time.Second

// Describe describes what Collect sends.
func (m *Manager) Describe(ch chan<- *prometheus.Desc) {
	for _, one := range metrics() {
		ch <- one.desc
	}
}

// Collect sends how full the claims' volumes of these pods are, each claim once.
func (m *Manager) Collect(ch chan<- prometheus.Metric, pods []*corev1.Pod) {
	// A scrape has no context.
	ctx, cancel := context.WithTimeout(context.Background(), collectLimit)
	defer cancel()
	type claim struct{ namespace, name string }
	seen := make(map[claim]bool)
	all := metrics()
	for _, pod := range pods {
		for _, u := range m.Usage(ctx, pod) {
			key := claim{pod.Namespace, u.Claim}
			if u.Claim == "" || seen[key] {
				continue
			}
			seen[key] = true
			for _, one := range all {
				ch <- prometheus.MustNewConstMetric(one.desc, prometheus.GaugeValue, float64(one.value(u)), key.namespace, key.name)
			}
		}
	}
}
