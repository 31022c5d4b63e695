package simulate

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// counters are what a Fleet counts.
type counters struct {
	begun, connected, registered, provisioned, pods atomic.Int64

	connect, reconnect, nodeStatus, podArrival, podStatus, twin histogram

	mu       sync.Mutex
	failures int
	failed   []string       // the first ones
	dials    map[string]int // failed attempts to connect, by their error
}

// maxFailed and maxDials bound what is kept of errors.
const (
	maxFailed = 10
	maxDials  = 100
)

// fail counts a failure.
func (c *counters) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failures++; len(c.failed) < maxFailed {
		c.failed = append(c.failed, err.Error())
	}
}

// dialFailed counts an attempt to connect that failed.
func (c *counters) dialFailed(err error) {
	text := regexp.MustCompile(`:\d+`).ReplaceAllString(err.Error(), ":port")
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dials == nil {
		c.dials = make(map[string]int)
	}
	if _, known := c.dials[text]; known || len(c.dials) < maxDials {
		c.dials[text]++
	}
}

// Stats are the counts of a Fleet so far.
type Stats struct {
	Begun       int // nodes that have begun to connect
	Connected   int // nodes with a session now
	Registered  int // nodes whose Node the API server has
	Provisioned int // nodes whose pods and devices were created
	Pods        int // that have come to their nodes, deleted ones included

	Connect, Reconnect, NodeStatus, PodArrival, PodStatus, Twin Latency

	Failures int            // nodes that gave up, and pods and devices that could not be created
	Failed   []string       // the first of them
	Dials    map[string]int // attempts to connect that failed, by their error
}

// Stats returns the counts.
func (f *Fleet) Stats() Stats {
	c := &f.stats
	s := Stats{
		Begun: int(c.begun.Load()), Connected: int(c.connected.Load()), Registered: int(c.registered.Load()),
		Provisioned: int(c.provisioned.Load()), Pods: int(c.pods.Load()),
		Connect: c.connect.read(), Reconnect: c.reconnect.read(), NodeStatus: c.nodeStatus.read(),
		PodArrival: c.podArrival.read(), PodStatus: c.podStatus.read(), Twin: c.twin.read(),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Failures, s.Failed, s.Dials = c.failures, slices.Clone(c.failed), maps.Clone(c.dials)
	return s
}

// Pending returns how many reports wait for their acknowledgement.
func (f *Fleet) Pending() int {
	f.nodesMu.Lock()
	defer f.nodesMu.Unlock()
	all := 0
	for _, n := range f.nodes {
		n.mu.Lock()
		all += len(n.pending)
		n.mu.Unlock()
	}
	return all
}

// ResetLatencies forgets the latencies so far, to measure a part of a run.
func (f *Fleet) ResetLatencies() {
	c := &f.stats
	for _, h := range []*histogram{&c.connect, &c.reconnect, &c.nodeStatus, &c.podArrival, &c.podStatus, &c.twin} {
		h.reset()
	}
}

// Progress is the Stats in one line.
func (s Stats) Progress() string {
	line := fmt.Sprintf("nodes %d begun, %d connected, %d registered; pods %d arrived, %d reported", s.Begun, s.Connected, s.Registered, s.Pods, s.PodStatus.Count)
	if s.Twin.Count > 0 {
		line += fmt.Sprintf("; twins %d seen", s.Twin.Count)
	}
	if s.Failures > 0 {
		line += fmt.Sprintf("; %d failures", s.Failures)
	}
	return line
}

// Summary is the Stats as a table for people.
func (s Stats) Summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-12s %10s %10s %10s %10s\n", "", "COUNT", "P50", "P99", "MAX")
	for _, row := range []struct {
		name string
		l    Latency
	}{
		{"connect", s.Connect}, {"reconnect", s.Reconnect}, {"node status", s.NodeStatus}, {"pod arrival", s.PodArrival},
		{"pod status", s.PodStatus}, {"twin", s.Twin},
	} {
		if row.l.Count > 0 {
			fmt.Fprintf(&b, "%-12s %10d %10s %10s %10s\n", row.name, row.l.Count, round(row.l.P50), round(row.l.P99), round(row.l.Max))
		}
	}
	for _, f := range s.Failed {
		fmt.Fprintf(&b, "failed: %s\n", f)
	}
	for _, err := range slices.Sorted(maps.Keys(s.Dials)) {
		fmt.Fprintf(&b, "%d attempts to connect failed: %s\n", s.Dials[err], err)
	}
	return b.String()
}

func round(d time.Duration) time.Duration {
	if d > time.Second {
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(100 * time.Microsecond)
}
