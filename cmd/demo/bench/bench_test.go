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
	ours := results{start: time.Second, rssMiB: 30, binaryMiB: 40, ready50: 500 * time.Millisecond}
	report(&out, ours, results{})
	for _, want := range []string{"RESULT agent_rss_idle 30.000 MiB\n", "RESULT agent_start 1.000 s\n", "RESULT agent_binary 40.000 MiB\n", "RESULT pod_ready_p50 0.500 s\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q lacks %q", out.String(), want)
		}
	}
	if strings.Contains(out.String(), "peer") {
		t.Errorf("a peer that was not measured: %s", out.String())
	}
	out.Reset()
	report(&out, ours, results{rssMiB: 90})
	if !strings.Contains(out.String(), "RESULT ratio_agent_rss_idle 0.333 x\n") {
		t.Errorf("no ratio: %s", out.String())
	}
}
