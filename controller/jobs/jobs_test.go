package jobs_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/controller/jobs"
	nodejobs "github.com/edgekit/edgekit/edged/jobs"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/hub"
)

const (
	upgrade = v1alpha2.KindNodeUpgradeJob
	prepull = v1alpha2.KindImagePrePullJob
	config  = v1alpha2.KindConfigUpdateJob
)

func all() map[string]any { return map[string]any{"matchLabels": map[string]any{}} }

// inBubble runs a test whose time is virtual.
func inBubble(t *testing.T, test func(t *testing.T, c *cluster)) {
	synctest.Test(t, func(t *testing.T) { test(t, newCluster(t)) })
}

// until lets time pass, a second at a time, until ok says so.
func until(t *testing.T, what string, each func(), ok func() bool) {
	t.Helper()
	for range 3000 {
		if ok() {
			return
		}
		if each != nil {
			each()
		}
		time.Sleep(time.Second)
		synctest.Wait()
	}
	t.Fatal("it never came to this: ", what)
}

func ended(t *testing.T, c *cluster, kind, name string) func() bool {
	return func() bool {
		st := c.status(t, kind, name)
		return st != nil && st.CompletionTime != nil
	}
}

// TestTwoCloudcores: two cloudcores serve the nodes of one job. Whoever leads is stopped, or
// dies without a word, in the middle. No node begins twice, and never do more work than may.
func TestTwoCloudcores(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprint("crash ", crash), func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *cluster) { twoCloudcores(t, c, crash) })
		})
	}
}

func twoCloudcores(t *testing.T, c *cluster, crash bool) {
	if crash { // nobody releases the Lease
		c.kube.PrependReactor("update", "leases", func(a clienttesting.Action) (bool, runtime.Object, error) {
			if *a.(clienttesting.UpdateAction).GetObject().(*coordinationv1.Lease).Spec.HolderIdentity == "" {
				return true, nil, errors.New("the process is dead")
			}
			return false, nil, nil
		})
	}
	const nodes, concurrency = 30, 3
	var fleet []*standIn
	for i := range nodes {
		name := fmt.Sprintf("edge-%02d", i)
		c.node(t, name, true)
		fleet = append(fleet, newStandIn(t, name))
	}
	clouds := []*cloudcore{c.start(t, "one"), c.start(t, "two"), c.start(t, "three")}
	c.add(t, upgrade, "v1-24", map[string]any{"version": "v1.24.0", "labelSelector": all(), "concurrency": int64(concurrency)})
	round, stopped := 0, 0
	until(t, "the job ends", func() {
		round++
		leading := slices.IndexFunc(clouds, func(cc *cloudcore) bool { return cc.Stats().Leading })
		if n := len(slices.DeleteFunc(slices.Clone(clouds), func(cc *cloudcore) bool { return !cc.Stats().Leading })); n > 1 {
			t.Fatal("two cloudcores lead")
		}
		if stopped < 2 && round >= 6*(stopped+1) && leading >= 0 {
			clouds[leading].stop()
			clouds = slices.Delete(clouds, leading, leading+1)
			stopped++
		}
		for i, n := range fleet {
			n.sync(clouds[i%len(clouds)])
		}
		places := 0
		for _, res := range c.results(t) {
			if !res.Status.Phase.Final() && (res.Spec.Phase == v1alpha2.Apply || res.Status.ObservedAcceptedTime != nil) {
				places++
			}
		}
		if places > concurrency {
			t.Fatalf("%d nodes have a place, the concurrency is %d", places, concurrency)
		}
	}, ended(t, c, upgrade, "v1-24"))
	st := c.status(t, upgrade, "v1-24")
	if st.Phase != v1alpha2.JobCompleted || st.Progress != "30/30" || st.Nodes.Failed != 0 || st.State != "Successful" || stopped != 2 {
		t.Errorf("%+v; %d cloudcores were stopped", st, stopped)
	}
	for _, n := range fleet {
		for uid, times := range n.did {
			if times != 1 {
				t.Errorf("%s began job %s %d times", n.name, uid, times)
			}
		}
		n.sync(clouds[0])
		if len(n.held) != 0 {
			t.Errorf("%s still has a job that has ended", n.name)
		}
	}
	// Each node takes: result, Apply; Check, InProgress, Successful. The job's status is
	// coalesced.
	if n := c.count("update nodeupgradejobs/status"); n > 60 {
		t.Errorf("the status of the job was written %d times", n)
	}
	if made, given, reported := c.count("create nodejobresults"), c.count("patch nodejobresults"), c.count("update nodejobresults/status"); made != nodes || given != nodes || reported != 3*nodes {
		t.Errorf("%d results were made, %d permissions changed, %d reports stored", made, given, reported)
	}
}

