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
	// Root is the folder of the pods' volumes: its file system is the node's. "" leaves that out.
	Root string
	// DiskUsage says what pods take of the node's disk, by their uids; nil leaves that out.
	DiskUsage func(ctx context.Context) map[string]DiskUsage
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

// Summary reads the usage of the node and of all pods, disks included. Pods in the runtime that
// the node does not have are left out. What takes long to count, such as a large volume, may be
// as it was a little before.
func (s *Stats) Summary(ctx context.Context) (*statsapi.Summary, error) {
	sum, pods, err := s.usage(ctx)
	if err != nil {
		return nil, err
	}
	s.ofMachine(&sum.Node)
	disks := s.readDisks(ctx)
	disks.ofNode(&sum.Node)
	for i := range sum.Pods {
		p := pods[sum.Pods[i].PodRef.UID]
		if s.cfg.Volumes != nil {
			sum.Pods[i].VolumeStats = s.cfg.Volumes(ctx, p)
		}
		disks.ofPod(&sum.Pods[i], p)
	}
	return sum, nil
}

// usage reads CPU, memory and network of the node and of all pods, and gives the pods by their uids.
func (s *Stats) usage(ctx context.Context) (*statsapi.Summary, map[string]*corev1.Pod, error) {
	m, err := readMachine(s.cfg.Proc, time.Now())
	if err != nil {
		return nil, nil, fmt.Errorf("stats: %w", err)
	}
	pods, err := s.cfg.Meter.PodUsage(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("stats: %w", err)
	}
	known := make(map[string]*corev1.Pod)
	for _, p := range s.cfg.Pods.Pods() {
		known[string(p.UID)] = p
	}
	sum := &statsapi.Summary{Node: s.node(m), Pods: []statsapi.PodStats{}}
	for _, u := range pods {
		if p := known[u.UID]; p != nil {
			sum.Pods = append(sum.Pods, podStats(p, u))
		}
	}
	slices.SortFunc(sum.Pods, func(a, b statsapi.PodStats) int {
		return strings.Compare(a.PodRef.Namespace+"/"+a.PodRef.Name, b.PodRef.Namespace+"/"+b.PodRef.Name)
	})
	return sum, known, nil
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
		IO:         disksPressure(u.Usage),
		Swap:       podSwap(u),
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
	out := statsapi.ContainerStats{Name: u.Name, CPU: cpu(u.Usage), Memory: memory(u.Usage), IO: disksPressure(u.Usage), Swap: swap(u.Usage)}
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
	return &statsapi.CPUStats{Time: metav1.NewTime(u.Time), UsageCoreNanoSeconds: u.CPU, UsageNanoCores: u.CPURate, PSI: psi(u.CPUPressure)}
}

// memory is a usage of memory; nil where it is not known.
func memory(u runtime.Usage) *statsapi.MemoryStats {
	if u.WorkingSet == nil {
		return nil
	}
	return &statsapi.MemoryStats{
		Time: metav1.NewTime(u.Time), UsageBytes: u.Memory, WorkingSetBytes: u.WorkingSet, AvailableBytes: u.Available,
		RSSBytes: u.RSS, PageFaults: u.Faults, MajorPageFaults: u.MajorFaults,
		PSI: psi(u.MemoryPressure),
	}
}

// disksPressure is how long disks were waited for; nil where that is not known.
func disksPressure(u runtime.Usage) *statsapi.IOStats {
	if u.IOPressure == nil {
		return nil
	}
	return &statsapi.IOStats{Time: metav1.NewTime(u.Time), PSI: psi(u.IOPressure)}
}

// psi is a pressure in the form of the summary.
func psi(p *runtime.Pressure) *statsapi.PSIStats {
	if p == nil {
		return nil
	}
	data := func(s runtime.Stall) statsapi.PSIData {
		return statsapi.PSIData{Total: uint64(max(s.Total, 0)), Avg10: s.Avg10, Avg60: s.Avg60, Avg300: s.Avg300}
	}
	return &statsapi.PSIStats{Some: data(p.Some), Full: data(p.Full)}
}

// podSwap is the swap that a pod uses: the sum over its containers, if the runtime does not say it.
func podSwap(u runtime.PodUsage) *statsapi.SwapStats {
	if u.Swap != nil {
		return swap(u.Usage)
	}
	var sum *statsapi.SwapStats
	for _, c := range u.Containers {
		s := swap(c.Usage)
		switch {
		case s == nil:
		case sum == nil:
			used := *s.SwapUsageBytes
			sum = &statsapi.SwapStats{Time: s.Time, SwapUsageBytes: &used}
		default:
			*sum.SwapUsageBytes += *s.SwapUsageBytes
		}
	}
	return sum
}

// swap is a usage of swap; nil where it is not known.
func swap(u runtime.Usage) *statsapi.SwapStats {
	if u.Swap == nil {
		return nil
	}
	return &statsapi.SwapStats{Time: metav1.NewTime(u.Time), SwapUsageBytes: u.Swap, SwapAvailableBytes: u.SwapAvailable}
}

// traffic is the usage of a network interface.
func traffic(i runtime.InterfaceUsage) statsapi.InterfaceStats {
	return statsapi.InterfaceStats{Name: i.Name, RxBytes: i.Received, RxErrors: i.ReceiveErrs, TxBytes: i.Sent, TxErrors: i.SendErrs}
}
