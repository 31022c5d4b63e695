package jobs

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// TestCounts: jobs by phase, and nodes of those that go on; a phase that is not known is no label.
func TestCounts(t *testing.T) {
	c := &Controller{results: newIndex(), wake: make(chan struct{}, 1), jobs: make(map[string]*job), dirty: make(map[string]bool)}
	j := configJob(func(o *v1alpha2.ConfigUpdateJob) { o.Status.Phase = v1alpha2.JobInProgress })
	c.putJob(j)
	for node, phase := range map[string]v1alpha2.NodeTaskPhase{"a": v1alpha2.NodeInProgress, "b": v1alpha2.NodeInProgress, "c": "", "d": "<script>"} {
		res := &v1alpha2.NodeJobResult{
			ObjectMeta: metav1.ObjectMeta{Name: node, ResourceVersion: "2"},
			Spec:       v1alpha2.NodeJobResultSpec{Kind: j.kind, Job: j.meta.Name, JobUID: string(j.meta.UID), NodeName: node},
		}
		res.Status.Phase = phase
		c.putResult(res)
	}
	got := c.Counts()
	kind := v1alpha2.KindConfigUpdateJob
	if got.Jobs[KindPhase{kind, "InProgress"}] != 1 || got.Nodes[KindPhase{kind, "InProgress"}] != 2 || got.Nodes[KindPhase{kind, "Pending"}] != 2 || len(got.Jobs) != 12 || len(got.Nodes) != 18 {
		t.Errorf("%+v", got)
	}
}
