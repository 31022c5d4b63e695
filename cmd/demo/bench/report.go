package main

import (
	"fmt"
	"io"
	"slices"
)

// report prints the result lines: ours, and where there is a peer its own and
// the ratios.
func report(w io.Writer, ours, peer results) {
	own, theirs := ours.metrics(), peer.metrics()
	list(w, "", own)
	list(w, "peer_", theirs)
	for _, f := range own {
		i := slices.IndexFunc(theirs, func(o metric) bool { return o.name == f.name })
		if i >= 0 && theirs[i].value > 0 {
			fmt.Fprintf(w, "RESULT ratio_%s %.3f x\n", f.name, f.value/theirs[i].value)
		}
	}
}

// list prints what was measured.
func list(w io.Writer, prefix string, all []metric) {
	for _, f := range all {
		if f.value > 0 {
			fmt.Fprintf(w, "RESULT %s%s %.3f %s\n", prefix, f.name, f.value, f.unit)
		}
	}
}

// usualPods is the number of pods whose figures have no number in their names.
const usualPods = 20

type metric struct {
	name  string
	value float64
	unit  string
}

func (r results) metrics() []metric {
	out := []metric{
		{"agent_rss_idle", r.rssMiB, "MiB"},
		{"agent_start", r.start.Seconds(), "s"},
		{"agent_binary", r.binaryMiB, "MiB"},
		{"cp_rate", r.copyRate, "MB/s"},
	}
	for _, p := range r.rounds {
		n := fmt.Sprintf("_%d", p.pods)
		suffix := n
		if p.pods == usualPods {
			suffix = ""
		}
		out = append(out,
			metric{"agent_rss_pods" + suffix, p.rssMiB, "MiB"},
			metric{"pod_ready_p50" + suffix, p.ready50.Seconds(), "s"},
			metric{"pod_ready_p99" + suffix, p.ready99.Seconds(), "s"},
			metric{"pod_gone_p50" + suffix, p.gone50.Seconds(), "s"},
			metric{"pod_gone_p99" + suffix, p.gone99.Seconds(), "s"},
			metric{"cpu" + n, p.cpu, "%"})
	}
	return out
}
