package jobs

import "github.com/edgekit/edgekit/edged/jobs/v1alpha2"

// KindPhase is a kind of job with a phase of jobs, or of their nodes.
type KindPhase struct{ Kind, Phase string }

// Counts are how many jobs, and how many nodes of jobs, there are now, as this cloudcore's caches
// have them. They are the same at every cloudcore.
type Counts struct {
	Jobs  map[KindPhase]int // all that are stored, those that ended included
	Nodes map[KindPhase]int // of jobs that go on
}

// Counts looks at all jobs, and at all results of those that go on. All phases that there are have
// an entry.
func (c *Controller) Counts() Counts {
	out := Counts{Jobs: make(map[KindPhase]int), Nodes: make(map[KindPhase]int)}
	for _, kind := range []string{v1alpha2.KindNodeUpgradeJob, v1alpha2.KindImagePrePullJob, v1alpha2.KindConfigUpdateJob} {
		for _, phase := range []v1alpha2.JobPhase{v1alpha2.JobInit, v1alpha2.JobInProgress, v1alpha2.JobCompleted, v1alpha2.JobFailure} {
			out.Jobs[KindPhase{kind, string(phase)}] = 0
		}
		for _, phase := range []v1alpha2.NodeTaskPhase{v1alpha2.NodePending, v1alpha2.NodeInProgress, v1alpha2.NodeSuccessful, v1alpha2.NodeFailure, v1alpha2.NodeRolledBack, v1alpha2.NodeUnknown} {
			out.Nodes[KindPhase{kind, string(phase)}] = 0
		}
	}
	active := make(map[string]string) // kind by uid
	c.mu.Lock()
	for _, j := range c.jobs {
		add(out.Jobs, j.kind, string(j.status.Phase), string(v1alpha2.JobInit))
		if !j.finished() {
			active[string(j.meta.UID)] = j.kind
		}
	}
	c.mu.Unlock()
	for uid, kind := range active {
		c.results.eachPhase(uid, func(phase v1alpha2.NodeTaskPhase) {
			add(out.Nodes, kind, string(phase), string(v1alpha2.NodePending))
		})
	}
	return out
}

// add counts a phase. One that is not set yet is first; one that is not known counts as
// first too, so that no text of an API object becomes a label.
func add(counts map[KindPhase]int, kind, phase, first string) {
	key := KindPhase{kind, phase}
	if _, known := counts[key]; !known {
		key.Phase = first
	}
	counts[key]++
}

// eachPhase calls yield with the phase of each node of a job. yield must not use the index.
func (x *index) eachPhase(uid string, yield func(v1alpha2.NodeTaskPhase)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, i := range x.byJob[uid] {
		yield(i.res.Status.Phase)
	}
}
