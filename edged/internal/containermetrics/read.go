package containermetrics

import "time"

// Usage is what a group uses. A value that is not known is nil.
type Usage struct {
	Started                   time.Time // when the group was made
	CPU                       *uint64   // nanoseconds
	Memory, WorkingSet, RSS   *uint64   // bytes
	Limit                     *uint64   // of the memory, in bytes; 0 is none
	Swap, Faults, MajorFaults *uint64
}

// Interface is the traffic of a network interface.
type Interface struct {
	Name                                      string
	Received, ReceiveErrors, Sent, SendErrors uint64 // bytes, and packets with an error
}

func (w *Writer) reader() *reader {
	return &reader{mount: w.cfg.Mount, proc: w.cfg.Proc, sys: w.cfg.Sys, v2: w.v2, devices: make(map[string]string)}
}

// Read reads what a group uses, such as /kubepods. A group that is not there has no values.
func (w *Writer) Read(name string) Usage {
	g := group{dir: name}
	w.reader().read(&g)
	of := func(m metric) *uint64 {
		if !g.has[m] {
			return nil
		}
		v := g.value[m]
		return &v
	}
	u := Usage{
		CPU: of(cpuUsage), Memory: of(memoryUsage), WorkingSet: of(memoryWorkingSet), RSS: of(memoryRSS), Limit: of(specMemory),
		Swap: of(memorySwap), Faults: of(pageFaults), MajorFaults: of(majorFaults),
	}
	if g.has[started] {
		u.Started = time.Unix(int64(g.value[started]), 0)
	}
	return u
}

// MachineNetwork reads the traffic of the machine's interfaces.
func (w *Writer) MachineNetwork() []Interface {
	var g group
	w.reader().networkOf(&g, "1")
	var out []Interface
	for _, l := range g.links {
		out = append(out, Interface{Name: l.name, Received: l.in[0], ReceiveErrors: l.in[2], Sent: l.out[0], SendErrors: l.out[2]})
	}
	return out
}
