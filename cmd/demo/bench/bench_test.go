package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	start, end := map[string]time.Time{}, map[string]time.Time{}
	zero := time.Unix(0, 0)
	for i, name := range []string{"a", "b", "c", "d", "e"} {
		start[name], end[name] = zero, zero.Add(time.Duration(5-i)*time.Second)
	}
	end["never started"] = zero.Add(time.Hour)
	if got := quantile(start, end, 0.5); got != 3*time.Second {
		t.Errorf("p50 %v", got)
	}
	if got := quantile(start, end, 1); got != 5*time.Second {
		t.Errorf("max %v", got)
	}
	if got := quantile(nil, nil, 0.5); got != 0 {
		t.Errorf("of nothing %v", got)
	}
}

func TestReport(t *testing.T) {
	var out bytes.Buffer
	ours := results{start: time.Second, rssMiB: 30, binaryMiB: 40, rounds: []round{
		{pods: 20, ready50: 500 * time.Millisecond, gone99: time.Second}, {pods: 100, rssMiB: 45, cpu: 2, ready50: time.Second, gone50: time.Second},
	}}
	report(&out, ours, results{})
	for _, want := range []string{"RESULT agent_rss_idle 30.000 MiB\n", "RESULT agent_start 1.000 s\n", "RESULT agent_binary 40.000 MiB\n", "RESULT pod_ready_p50 0.500 s\n", "RESULT pod_ready_p50_100 1.000 s\n", "RESULT agent_rss_pods_100 45.000 MiB\n", "RESULT cpu_100 2.000 %\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q lacks %q", out.String(), want)
		}
	}
	if strings.Contains(out.String(), "peer") {
		t.Errorf("a peer that was not measured: %s", out.String())
	}
	out.Reset()
	report(&out, ours, results{rssMiB: 90, rounds: []round{{pods: 100, cpu: 8, ready50: 2 * time.Second, gone50: 2 * time.Second}, {pods: 20, ready50: time.Second, gone99: 2 * time.Second}}})
	for _, want := range []string{"agent_rss_idle 0.333", "pod_ready_p50 0.500", "pod_gone_p99 0.500", "pod_ready_p50_100 0.500", "pod_gone_p50_100 0.500", "cpu_100 0.250"} {
		if !strings.Contains(out.String(), "RESULT ratio_"+want+" x\n") {
			t.Errorf("no ratio %s: %s", want, out.String())
		}
	}
}
