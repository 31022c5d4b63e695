package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"testing"
)

// TestIdle measures what a Pipeline that has nothing to do adds to a node's resident memory:
// edgepipe, and what edgecore's half grows by. BENCH=1 runs it; EDGEPIPE is a built edgepipe, which
// 'make bench-pipeline' makes: this test binary itself is larger.
func TestIdle(t *testing.T) {
	if os.Getenv("BENCH") == "" {
		t.Skip("BENCH is not set")
	}
	e := newEdge(t)
	before := resident(t, os.Getpid())
	e.apply(t, "idle", 1, `{"nodeName":"edge-7","sources":[{"name":"in","mqtt":{"topic":"plant/+/temp","qos":1}}],
		"steps":[{"name":"minute","window":{"tumbling":"1m","key":"event.data.device","aggregate":{"avg":"avg(event.data.value)"}}}],
		"sinks":[{"name":"up","cloud":{"url":"https://example.com/in"}}]}`)
	e.until(t, "idle", running)
	host := max(0, resident(t, os.Getpid())-before)
	program := resident(t, e.pid(t))
	fmt.Printf("RESULT idle_rss_added %.1f MiB (edgepipe %.1f, edgecore's half %.1f)\n", mib(program+host), mib(program), mib(host))
	e.memory(t, "edgepipe_idle")
}

func mib(kib int) float64 { return float64(kib) / 1024 }

// resident is the resident memory of a process in KiB.
func resident(t *testing.T, pid int) int {
	t.Helper()
	debug.FreeOSMemory() // matters for this process alone
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip("the memory is not measured here: ", err)
	}
	for line := range strings.Lines(string(status)) {
		var kib int
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			return kib
		}
	}
	t.Fatalf("no VmRSS in %s", status)
	return 0
}
