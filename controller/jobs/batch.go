package jobs

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// tally counts the members of a batch.
type tally struct {
	total, succeeded, failed int // failed: Failure, RolledBack and Unknown
	working                  int
	ready                    int // that wait and have a link
}

func (t *tally) ended() int { return t.succeeded + t.failed }

// findBatch finds the batch whose turn it is and who is in it. A batch once begun is never
// gone back to: its number is in the job's status and in the results.
func (r *round) findBatch() {
	r.batch = max(1, r.status.Batch)
	for i := range r.members {
		r.batch = max(r.batch, r.members[i].batch)
	}
	last := int32(len(r.job.batches))
	r.batch = min(r.batch, max(1, last))
	if last == 0 { // the spec is invalid
		return
	}
	for {
		r.fill(r.batch)
		if r.batch == last {
			break
		}
		t := r.tally(r.batch)
		if t.total > 0 && !r.batchDone(&t) {
			break
		}
		r.batch++
	}
	r.status.Batch = r.batch
}

// fill puts members that are in no batch into batch number n, those with a link first.
func (r *round) fill(n int32) {
	b := &r.job.batches[n-1]
	free := len(r.members)
	if b.limit != nil {
		limit, err := intstr.GetScaledValueFromIntOrPercent(b.limit, len(r.members), true)
		if err != nil {
			limit = 1
		}
		for i := range r.members {
			if r.members[i].batch == n {
				limit--
			}
		}
		free = limit
	}
	for _, present := range []bool{true, false} {
		for i := range r.members {
			m := &r.members[i]
			if free <= 0 {
				return
			}
			if m.batch == 0 && m.node != nil && m.present() == present && b.selector.Matches(m.node.labels) {
				m.batch = n
				free--
			}
		}
	}
}

// tally counts the members of batch number n.
func (r *round) tally(n int32) tally {
	var t tally
	for i := range r.members {
		m := &r.members[i]
		if m.batch != n {
			continue
		}
		t.total++
		switch {
		case m.state == succeeded:
			t.succeeded++
		case m.state.ended():
			t.failed++
		case m.state == working:
			t.working++
		case m.present():
			t.ready++
		}
	}
	return t
}

// batchDone reports whether the next batch may begin: nobody works, nobody with a link waits,
// at least one has ended, and enough have succeeded.
func (r *round) batchDone(t *tally) bool {
	if t.working > 0 || t.ready > 0 || t.ended() == 0 {
		return false
	}
	threshold := r.job.batches[r.batch-1].threshold
	if threshold.Type == intstr.Int {
		return t.succeeded >= min(int(threshold.IntVal), t.total)
	}
	return t.succeeded*100 >= percent(threshold)*t.ended()
}

// outOfReach reports whether a batch can no longer succeed, whatever its other members do.
func (r *round) outOfReach(t *tally) bool {
	threshold, best := r.job.batches[r.batch-1].threshold, t.total-t.failed
	if threshold.Type == intstr.Int {
		return best < min(int(threshold.IntVal), t.total)
	}
	return best*100 < percent(threshold)*t.total
}

// percent is the number of a percentage; 100 for a text that is none, which the schema does
// not let through.
func percent(v intstr.IntOrString) int {
	n, err := intstr.GetScaledValueFromIntOrPercent(&v, 100, true)
	if err != nil {
		return 100
	}
	return n
}

// stop ends the job where it cannot go on: it was cancelled, it has no nodes, or too many have
// failed. It also ends one whose nodes have all ended.
func (r *round) stop() {
	total, bad, open := len(r.members), 0, 0
	for i := range r.members {
		switch s := r.members[i].state; {
		case !s.ended():
			open++
		case s != succeeded:
			bad++
		}
	}
	switch {
	case r.job.cancel:
		r.finish(v1alpha2.JobFailure, v1alpha2.ReasonCancelled, "the job was cancelled (spec.cancel)")
	case total == 0:
		r.finish(v1alpha2.JobFailure, v1alpha2.ReasonNoNodes, "no nodes were matched with selector")
	case tooMany(bad, total, r.job.tolerate):
		r.finish(v1alpha2.JobFailure, v1alpha2.ReasonTolerance, overTolerance(bad, total))
	case open == 0:
		r.finish(v1alpha2.JobCompleted, "", "")
	case r.batch < int32(len(r.job.batches)):
		if t := r.tally(r.batch); t.total > 0 && r.outOfReach(&t) {
			r.finish(v1alpha2.JobFailure, v1alpha2.ReasonThreshold,
				fmt.Sprintf("%d of %d nodes of batch %d failed: it cannot reach its successThreshold %s", t.failed, t.total, r.batch, r.job.batches[r.batch-1].threshold.String()))
		}
	}
}

// tooMany reports whether more nodes failed than a share of all.
func tooMany(bad, total int, tolerate float64) bool {
	return float64(bad) > tolerate*float64(total)+1e-9
}

func overTolerance(bad, total int) string {
	return fmt.Sprintf("the number of failed nodes is %d/%d, which exceeds the failure tolerance threshold", bad, total)
}