// TestLostAndLateNode: a node that accepts and is lost becomes Unknown and frees its place;
// its late result counts, though the job has ended.
func TestLostAndLateNode(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		cc := c.start(t, "one")
		lost, other := newStandIn(t, "a"), newStandIn(t, "b")
		lost.silent = true
		c.node(t, "a", true)
		c.node(t, "b", true)
		c.add(t, config, "slower", map[string]any{"updateFields": map[string]any{"a": "b"}, "labelSelector": all(), "failureTolerate": "0.5", "timeoutSeconds": int64(60)})
		until(t, "the job ends", func() { lost.sync(cc); other.sync(cc) }, ended(t, c, config, "slower"))
		st := c.status(t, config, "slower")
		if st.Phase != v1alpha2.JobCompleted || st.Nodes.Unknown != 1 || st.Nodes.Successful != 1 || st.NodeStatus[0].Reason != v1alpha2.ReasonTimedOut {
			t.Errorf("%+v", st)
		}
		if cc.Stats().TimedOut != 1 {
			t.Errorf("%+v", cc.Stats())
		}
		lost.silent = false
		lost.result = v1alpha2.NodeRolledBack
		lost.sync(cc)
		until(t, "the counts follow", nil, func() bool { return c.status(t, config, "slower").Nodes.RolledBack == 1 })
		for _, res := range c.results(t) {
			if res.Spec.NodeName == "a" && (res.Status.Phase != v1alpha2.NodeRolledBack || res.Status.Reason != "PodsNotReady" || res.Status.Log == "" || !res.Status.Reported) {
				t.Errorf("%+v", res.Status)
			}
			if res.Spec.NodeName == "b" && res.Status.Log != "" {
				t.Error("the log of a node that did not fail is kept")
			}
		}
		// What came before its end, and comes again, changes nothing.
		before := c.count("update nodejobresults/status")
		lost.report(cc, "configupdatejob.slower", &nodejobs.Report{UID: c.results(t)[0].Spec.JobUID, NodeTaskStatus: v1alpha2.NodeTaskStatus{Phase: v1alpha2.NodePending}})
		if c.count("update nodejobresults/status") != before {
			t.Error("an old report was written")
		}
	})
}

// TestYoungerJobWaits: two jobs for one node run one after the other, and the younger says
// why it waits.
func TestYoungerJobWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		cc := c.start(t, "one")
		n := newStandIn(t, "a")
		c.node(t, "a", true)
		c.add(t, config, "first", map[string]any{"updateFields": map[string]any{"a": "b"}, "nodeNames": []any{"a"}})
		time.Sleep(2 * time.Second)
		c.add(t, prepull, "second", map[string]any{"imagePrePullTemplate": map[string]any{"images": []any{"nginx:1"}, "nodeNames": []any{"a"}}})
		until(t, "the second says that it waits", nil, func() bool {
			st := c.status(t, prepull, "second")
			return st.Reason == v1alpha2.ReasonWaitingForJob && strings.Contains(st.Message, "ConfigUpdateJob first")
		})
		until(t, "both end", func() { n.sync(cc) }, func() bool { return ended(t, c, config, "first")() && ended(t, c, prepull, "second")() })
		n.sync(cc)
		if len(n.held) != 1 || n.held[hub.Key{Resource: nodejobs.Resource, Name: "imageprepulljob.second"}].Body == nil {
			t.Errorf("after their end the node has %v: it needs the pull of images, which keeps them", n.held)
		}
		if err := c.dyn.Resource(v1alpha2.GroupVersion().WithResource(v1alpha2.ImagePrePullJobs)).Delete(t.Context(), "second", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		until(t, "and loses it with the job", func() { n.sync(cc) }, func() bool { return len(n.held) == 0 })
	})
}

