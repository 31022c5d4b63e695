package jobs

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// Job is a fleet job of any kind, as far as lists show it. It is shared and must not be
// written to.
type Job struct {
	Kind           string
	Meta           metav1.ObjectMeta
	Paused, Cancel bool // of its spec
	Status         v1alpha2.JobStatus
}

// Finished reports that no node begins any more.
func (j *Job) Finished() bool { return j.Status.CompletionTime != nil }

// JobChange is a job that came, changed or went.
type JobChange struct{ Old, New *Job } // nil where there was or is none

// OnJob calls f after each change of a job. It must be called before Run; f must return soon.
// Kinds come from a goroutine each: f may be called by several at once.
func (c *Controller) OnJob(f func(JobChange)) {
	onJob(c.upgrades, f, func(o *v1alpha2.NodeUpgradeJob) *Job {
		return &Job{v1alpha2.KindNodeUpgradeJob, o.ObjectMeta, o.Spec.Paused, o.Spec.Cancel, o.Status}
	})
	onJob(c.prepulls, f, func(o *v1alpha2.ImagePrePullJob) *Job {
		return &Job{v1alpha2.KindImagePrePullJob, o.ObjectMeta, o.Spec.Paused, o.Spec.Cancel, o.Status}
	})
	onJob(c.configs, f, func(o *v1alpha2.ConfigUpdateJob) *Job {
		return &Job{v1alpha2.KindConfigUpdateJob, o.ObjectMeta, o.Spec.Paused, o.Spec.Cancel, o.Status}
	})
}

func onJob[T cache.Object](store *cache.Store[T], f func(JobChange), of func(T) *Job) {
	var none T
	store.OnChange(func(change cache.Change[T]) {
		var c JobChange
		if change.Old != none {
			c.Old = of(change.Old)
		}
		if change.New != none {
			c.New = of(change.New)
		}
		f(c)
	})
}

// Results returns the store of what nodes did in jobs, which Run fills. Status.Log is left out.
func (c *Controller) Results() *cache.Store[*v1alpha2.NodeJobResult] { return c.stored }

// ResourceOf returns the resource of a kind of jobs; "" for a kind that is none.
func ResourceOf(kind string) string {
	switch kind {
	case v1alpha2.KindNodeUpgradeJob, v1alpha2.KindImagePrePullJob, v1alpha2.KindConfigUpdateJob:
		return jobResource(kind)
	}
	return ""
}
