package plan

import (
	"github.com/edgekit/edgekit/edged/runtime"
)

// planPrune removes what nobody asks for any more: exited containers but the two
// newest of each name, and stopped sandboxes that hold no container which stays. Those
// that stay are stopped.
func planPrune(s Situation, d *Decision) {
	if until, ok := s.Retry[RetryPrune]; ok && s.Now.Before(until) {
		d.wakeAt(until)
		return
	}
	d.RetryKey = RetryPrune
	kept := make(map[string]int)
	held := make(map[string]bool) // sandboxes with containers that stay
	for _, c := range s.View.Containers {
		kept[c.Name]++
		if kept[c.Name] > maxKeptPerName && c.State == runtime.ContainerExited {
			d.add(Action{Kind: ActRemove, ID: c.ID, Name: c.Name})
			continue
		}
		held[c.SandboxID] = true
	}
	d.add(stopSandboxes(s, "")...)
	for i, sb := range s.View.Sandboxes {
		if i > 0 && !sb.Ready && !held[sb.ID] {
			d.add(Action{Kind: ActRemoveSandbox, ID: sb.ID})
		}
	}
}
