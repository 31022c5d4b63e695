package jobs

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// TestForgetsJobs: a cloudcore that does not lead keeps nothing of jobs that are gone, whose
// results go after them.
func TestForgetsJobs(t *testing.T) {
	c := &Controller{results: newIndex(), wake: make(chan struct{}, 1), jobs: make(map[string]*job), dirty: make(map[string]bool)}
	j := configJob(func(*v1alpha2.ConfigUpdateJob) {})
	res := &v1alpha2.NodeJobResult{
		ObjectMeta: metav1.ObjectMeta{Name: "r", UID: "r1", ResourceVersion: "2"},
		Spec:       v1alpha2.NodeJobResultSpec{Kind: j.kind, Job: j.meta.Name, JobUID: string(j.meta.UID), NodeName: "a"},
	}
	c.putResult(res)
	c.putJob(j)
	if len(c.dirty) != 1 {
		t.Errorf("a new job is not looked at: %v", c.dirty)
	}
	c.jobGone(j)
	c.removeResult(res)
	if len(c.dirty) != 0 || len(c.jobs) != 0 || len(c.results.byJob) != 0 || len(c.results.byNode) != 0 {
		t.Errorf("left: %v %v %v", c.dirty, c.jobs, c.results.byJob)
	}
}
