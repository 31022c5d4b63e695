package plan

import (
	"github.com/edgekit/edgekit/edged/internal/podspec"
)

// planFinish stops what is left of a pod whose containers are through.
func planFinish(s Situation) Decision {
	s.Ending = EndFinished
	d := planEnd(s)
	d.Finished, d.Done = true, false
	return d
}

// planEnd takes a pod down. Containers stay until their last status is
// durable; the API object stays until nothing of the pod is left.
func planEnd(s Situation) Decision {
	var d Decision
	if until, ok := s.Retry[RetryEnd]; ok && s.Now.Before(until) {
		return Decision{Wake: until, Finished: s.Ending == EndFinished}
	}
	grace := s.Grace
	if s.Ending == EndFinished {
		grace = podspec.GracePeriod(s.Pod)
	}
	switch {
	case s.View.Alive():
		d.add(Action{Kind: ActKillPod, Grace: grace})
	case s.Now.Before(s.Settled):
		d.wakeAt(s.Settled)
		d.Finished = s.Ending == EndFinished
	case !s.FinalReported && s.Ending == EndDeleted:
		d.add(Action{Kind: ActReportFinal})
	case s.Ending == EndFinished:
		if !s.TornDown {
			d.add(Action{Kind: ActTearDown})
		}
		d.Finished = true
	case len(s.View.Sandboxes) > 0 || len(s.View.Containers) > 0:
		for _, sb := range s.View.Sandboxes {
			d.add(Action{Kind: ActRemoveSandbox, ID: sb.ID})
		}
		for _, c := range s.View.Containers {
			if s.View.SandboxByID(c.SandboxID) == nil {
				d.add(Action{Kind: ActRemove, ID: c.ID, Name: c.Name})
			}
		}
	case !s.TornDown:
		// The folder of the volumes goes last: by it the pod is found again after a crash.
		d.add(Action{Kind: ActRemoveLogs}, Action{Kind: ActTearDown})
	case s.Ending == EndDeleted && !s.GoneReported:
		d.add(Action{Kind: ActReportGone})
	default:
		d.Done = true
	}
	return d
}
