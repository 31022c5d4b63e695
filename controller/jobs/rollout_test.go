package jobs

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// TestRandomRollouts runs many rollouts with nodes that come, go, fail and are late, and checks
// after each step that nothing is exceeded, and that all end.
func TestRandomRollouts(t *testing.T) {
	for seed := range uint64(150) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { randomRollout(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func randomRollout(t *testing.T, random *rand.Rand) {
	var nodes []node
	for i := range 5 + random.IntN(40) {
		nodes = append(nodes, node{name: fmt.Sprintf("n%02d", i), present: random.IntN(4) > 0, labels: map[string]string{"site": fmt.Sprint(random.IntN(4)), "ring": fmt.Sprint(random.IntN(3))}})
	}
	concurrency := 1 + random.IntN(5)
	unavailable := 1 + random.IntN(2)
	withDownload := random.IntN(2) == 0
	rollout := &v1alpha2.Rollout{Batches: []v1alpha2.Batch{
		{Limit: new(intstr.FromInt32(int32(1 + random.IntN(3)))), SuccessThreshold: new(intstr.FromString("0%"))},
		{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"ring": "1"}}, SuccessThreshold: new(intstr.FromString("0%"))},
	}, DisruptionBudget: &v1alpha2.DisruptionBudget{GroupBy: []string{"site"}, MaxUnavailable: new(intstr.FromInt32(int32(unavailable)))}}
	j := configJob(func(o *v1alpha2.ConfigUpdateJob) {
		o.Spec.Concurrency, o.Spec.FailureTolerate, o.Spec.Rollout = int32(concurrency), "1", rollout
	})
	j.downloads = withDownload
	s := newSim(t, j, nodes...)
	for step := 0; s.job.status.CompletionTime == nil; step++ {
		if step > 2000 {
			t.Fatalf("the job does not end: %s %s %+v", s.last.status.Reason, s.last.status.Message, s.last.status.Nodes)
		}
		s.step()
		s.checkBounds(concurrency, unavailable)
		s.now = s.now.Add(time.Duration(random.IntN(120)) * time.Second)
		for i := range s.fleet.nodes {
			n := &s.fleet.nodes[i]
			if step > 100 {
				n.present = true // in the end all return, or none would have room in the budget
			} else if random.IntN(10) == 0 {
				n.present = !n.present
			}
			res := s.results[n.name]
			if !n.present || res == nil || res.Status.Phase.Final() || random.IntN(3) == 0 {
				continue
			}
			switch {
			case res.Status.ObservedAcceptedTime != nil:
				s.report(n.name, []v1alpha2.NodeTaskPhase{v1alpha2.NodeSuccessful, v1alpha2.NodeFailure, v1alpha2.NodeRolledBack}[random.IntN(3)])
			case res.Spec.Phase == v1alpha2.Apply:
				s.report(n.name, v1alpha2.NodeInProgress, v1alpha2.ActionCheck)
			case res.Spec.Phase == v1alpha2.Download && withDownload:
				s.report(n.name, v1alpha2.NodePending, v1alpha2.ActionCheck)
			}
		}
	}
	if n := s.last.status.Nodes; int(n.Total) != len(nodes) || n.Successful+n.Failed != n.Total {
		t.Errorf("%+v", n)
	}
}

// checkBounds checks concurrency and, for nodes with a link, the budget.
func (s *sim) checkBounds(concurrency, unavailable int) {
	s.t.Helper()
	places, sites := 0, make(map[string]int)
	for i := range s.fleet.nodes {
		n := &s.fleet.nodes[i]
		res := s.results[n.name]
		if res == nil || res.Status.Phase.Final() || res.Status.Phase == v1alpha2.NodeUnknown {
			continue
		}
		if res.Status.ObservedAcceptedTime != nil || res.Spec.Phase == v1alpha2.Apply {
			places++
			sites[n.labels["site"]]++
		}
	}
	if places > concurrency {
		s.t.Fatalf("%d nodes have a place, the concurrency is %d", places, concurrency)
	}
	for site, n := range sites {
		if n > unavailable {
			s.t.Fatalf("%d nodes of site %s apply the job, the budget is %d", n, site, unavailable)
		}
	}
}

// BenchmarkDecide is one look at a job of 10,000 nodes.
func BenchmarkDecide(b *testing.B) {
	for name, nodes := range map[string]int{"1000": 1000, "10000": 10_000} {
		b.Run(name, func(b *testing.B) {
			f := &fleet{byName: make(map[string]*node)}
			results := make(map[string]*v1alpha2.NodeJobResult)
			for i := range nodes {
				n := node{name: fmt.Sprintf("edge-%05d", i), present: i%10 > 0, labels: map[string]string{"site": fmt.Sprint(i / 20)}}
				f.nodes = append(f.nodes, n)
				if i < nodes/2 {
					res := &v1alpha2.NodeJobResult{Spec: v1alpha2.NodeJobResultSpec{NodeName: n.name, Batch: 2, Phase: v1alpha2.Apply, PhaseTime: &metav1.Time{Time: start}}}
					res.Status.Phase, res.Status.Reported = v1alpha2.NodeSuccessful, true
					if i%50 == 0 {
						res.Status.Phase = v1alpha2.NodeFailure
					}
					results[n.name] = res
				}
			}
			for i := range f.nodes {
				f.byName[f.nodes[i].name] = &f.nodes[i]
			}
			j := configJob(func(o *v1alpha2.ConfigUpdateJob) {
				o.Spec.Concurrency = 100
				o.Spec.Rollout = &v1alpha2.Rollout{Batches: []v1alpha2.Batch{{Limit: new(intstr.FromInt32(10))}},
					DisruptionBudget: &v1alpha2.DisruptionBudget{GroupBy: []string{"site"}, MaxUnavailable: new(intstr.FromInt32(5))}}
			})
			j.status.Batch = 2
			in := input{job: j, fleet: f, results: results, busy: map[string]string{}, disturbed: map[string]bool{}, now: start.Add(time.Hour)}
			if d := decide(in); len(d.grants) == 0 || len(d.grants) > 100 {
				b.Fatalf("%d grants: %+v", len(d.grants), d.status)
			}
			b.ReportAllocs()
			for b.Loop() {
				decide(in)
			}
		})
	}
}
