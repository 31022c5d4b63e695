package edged

import (
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/runtime"
)

// planFinish stops what is left of a pod whose containers are through.
func planFinish(s situation) decision {
	s.ending = endFinished
	d := planEnd(s)
	d.finished, d.done = true, false
	return d
}

// planEnd takes a pod down. Containers stay until their last status is
// durable; the API object stays until nothing of the pod is left.
func planEnd(s situation) decision {
	var d decision
	if until, ok := s.retry[retryEnd]; ok && s.now.Before(until) {
		return decision{wake: until, finished: s.ending == endFinished}
	}
	grace := s.grace
	if s.ending == endFinished {
		grace = podspec.GracePeriod(s.pod)
	}
	switch {
	case s.view.alive():
		d.add(action{kind: actKillPod, grace: grace})
	case s.now.Before(s.settled):
		d.wakeAt(s.settled)
		d.finished = s.ending == endFinished
	case !s.finalDone && s.ending == endDeleted:
		d.add(action{kind: actReportFinal})
	case s.ending == endFinished:
		if !s.toreDown {
			d.add(action{kind: actTearDown})
		}
		d.finished = true
	case len(s.view.sandboxes) > 0 || len(s.view.containers) > 0:
		for _, sb := range s.view.sandboxes {
			d.add(action{kind: actRemoveSandbox, id: sb.ID})
		}
		for _, c := range s.view.containers {
			if s.view.sandboxByID(c.SandboxID) == nil {
				d.add(action{kind: actRemove, id: c.ID, name: c.Name})
			}
		}
	case !s.toreDown:
		// The folder of the volumes goes last: by it the pod is found again after a crash.
		d.add(action{kind: actRemoveLogs}, action{kind: actTearDown})
	case s.ending == endDeleted && !s.goneDone:
		d.add(action{kind: actReportGone})
	default:
		d.done = true
	}
	return d
}

// planPrune drops containers and sandboxes that nobody asks about any more.
func planPrune(s situation, d *decision) {
	kept := make(map[string]int)
	held := make(map[string]bool) // sandboxes with containers that stay
	for _, c := range s.view.containers {
		kept[c.Name]++
		if kept[c.Name] > maxKeptPerName && c.State == runtime.ContainerExited {
			d.add(action{kind: actRemove, id: c.ID, name: c.Name})
			continue
		}
		held[c.SandboxID] = true
	}
	for i, sb := range s.view.sandboxes {
		if i > 0 && !sb.Ready && !held[sb.ID] {
			d.add(action{kind: actRemoveSandbox, id: sb.ID})
		}
	}
}
