package stats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/edgekit/edgekit/edged/internal/containermetrics"
	"github.com/edgekit/edgekit/edged/runtime"
)

// Pods says which pods there are, and since when their containers run;
// *edged.Agent is one.
type Pods interface {
	// Pods lists the pods with their newest statuses.
	Pods() []*corev1.Pod
}

// Config sets up Stats. Node, Meter and Pods are required.
type Config struct {
	Node  string // the Node's name
	Meter runtime.Meter
	Pods  Pods
	Proc  string // where proc is mounted; "" means /proc
	// Volumes says how full a pod's volumes are; nil leaves that out.
	Volumes func(ctx context.Context, pod *corev1.Pod) []statsapi.VolumeStats
	// Containers says which containers there are, for Cadvisor. With nil it shows the machine only.
	Containers Containers
	// PodsGroup is the control group of all pods, such as /kubepods; nil or "" is none.
	PodsGroup func() string
	// SystemInfo is what the Node says of the machine; nil leaves that out.
	SystemInfo func() corev1.NodeSystemInfo
}

// Containers is what of a container runtime says which containers there are.
type Containers interface {
	// ListContainers lists the containers of one pod, or all.
	ListContainers(ctx context.Context, podUID string) ([]runtime.Container, error)
	// ListSandboxes lists the sandboxes of one pod, or all.
	ListSandboxes(ctx context.Context, podUID string) ([]runtime.Sandbox, error)
}

// Stats reads what the node and its pods use.
type Stats struct {
	cfg      Config
	cadvisor *containermetrics.Writer

	mu   sync.Mutex
	last machine // to compute the machine's CPU rate from
}

// New checks cfg and makes a Stats. It does no I/O.
func New(cfg Config) (*Stats, error) {
	if cfg.Node == "" || cfg.Meter == nil || cfg.Pods == nil {
		return nil, errors.New("stats: Config.Node, Meter and Pods are required")
	}
	if cfg.Proc == "" {
		cfg.Proc = "/proc"
	}
	return &Stats{cfg: cfg, cadvisor: newCadvisor(cfg)}, nil
}

// Summary reads the usage of the node and of all pods. Pods in the runtime that
// the node does not have are left out.
func (s *Stats) Summary(ctx context.Context) (*statsapi.Summary, error) {
	m, err := readMachine(s.cfg.Proc, time.Now())
	if err != nil {
		return nil, fmt.Errorf("stats: %w", err)
	}
	pods, err := s.cfg.Meter.PodUsage(ctx)
	if err != nil {
		return nil, fmt.Errorf("stats: %w", err)
	}
	known := make(map[string]*corev1.Pod)
	for _, p := range s.cfg.Pods.Pods() {
		known[string(p.UID)] = p
	}
	sum := &statsapi.Summary{Node: s.node(m), Pods: []statsapi.PodStats{}}
	for _, u := range pods {
		if p := known[u.UID]; p != nil {
			pod := podStats(p, u)
			if s.cfg.Volumes != nil {
				pod.VolumeStats = s.cfg.Volumes(ctx, p)
			}
			sum.Pods = append(sum.Pods, pod)
		}
	}
	slices.SortFunc(sum.Pods, func(a, b statsapi.PodStats) int {
		return strings.Compare(a.PodRef.Namespace+"/"+a.PodRef.Name, b.PodRef.Namespace+"/"+b.PodRef.Name)
	})
	return sum, nil
}

// node is the usage of the machine in the form of the summary.
func (s *Stats) node(m machine) statsapi.NodeStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := metav1.NewTime(m.at)
	out := statsapi.NodeStats{
		NodeName: s.cfg.Node, StartTime: metav1.NewTime(m.booted),
		CPU: &statsapi.CPUStats{Time: at, UsageCoreNanoSeconds: &m.cpu},
		Memory: &statsapi.MemoryStats{
			Time: at, UsageBytes: &m.memory, WorkingSetBytes: &m.workingSet, AvailableBytes: &m.available, RSSBytes: &m.rss,
			PageFaults: &m.faults, MajorPageFaults: &m.majorFaults,
		},
		Swap: &statsapi.SwapStats{Time: at, SwapUsageBytes: &m.swap, SwapAvailableBytes: &m.swapFree},
	}
	if gone := m.at.Sub(s.last.at); !s.last.at.IsZero() && gone > 0 && m.cpu >= s.last.cpu {
		rate := uint64(float64(m.cpu-s.last.cpu) / gone.Seconds())
		out.CPU.UsageNanoCores = &rate
	}
	s.last = m
	return out
}

