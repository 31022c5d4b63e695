package cri

import (
	"context"
	"math"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

var _ runtime.Meter = (*Client)(nil)

// PodUsage asks the runtime what pods use (KEP-2371). Some runtimes know the usage
// of containers only; a pod's is then the sum of theirs.
func (c *Client) PodUsage(ctx context.Context) ([]runtime.PodUsage, error) {
	ctx, cancel := c.quick(ctx)
	defer cancel()
	r, err := c.run.ListPodSandboxStats(ctx, &runtimeapi.ListPodSandboxStatsRequest{Filter: &runtimeapi.PodSandboxStatsFilter{}})
	if status.Code(err) == codes.Unimplemented {
		return c.containerUsage(ctx)
	}
	if err != nil {
		return nil, failed("list sandbox stats", err)
	}
	var out []runtime.PodUsage
	for _, s := range r.Stats {
		m := s.GetAttributes().GetMetadata()
		if s.GetAttributes().GetLabels()[runtime.LabelPodUID] == "" || s.GetLinux() == nil {
			continue // not a pod's, or nothing is known
		}
		l := s.Linux
		p := runtime.PodUsage{
			Namespace: m.GetNamespace(), Name: m.GetName(), UID: m.GetUid(),
			Usage: usage(l.GetCpu(), l.GetMemory(), l.GetIo(), nil), Processes: number(l.GetProcess().GetProcessCount()),
		}
		if n := l.GetNetwork(); n != nil {
			named := make(map[string]bool) // some runtimes list the default one twice
			for _, i := range append([]*runtimeapi.NetworkInterfaceUsage{n.DefaultInterface}, n.Interfaces...) {
				if name := i.GetName(); name != "" && !named[name] {
					named[name] = true
					p.Interfaces = append(p.Interfaces, runtime.InterfaceUsage{
						Name: i.Name, Received: number(i.RxBytes), Sent: number(i.TxBytes), ReceiveErrs: number(i.RxErrors), SendErrs: number(i.TxErrors),
					})
				}
			}
		}
		for _, k := range l.Containers {
			p.Containers = append(p.Containers, containerUsage(k))
		}
		out = append(out, p)
	}
	return out, nil
}

// containerUsage sums up the usage of containers by pod.
func (c *Client) containerUsage(ctx context.Context) ([]runtime.PodUsage, error) {
	r, err := c.run.ListContainerStats(ctx, &runtimeapi.ListContainerStatsRequest{Filter: &runtimeapi.ContainerStatsFilter{}})
	if err != nil {
		return nil, failed("list container stats", err)
	}
	var out []runtime.PodUsage
	at := make(map[string]int)
	for _, s := range r.Stats {
		labels := s.GetAttributes().GetLabels()
		uid := labels[runtime.LabelPodUID]
		if uid == "" {
			continue
		}
		i, ok := at[uid]
		if !ok {
			i = len(out)
			at[uid] = i
			out = append(out, runtime.PodUsage{Namespace: labels[runtime.LabelPodNamespace], Name: labels[runtime.LabelPodName], UID: uid})
		}
		k := containerUsage(s)
		out[i].Containers = append(out[i].Containers, k)
		sum(&out[i].Usage, k.Usage)
	}
	return out, nil
}

// sum adds one usage to another.
func sum(to *runtime.Usage, u runtime.Usage) {
	if u.Time.After(to.Time) {
		to.Time = u.Time
	}
	for _, f := range []struct{ to, from **uint64 }{
		{&to.CPU, &u.CPU}, {&to.CPURate, &u.CPURate}, {&to.Memory, &u.Memory}, {&to.WorkingSet, &u.WorkingSet}, {&to.RSS, &u.RSS},
		{&to.Faults, &u.Faults}, {&to.MajorFaults, &u.MajorFaults}, {&to.Swap, &u.Swap}, {&to.SwapAvailable, &u.SwapAvailable},
	} {
		switch {
		case *f.from == nil:
		case *f.to == nil:
			v := **f.from
			*f.to = &v
		default:
			**f.to += **f.from
		}
	}
}

// containerUsage is the usage of one container.
func containerUsage(s *runtimeapi.ContainerStats) runtime.ContainerUsage {
	return runtime.ContainerUsage{
		ID: s.GetAttributes().GetId(), Name: s.GetAttributes().GetLabels()[runtime.LabelContainerName], Usage: usage(s.GetCpu(), s.GetMemory(), s.GetIo(), s.GetSwap()),
		Written: number(s.GetWritableLayer().GetUsedBytes()), WrittenInodes: number(s.GetWritableLayer().GetInodesUsed()),
	}
}

// usage is a usage of CPU, memory, disks and swap; what the runtime does not know stays
// nil.
func usage(cpu *runtimeapi.CpuUsage, memory *runtimeapi.MemoryUsage, io *runtimeapi.IoUsage, swap *runtimeapi.SwapUsage) runtime.Usage {
	u := runtime.Usage{
		CPU: number(cpu.GetUsageCoreNanoSeconds()), CPURate: number(cpu.GetUsageNanoCores()),
		Memory: number(memory.GetUsageBytes()), WorkingSet: number(memory.GetWorkingSetBytes()), Available: number(memory.GetAvailableBytes()),
		RSS: number(memory.GetRssBytes()), Faults: number(memory.GetPageFaults()), MajorFaults: number(memory.GetMajorPageFaults()),
		Swap: number(swap.GetSwapUsageBytes()), SwapAvailable: number(swap.GetSwapAvailableBytes()),
		CPUPressure: pressure(cpu.GetPsi()), MemoryPressure: pressure(memory.GetPsi()), IOPressure: pressure(io.GetPsi()),
	}
	if ns := max(cpu.GetTimestamp(), memory.GetTimestamp()); ns > 0 {
		u.Time = time.Unix(0, ns)
	}
	return u
}

// pressure is how long tasks waited; nil where the runtime does not say.
func pressure(p *runtimeapi.PsiStats) *runtime.Pressure {
	if p == nil {
		return nil
	}
	stall := func(d *runtimeapi.PsiData) runtime.Stall {
		return runtime.Stall{Total: time.Duration(min(d.GetTotal(), math.MaxInt64)), Avg10: d.GetAvg10(), Avg60: d.GetAvg60(), Avg300: d.GetAvg300()}
	}
	return &runtime.Pressure{Some: stall(p.Some), Full: stall(p.Full)}
}

// number is a number that may be missing.
func number(v *runtimeapi.UInt64Value) *uint64 {
	if v == nil {
		return nil
	}
	return &v.Value
}
