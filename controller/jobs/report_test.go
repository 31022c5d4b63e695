package jobs_test

import (
	"fmt"
	"strings"
	"testing"

	nodejobs "github.com/edgekit/edgekit/edged/jobs"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// TestLogsOfManyNodes: when a job fails on many nodes, the API server does not get the whole log
// of each.
func TestLogsOfManyNodes(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		const whole, more = 100, 3
		cc := c.start(t, "one")
		for i := range whole + more {
			c.node(t, fmt.Sprintf("n%03d", i), true)
		}
		c.add(t, config, "x", map[string]any{"updateFields": map[string]any{"a": "b"}, "labelSelector": all(), "concurrency": int64(200), "failureTolerate": "1"})
		until(t, "all have the job", nil, func() bool { return len(c.results(t)) == whole+more })
		for _, res := range c.results(t) {
			n := newStandIn(t, res.Spec.NodeName)
			n.report(cc, "configupdatejob.x", &nodejobs.Report{
				UID: res.Spec.JobUID, Log: strings.Repeat("\u00e9", nodejobs.MaxLog/2-1) + "!", // its 4 KiB end in the middle of a letter
				NodeTaskStatus: v1alpha2.NodeTaskStatus{Phase: v1alpha2.NodeRolledBack},
			})
		}
		sizes := make(map[int]int)
		for _, res := range c.results(t) {
			sizes[len(res.Status.Log)]++
		}
		if sizes[nodejobs.MaxLog-1] != whole || sizes[4095] != more {
			t.Errorf("nodes by the size of their log: %v", sizes)
		}
	})
}