// TestPauseCancelTTL: pause and cancel reach the nodes, a job is deleted after its time, and
// one of the same name later is another job.
func TestPauseCancelTTL(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		cc := c.start(t, "one")
		n := newStandIn(t, "a")
		c.node(t, "a", true)
		key := hub.Key{Resource: nodejobs.Resource, Name: "nodeupgradejob.u"}
		phase := func() v1alpha2.Permission {
			if n.held[key].Body == nil {
				return ""
			}
			job, err := nodejobs.DecodeNodeJob(n.held[key].Body)
			if err != nil {
				t.Fatal(err)
			}
			return job.Phase
		}
		spec := map[string]any{"version": "v1.24.0", "labelSelector": all(), "ttlSecondsAfterFinished": int64(60), "window": map[string]any{"apply": map[string]any{"cron": "0 3 1 1 *", "duration": "1h"}}}
		c.add(t, upgrade, "u", spec)
		until(t, "it downloads", func() { n.sync(cc) }, func() bool { return phase() == v1alpha2.Download })
		until(t, "and waits for its window", nil, func() bool { return c.status(t, upgrade, "u").Reason == v1alpha2.ReasonWindowClosed })
		c.set(t, upgrade, "u", `{"paused": true}`)
		until(t, "it pauses", func() { n.sync(cc) }, func() bool { return phase() == v1alpha2.Paused })
		c.set(t, upgrade, "u", `{"cancel": true}`)
		until(t, "it drops the job", func() { n.sync(cc) }, func() bool { return phase() == v1alpha2.Cancelled })
		if st := c.status(t, upgrade, "u"); st.Phase != v1alpha2.JobFailure || st.Reason != v1alpha2.ReasonCancelled || st.State != "Failed" {
			t.Errorf("%+v", st)
		}
		until(t, "the job is deleted", func() { n.sync(cc) }, func() bool { return c.status(t, upgrade, "u") == nil && len(c.results(t)) == 0 && len(n.held) == 0 })
		delete(spec, "window")
		c.add(t, upgrade, "u", spec)
		until(t, "the next job of that name", func() { n.sync(cc) }, func() bool {
			st := c.status(t, upgrade, "u")
			return st != nil && st.Phase == v1alpha2.JobCompleted
		})
	})
}

// TestReports: what a node may not say is refused for good, with the reason.
func TestReports(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		cc := c.start(t, "one")
		a, b := newStandIn(t, "a"), newStandIn(t, "b")
		c.node(t, "a", true)
		c.add(t, config, "x", map[string]any{"updateFields": map[string]any{"a": "b"}, "labelSelector": all()})
		until(t, "a has its result", nil, func() bool { return len(c.results(t)) == 1 })
		uid := c.results(t)[0].Spec.JobUID
		good := &nodejobs.Report{UID: uid, NodeTaskStatus: v1alpha2.NodeTaskStatus{Phase: v1alpha2.NodeSuccessful}}
		if err := b.tryReport(cc, "configupdatejob.x", good); err != nil {
			t.Errorf("of a node without a result: %v", err) // as of one whose job is gone
		}
		if err := a.tryReport(cc, "configupdatejob.gone", &nodejobs.Report{UID: "other", NodeTaskStatus: good.NodeTaskStatus}); err != nil {
			t.Errorf("of a job that is gone: %v", err)
		}
		for what, err := range map[string]error{
			"no key":      a.tryReport(cc, "pod.x", good),
			"no phase":    a.tryReport(cc, "configupdatejob.x", &nodejobs.Report{UID: uid}),
			"another job": a.tryReport(cc, "nodeupgradejob.x", good),
		} {
			if e, ok := errors.AsType[*hub.Error](err); !ok || !e.Final() {
				t.Errorf("%s: %v", what, err)
			}
		}
		if cc.Stats().Refused != 3 || c.results(t)[0].Status.Phase != "" {
			t.Errorf("%+v %+v", cc.Stats(), c.results(t)[0].Status)
		}
		a.report(cc, "configupdatejob.x", good)
		until(t, "the end", nil, ended(t, c, config, "x"))
	})
}

