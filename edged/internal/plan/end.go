package plan

import (
	"github.com/edgekit/edgekit/edged/internal/podspec"
)

// planFinish stops what is left of a pod whose containers have finished, such as
// sidecars. The worker stays: the pod's API object is still there. Its containers stay
// for their logs, except those of a pod that was evicted, which may be what fills the
// disk: a kubelet removes them too (ShouldPodContentBeRemoved).
func planFinish(s Situation) Decision {
	s.Ending = EndFinished
	d := planEnd(s)
	d.Finished, d.Done = true, false
	return d
}

// planEnd takes a pod down, step by step: stop the processes and the sandboxes, give back
// the resource claims (before a terminal phase is reported, which lets others have the
// devices), make the last status durable, remove containers and sandboxes, then volumes,
// then report that the pod is gone. Containers stay until their last status is durable,
// since it is read from them. The API object stays until nothing of the pod is left, so
// that no successor with its name starts beside it.
func planEnd(s Situation) Decision {
	d := Decision{RetryKey: RetryEnd}
	if until, ok := s.Retry[RetryEnd]; ok && s.Now.Before(until) {
		return Decision{Wake: until, Finished: s.Ending == EndFinished}
	}
	grace := s.Grace
	if s.Ending == EndFinished {
		grace = podspec.GracePeriod(s.Pod)
	}
	if s.GraceLimit != nil {
		grace = min(grace, *s.GraceLimit)
	}
	dead := stopSandboxes(s, "")
	switch {
	case s.View.Alive():
		d.add(Action{Kind: ActKillPod, Grace: grace})
	case s.Now.Before(s.Settled):
		d.wakeAt(s.Settled)
		d.Finished = s.Ending == EndFinished
	case len(dead) > 0:
		d.add(dead...)
		d.Finished = s.Ending == EndFinished
	case s.UsesClaims:
		d.add(Action{Kind: ActUnprepare})
		d.Finished = s.Ending == EndFinished
	case !s.FinalReported && s.Ending == EndDeleted:
		d.add(Action{Kind: ActReportFinal})
	case s.Ending == EndFinished:
		if !s.TornDown {
			d.add(Action{Kind: ActTearDown})
		}
		if s.Evicted {
			for _, c := range s.View.Containers {
				d.add(Action{Kind: ActRemove, ID: c.ID, Name: c.Name})
			}
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
	case !s.LogsRemoved || !s.TornDown:
		// The folder of the volumes goes last. After a crash it is all that shows that
		// this pod was here, and that the rest of the work is to be done. A pod that
		// finished before has no volumes any more, but its logs.
		if !s.LogsRemoved {
			d.add(Action{Kind: ActRemoveLogs})
		}
		if !s.TornDown {
			d.add(Action{Kind: ActTearDown})
		}
	case s.Ending == EndDeleted && !s.GoneReported:
		d.add(Action{Kind: ActReportGone})
	default:
		d.Done = true
	}
	return d
}
