package agentmetrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the metrics of an agent, a prometheus.Collector.
type Metrics struct {
	nodeName                *prometheus.GaugeVec
	podStart                prometheus.Histogram
	podWorker               *prometheus.HistogramVec
	relist, relistInterval  prometheus.Histogram
	relistLastSeen          prometheus.Gauge
	discarded               prometheus.Counter
	podsStarted, podsFailed prometheus.Counter
	containersStarted       *prometheus.CounterVec
	containersFailed        *prometheus.CounterVec
	cgroups                 *prometheus.HistogramVec
	storage                 *prometheus.HistogramVec
	storageErrors           *prometheus.CounterVec
	imagePulls              *prometheus.HistogramVec

	mu         sync.Mutex
	lastRelist time.Time
}

// What a worker's pass over its pod is for.
const (
	Create    = "create"
	Sync      = "sync"
	Terminate = "terminating"
)

// New makes Metrics for the node of that name. The buckets are the kubelet's.
func New(node string) *Metrics {
	histogram := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}
	}
	counter := func(name, help string) prometheus.CounterOpts { return prometheus.CounterOpts{Name: name, Help: help} }
	usual := prometheus.DefBuckets
	starts := []float64{0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600}
	pulls := []float64{1, 5, 10, 20, 30, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600}
	volumes := []float64{.1, .25, .5, 1, 2.5, 5, 10, 15, 25, 50, 120, 300, 600}
	m := &Metrics{
		nodeName:          prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kubelet_node_name", Help: "The node's name. The value is always 1."}, []string{"node"}),
		podStart:          prometheus.NewHistogram(histogram("kubelet_pod_start_duration_seconds", "Duration in seconds from the agent seeing a pod for the first time to the pod running.", starts)),
		podWorker:         prometheus.NewHistogramVec(histogram("kubelet_pod_worker_duration_seconds", "Duration in seconds of one look at a pod, by what it was for.", usual), []string{"operation_type"}),
		relist:            prometheus.NewHistogram(histogram("kubelet_pleg_relist_duration_seconds", "Duration in seconds of a list of all sandboxes and containers.", usual)),
		relistInterval:    prometheus.NewHistogram(histogram("kubelet_pleg_relist_interval_seconds", "Interval in seconds between two such lists. While the runtime sends events there are few.", usual)),
		relistLastSeen:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "kubelet_pleg_last_seen_seconds", Help: "When sandboxes and containers were last listed, since the epoch."}),
		discarded:         prometheus.NewCounter(counter("kubelet_pleg_discard_events", "Events that were lost. Events here only wake a worker, and none is.")),
		podsStarted:       prometheus.NewCounter(counter("kubelet_started_pods_total", "Cumulative number of sandboxes that were made.")),
		podsFailed:        prometheus.NewCounter(counter("kubelet_started_pods_errors_total", "Cumulative number of sandboxes that could not be made.")),
		containersStarted: prometheus.NewCounterVec(counter("kubelet_started_containers_total", "Cumulative number of containers that were started, failures included."), []string{"container_type"}),
		containersFailed:  prometheus.NewCounterVec(counter("kubelet_started_containers_errors_total", "Cumulative number of containers that could not be started, by the reason."), []string{"container_type", "code"}),
		cgroups:           prometheus.NewHistogramVec(histogram("kubelet_cgroup_manager_duration_seconds", "Duration in seconds of changes of control groups, by what is done.", usual), []string{"operation_type"}),
		storage:           prometheus.NewHistogramVec(histogram("storage_operation_duration_seconds", "Duration in seconds of work on a volume.", volumes), []string{"volume_plugin", "operation_name", "status", "migrated"}),
		storageErrors:     prometheus.NewCounterVec(counter("storage_operation_errors_total", "Cumulative number of failures of work on a volume."), []string{"volume_plugin", "operation_name"}),
		imagePulls:        prometheus.NewHistogramVec(histogram("kubelet_image_pull_duration_seconds", "Duration in seconds of pulls of images, by the size of the image.", pulls), []string{"image_size_in_bytes"}),
	}
	m.nodeName.WithLabelValues(node).Set(1)
	return m
}

func (m *Metrics) all() []prometheus.Collector {
	return []prometheus.Collector{
		m.nodeName, m.podStart, m.podWorker, m.relist, m.relistInterval, m.relistLastSeen, m.discarded, m.podsStarted, m.podsFailed,
		m.containersStarted, m.containersFailed, m.cgroups, m.storage, m.storageErrors, m.imagePulls,
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.all() {
		c.Collect(ch)
	}
}

// PodRunning counts a pod that has begun to run, so long after it was first seen.
func (m *Metrics) PodRunning(after time.Duration) { m.podStart.Observe(after.Seconds()) }

// PodSynced counts a look at a pod. what is Create, Sync or Terminate.
func (m *Metrics) PodSynced(what string, took time.Duration) {
	m.podWorker.WithLabelValues(what).Observe(took.Seconds())
}

// Relisted counts a list of all sandboxes and containers.
func (m *Metrics) Relisted(began time.Time, took time.Duration) {
	m.relist.Observe(took.Seconds())
	m.relistLastSeen.Set(float64(began.Add(took).Unix()))
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.lastRelist.IsZero() {
		m.relistInterval.Observe(began.Sub(m.lastRelist).Seconds())
	}
	m.lastRelist = began
}

// SandboxMade counts a sandbox that was made, or the failure.
func (m *Metrics) SandboxMade(err error) {
	if m.podsStarted.Inc(); err != nil {
		m.podsFailed.Inc()
	}
}

// ContainerStarted counts a container that was started, or why it was not: reason is "" or that of
// the failure. kind is "container", "init_container" or "ephemeral_container".
func (m *Metrics) ContainerStarted(kind, reason string) {
	m.containersStarted.WithLabelValues(kind).Inc()
	if reason != "" {
		m.containersFailed.WithLabelValues(kind, reason).Inc()
	}
}

// CgroupChanged counts a change of control groups: "create", "update" or "destroy".
func (m *Metrics) CgroupChanged(what string, took time.Duration) {
	m.cgroups.WithLabelValues(what).Observe(took.Seconds())
}

// VolumeWorked counts work on a volume: "volume_mount" or "volume_unmount".
func (m *Metrics) VolumeWorked(plugin, operation string, err error, took time.Duration) {
	status := "success"
	if err != nil {
		status = "fail-unknown"
		m.storageErrors.WithLabelValues(plugin, operation).Inc()
	}
	m.storage.WithLabelValues(plugin, operation, status, "false").Observe(took.Seconds())
}

// ImagePulled counts a pull of an image of so many bytes.
func (m *Metrics) ImagePulled(size uint64, took time.Duration) {
	m.imagePulls.WithLabelValues(sizeClass(size)).Observe(took.Seconds())
}

// sizeClass is the kubelet's word for the size of an image.
func sizeClass(size uint64) string {
	const mb, gb = 1 << 20, 1 << 30
	for _, c := range []struct {
		above uint64
		name  string
	}{
		{100 * gb, "GT100GB"}, {60 * gb, "60GB-100GB"}, {40 * gb, "40GB-60GB"}, {30 * gb, "30GB-40GB"}, {20 * gb, "20GB-30GB"}, {10 * gb, "10GB-20GB"},
		{5 * gb, "5GB-10GB"}, {gb, "1GB-5GB"}, {500 * mb, "500MB-1GB"}, {100 * mb, "100MB-500MB"}, {10 * mb, "10MB-100MB"}, {0, "0-10MB"},
	} {
		if size > c.above {
			return c.name
		}
	}
	return "N/A"
}
