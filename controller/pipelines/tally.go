package pipelines

import (
	"cmp"
	"slices"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
)

// maxNodeFailures is how many failures of one node count for the status of a Pipeline: a node
// that reports much must not hide the others.
const maxNodeFailures = 3

// answer is what a node with a session here says of a Pipeline.
type answer struct {
	state      string
	generation int64
}

// tally is what this cloudcore knows of a Pipeline.
type tally struct {
	uid   string
	nodes map[string]answer
	// Failures of nodes with a session here, the newest first: those that the nodes report, which
	// each report replaces, and those of this cloudcore's deliveries of their events.
	reported, deliveries []v1alpha1.Failure
	expired              int64 // events that were given up
	checked              int64 // the generation that Config.Check has had
	problem              error // what it said
}

// failures are all of them, within the bounds.
func (t *tally) failures() []v1alpha1.Failure {
	return boundFailures(slices.Concat(t.reported, t.deliveries))
}

// addFailure adds a failure to a list.
func addFailure(list []v1alpha1.Failure, node string, f wire.Failure) []v1alpha1.Failure {
	at := now()
	if !f.Time.IsZero() && f.Time.Before(at.Time) { // a node's clock may be ahead
		at.Time = f.Time
	}
	return boundFailures(append(list, v1alpha1.Failure{Node: node, Step: f.Step, Reason: f.Reason, Message: f.Message, Event: f.Event, Count: f.Count, Time: at}))
}

// boundFailures keeps the newest: of each node at most maxNodeFailures, of all MaxFailures.
func boundFailures(list []v1alpha1.Failure) []v1alpha1.Failure {
	sortFailures(list)
	of := make(map[string]int)
	list = slices.DeleteFunc(list, func(f v1alpha1.Failure) bool {
		of[f.Node]++
		return of[f.Node] > maxNodeFailures
	})
	return list[:min(len(list), v1alpha1.MaxFailures)]
}

// sortFailures puts the newest first.
func sortFailures(list []v1alpha1.Failure) {
	slices.SortStableFunc(list, func(a, b v1alpha1.Failure) int {
		return cmp.Or(b.Time.Compare(a.Time.Time), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Step, b.Step))
	})
}
