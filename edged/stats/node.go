package stats

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// ofMachine adds what the summary says of the machine besides CPU, memory and disks: pressure,
// network, processes and the pods as a whole. What cannot be read is left out.
func (s *Stats) ofMachine(n *statsapi.NodeStats) {
	at := n.CPU.Time
	n.CPU.PSI, n.Memory.PSI = s.pressure("cpu"), s.pressure("memory")
	if psi := s.pressure("io"); psi != nil {
		n.IO = &statsapi.IOStats{Time: at, PSI: psi}
	}
	n.Network = s.network(at)
	n.Rlimit = s.processes(at)
	if pods := s.podsGroup(at); pods != nil {
		n.SystemContainers = append(n.SystemContainers, *pods)
	}
}

// podsGroup is the usage of all pods together.
func (s *Stats) podsGroup(at metav1.Time) *statsapi.ContainerStats {
	if s.cfg.PodsGroup == nil || s.cfg.PodsGroup() == "" {
		return nil
	}
	u := s.cadvisor.Read(s.cfg.PodsGroup())
	if u.CPU == nil && u.Memory == nil {
		return nil
	}
	out := &statsapi.ContainerStats{Name: statsapi.SystemContainerPods, StartTime: metav1.NewTime(u.Started)}
	out.CPU = &statsapi.CPUStats{Time: at, UsageCoreNanoSeconds: u.CPU}
	out.Memory = &statsapi.MemoryStats{Time: at, UsageBytes: u.Memory, WorkingSetBytes: u.WorkingSet, RSSBytes: u.RSS, PageFaults: u.Faults, MajorPageFaults: u.MajorFaults}
	if u.Limit != nil && *u.Limit > 0 && u.WorkingSet != nil {
		available := *u.Limit - min(*u.WorkingSet, *u.Limit)
		out.Memory.AvailableBytes = &available
	}
	if u.Swap != nil {
		out.Swap = &statsapi.SwapStats{Time: at, SwapUsageBytes: u.Swap}
	}
	return out
}

// pressure is how long tasks of the machine waited for a resource; nil where the kernel does not
// count it. https://docs.kernel.org/accounting/psi.html
func (s *Stats) pressure(resource string) *statsapi.PSIStats {
	text, err := os.ReadFile(filepath.Join(s.cfg.Proc, "pressure", resource))
	if err != nil {
		return nil
	}
	var out statsapi.PSIStats
	for line := range bytes.Lines(text) { // some avg10=0.00 avg60=0.00 avg300=0.00 total=0
		f := strings.Fields(string(line))
		if len(f) < 5 {
			continue
		}
		var d statsapi.PSIData
		for _, pair := range f[1:] {
			name, value, _ := strings.Cut(pair, "=")
			v, err := strconv.ParseFloat(value, 64)
			switch {
			case err != nil:
			case name == "avg10":
				d.Avg10 = v
			case name == "avg60":
				d.Avg60 = v
			case name == "avg300":
				d.Avg300 = v
			case name == "total":
				d.Total = uint64(v) * 1000 // from microseconds
			}
		}
		switch f[0] {
		case "some":
			out.Some = d
		case "full":
			out.Full = d
		}
	}
	return &out
}

// network is the traffic of the machine: of the interface of the default route, and of each.
func (s *Stats) network(at metav1.Time) *statsapi.NetworkStats {
	all := s.cadvisor.MachineNetwork()
	if len(all) == 0 {
		return nil
	}
	out := &statsapi.NetworkStats{Time: at}
	main := s.defaultInterface()
	for _, i := range all {
		one := statsapi.InterfaceStats{Name: i.Name, RxBytes: &i.Received, RxErrors: &i.ReceiveErrors, TxBytes: &i.Sent, TxErrors: &i.SendErrors}
		out.Interfaces = append(out.Interfaces, one)
		if i.Name == main {
			out.InterfaceStats = one
		}
	}
	return out
}

// defaultInterface is the interface of the default route; "" without one.
func (s *Stats) defaultInterface() string {
	text, err := os.ReadFile(filepath.Join(s.cfg.Proc, "net", "route"))
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(text) {
		if f := strings.Fields(string(line)); len(f) > 7 && f[1] == "00000000" && f[7] == "00000000" {
			return f[0]
		}
	}
	return ""
}

// processes is how many processes and threads there are, and how many there may be.
func (s *Stats) processes(at metav1.Time) *statsapi.RlimitStats {
	number := func(name string) (int64, bool) {
		text, err := os.ReadFile(filepath.Join(s.cfg.Proc, name))
		if err != nil {
			return 0, false
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		return n, err == nil
	}
	most, ok := number("sys/kernel/pid_max")
	if !ok {
		return nil
	}
	if threads, ok := number("sys/kernel/threads-max"); ok {
		most = min(most, threads)
	}
	out := &statsapi.RlimitStats{Time: at, MaxPID: &most}
	if text, err := os.ReadFile(filepath.Join(s.cfg.Proc, "loadavg")); err == nil { // "0.1 0.2 0.3 1/302 4711"
		if f := strings.Fields(string(text)); len(f) > 3 {
			_, total, _ := strings.Cut(f[3], "/")
			if n, err := strconv.ParseInt(total, 10, 64); err == nil {
				out.NumOfRunningProcesses = &n
			}
		}
	}
	return out
}
