package main

import (
	"fmt"
	"io"
)

// report prints the result lines: ours, and where there is a peer its own and
// the ratios.
func report(w io.Writer, ours, peer results) {
	own, theirs := ours.metrics(), peer.metrics()
	list(w, "", own)
	list(w, "peer_", theirs)
	for i, f := range own {
		if theirs[i].value > 0 {
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

type metric struct {
	name  string
	value float64
	unit  string
}

func (r results) metrics() []metric {
	return []metric{
		{"agent_rss_idle", r.rssMiB, "MiB"},
		{"agent_rss_pods", r.rssPodsMiB, "MiB"},
		{"agent_start", r.start.Seconds(), "s"},
		{"agent_binary", r.binaryMiB, "MiB"},
		{"pod_ready_p50", r.ready50.Seconds(), "s"},
		{"pod_ready_p99", r.ready99.Seconds(), "s"},
		{"pod_gone_p50", r.gone50.Seconds(), "s"},
		{"cp_rate", r.copyRate, "MB/s"},
	}
}