// TestPullSecret: a pull secret that cloudcore may read goes with the job, also one of the
// older form; without it the job goes all the same.
func TestPullSecret(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		cc := c.start(t, "one")
		c.node(t, "a", true)
		for name, data := range map[string]map[string][]byte{"new": {corev1.DockerConfigJsonKey: []byte(`{"auths":{"r":{}}}`)}, "old": {corev1.DockerConfigKey: []byte(`{"r":{}}`)}} {
			_, err := c.kube.CoreV1().Secrets("ns").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns"}, Data: data}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
		}
		for name, want := range map[string]string{"new": `{"auths":{"r":{}}}`, "old": `{"auths":{"r":{}}}`, "none": ""} {
			n := newStandIn(t, "a")
			key := hub.Key{Resource: nodejobs.Resource, Name: "imageprepulljob." + name}
			c.add(t, prepull, name, map[string]any{"imagePrePullTemplate": map[string]any{"images": []any{"r/i"}, "nodeNames": []any{"a"}, "imageSecrets": "ns/" + name}})
			var first []byte // after its end the node has it without the secret
			until(t, "the job ends", func() {
				n.sync(cc)
				if first == nil {
					first = n.held[key].Body
				}
			}, ended(t, c, prepull, name))
			job, err := nodejobs.DecodeNodeJob(first)
			if err != nil || string(job.ImagePrePull.DockerConfigJSON) != want {
				t.Errorf("%s: %q, want %q (%v)", name, job.ImagePrePull.DockerConfigJSON, want, err)
			}
		}
	})
}

// TestEvents: a job tells its story in events.
func TestEvents(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		cc := c.start(t, "one")
		var fleet []*standIn
		for _, name := range []string{"a", "b", "c"} {
			c.node(t, name, true)
			fleet = append(fleet, newStandIn(t, name))
		}
		fleet[1].result = v1alpha2.NodeRolledBack
		c.add(t, config, "x", map[string]any{"updateFields": map[string]any{"a": "b"}, "labelSelector": all(), "rollout": map[string]any{"batches": []any{map[string]any{"limit": int64(1)}}}})
		until(t, "the job ends", func() {
			for _, n := range fleet {
				n.sync(cc)
			}
		}, ended(t, c, config, "x"))
		list, err := c.kube.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[string]string)
		for _, e := range list.Items {
			seen[e.Reason] = e.Message
		}
		for _, want := range []string{jobs.EventStarted, jobs.EventBatch, jobs.EventNodes, jobs.EventFailed} {
			if seen[want] == "" {
				t.Errorf("no event %s: %v", want, seen)
			}
		}
		if !strings.Contains(seen[jobs.EventNodes], "b (RolledBack PodsNotReady)") {
			t.Error(seen[jobs.EventNodes])
		}
	})
}

func TestNewRefuses(t *testing.T) {
	if _, err := jobs.New(jobs.Config{}); err == nil || !strings.Contains(err.Error(), "Cloud, Dynamic and Nodes") {
		t.Error(err)
	}
}