// podStats is the usage of a pod in the form of the summary.
func podStats(p *corev1.Pod, u runtime.PodUsage) statsapi.PodStats {
	out := statsapi.PodStats{
		PodRef:     statsapi.PodReference{Name: p.Name, Namespace: p.Namespace, UID: u.UID},
		CPU:        cpu(u.Usage),
		Memory:     memory(u.Usage),
		Swap:       swap(u.Usage),
		Containers: []statsapi.ContainerStats{},
	}
	if p.Status.StartTime != nil {
		out.StartTime = *p.Status.StartTime
	}
	if u.Processes != nil {
		out.ProcessStats = &statsapi.ProcessStats{ProcessCount: u.Processes}
	}
	if len(u.Interfaces) > 0 {
		out.Network = &statsapi.NetworkStats{Time: metav1.NewTime(u.Time), InterfaceStats: traffic(u.Interfaces[0])}
		for _, i := range u.Interfaces {
			out.Network.Interfaces = append(out.Network.Interfaces, traffic(i))
		}
	}
	for _, k := range u.Containers {
		out.Containers = append(out.Containers, containerStats(p, k))
	}
	slices.SortFunc(out.Containers, func(a, b statsapi.ContainerStats) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// containerStats is the usage of a container in the form of the summary.
func containerStats(p *corev1.Pod, u runtime.ContainerUsage) statsapi.ContainerStats {
	out := statsapi.ContainerStats{Name: u.Name, CPU: cpu(u.Usage), Memory: memory(u.Usage), Swap: swap(u.Usage)}
	for _, list := range [][]corev1.ContainerStatus{p.Status.ContainerStatuses, p.Status.InitContainerStatuses, p.Status.EphemeralContainerStatuses} {
		for _, st := range list {
			if st.Name == u.Name && st.State.Running != nil {
				out.StartTime = st.State.Running.StartedAt
			}
		}
	}
	if u.Written != nil {
		out.Rootfs = &statsapi.FsStats{Time: metav1.NewTime(u.Time), UsedBytes: u.Written, InodesUsed: u.WrittenInodes}
	}
	return out
}

// cpu is a usage of CPU; nil where it is not known.
func cpu(u runtime.Usage) *statsapi.CPUStats {
	if u.CPU == nil {
		return nil
	}
	return &statsapi.CPUStats{Time: metav1.NewTime(u.Time), UsageCoreNanoSeconds: u.CPU, UsageNanoCores: u.CPURate}
}

// memory is a usage of memory; nil where it is not known.
func memory(u runtime.Usage) *statsapi.MemoryStats {
	if u.WorkingSet == nil {
		return nil
	}
	return &statsapi.MemoryStats{
		Time: metav1.NewTime(u.Time), UsageBytes: u.Memory, WorkingSetBytes: u.WorkingSet, AvailableBytes: u.Available,
		RSSBytes: u.RSS, PageFaults: u.Faults, MajorPageFaults: u.MajorFaults,
	}
}

// swap is a usage of swap; nil where it is not known.
func swap(u runtime.Usage) *statsapi.SwapStats {
	if u.Swap == nil {
		return nil
	}
	return &statsapi.SwapStats{Time: metav1.NewTime(u.Time), SwapUsageBytes: u.Swap}
}

// traffic is the usage of a network interface.
func traffic(i runtime.InterfaceUsage) statsapi.InterfaceStats {
	return statsapi.InterfaceStats{Name: i.Name, RxBytes: i.Received, RxErrors: i.ReceiveErrs, TxBytes: i.Sent, TxErrors: i.SendErrs}
}
