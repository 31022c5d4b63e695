package install_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/controller/edge"
	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/install/apiservertest"
	"github.com/edgekit/edgekit/controller/jobs"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	nodejobs "github.com/edgekit/edgekit/edged/jobs"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/hub"
)

// jobsCloud is the part of a cloudcore for jobs, with the rights of the shipped role. Its way
// to the API server can be cut.
type jobsCloud struct {
	*jobs.Controller
	cut atomic.Bool
}

type cutTransport struct {
	next http.RoundTripper
	cut  *atomic.Bool
}

func (c cutTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.cut.Load() {
		return nil, errors.New("the network is cut")
	}
	return c.next.RoundTrip(r)
}

func startJobs(t *testing.T, cfg *rest.Config, id string) *jobsCloud {
	t.Helper()
	cloud := &jobsCloud{}
	own := rest.CopyConfig(cfg)
	own.WrapTransport = func(next http.RoundTripper) http.RoundTripper { return cutTransport{next: next, cut: &cloud.cut} }
	kube := clientFor(t, own)
	dyn, err := dynamic.NewForConfig(own)
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := edge.NewNodeStore(kube, nil)
	if err != nil {
		t.Fatal(err)
	}
	if cloud.Controller, err = jobs.New(jobs.Config{Cloud: kube, Dynamic: dyn, Nodes: nodes, ID: id, Namespace: install.Namespace, Every: 100 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = nodes.Run(ctx) })
	wg.Go(func() { _ = cloud.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return cloud
}

// jobNode is a stand-in for a node: it begins what it may, and ends it one step later.
type jobNode struct {
	name  string
	begun map[string]int // by uid of the job
	ended map[string]bool
}

func (n *jobNode) step(t *testing.T, cloud *jobsCloud) {
	t.Helper()
	src := cloud.Source(n.name)
	versions, err := src.Versions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for key := range versions {
		obj, err := src.Load(t.Context(), key, "")
		if err != nil || obj.Deleted {
			continue // it lags, and is asked again
		}
		job, err := nodejobs.DecodeNodeJob(obj.Body)
		if err != nil {
			t.Fatal(err)
		}
		r := nodejobs.Report{UID: job.UID, Generation: job.Generation, NodeTaskStatus: v1alpha2.NodeTaskStatus{
			Phase: v1alpha2.NodePending, ActionFlow: []v1alpha2.ActionStatus{{Action: v1alpha2.ActionCheck, Status: metav1.ConditionTrue, Time: new(metav1.Now())}},
		}}
		switch {
		case n.begun[job.UID] > 0:
			r.Phase, r.FinishedTime, n.ended[job.UID] = v1alpha2.NodeSuccessful, new(metav1.Now()), true
		case job.Phase == v1alpha2.Apply:
			r.Phase, r.AcceptedTime = v1alpha2.NodeInProgress, new(metav1.Now())
			n.begun[job.UID]++
		}
		body, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		report := hub.Object{Key: hub.Key{Resource: nodejobs.ReportResource, Name: key.Name}, Version: "1", Body: body}
		if err := cloud.Writers()[nodejobs.ReportResource](t.Context(), n.name, report); err != nil {
			t.Errorf("report of %s: %v", n.name, err)
		}
	}
}

// TestJobsOnARealServer: three cloudcores with the rights of the shipped role bring a job of
// v1alpha1 to nine nodes. The one that leads loses the API server in the middle, without
// noticing more than that, and comes back.
func TestJobsOnARealServer(t *testing.T) {
	a := apiservertest.Start(t)
	cfg := account(t, a)
	admin := clientFor(t, a.Admin)
	dyn, err := dynamic.NewForConfig(a.Admin)
	if err != nil {
		t.Fatal(err)
	}
	var nodes []*jobNode
	for i := range 9 {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("job-", i), Labels: map[string]string{nodelifecycle.RoleLabel: ""}}}
		node.Status.Conditions = []corev1.NodeCondition{{Type: nodelifecycle.ConditionConnected, Status: corev1.ConditionTrue}}
		if _, err := admin.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, &jobNode{name: node.Name, begun: make(map[string]int), ended: make(map[string]bool)})
	}
	clouds := []*jobsCloud{startJobs(t, cfg, "one"), startJobs(t, cfg, "two"), startJobs(t, cfg, "three")}
	upgrades := dyn.Resource(v1alpha2.GroupVersion().WithResource(v1alpha2.NodeUpgradeJobs))
	older := dyn.Resource(v1alpha2.GroupVersion().WithResource(v1alpha2.NodeUpgradeJobs).GroupResource().WithVersion("v1alpha1"))
	_, err = older.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha2.Group + "/v1alpha1", "kind": "NodeUpgradeJob", "metadata": map[string]any{"name": "up"},
		"spec": map[string]any{"version": "v1.24.0", "labelSelector": map[string]any{}, "concurrency": int64(2)},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	status := runJobs(t, dyn, clouds, nodes)
	if status.Phase != v1alpha2.JobCompleted || status.Progress != "9/9" || status.State != "Successful" || len(status.NodeStatus) != 9 {
		t.Errorf("%+v", status)
	}
	for _, n := range nodes {
		for uid, times := range n.begun {
			if times != 1 || !n.ended[uid] {
				t.Errorf("%s began %d times", n.name, times)
			}
		}
	}
	table, err := upgrades.Get(t.Context(), "up", metav1.GetOptions{})
	if err != nil || table.GetAPIVersion() != v1alpha2.GroupVersion().String() {
		t.Errorf("as v1alpha2: %v", err)
	}
	jobRights(t, cfg)
	kubectl := func(args ...string) string {
		t.Helper()
		args = append(args, "--server="+a.Host, "--token=admin-token", "--insecure-skip-tls-verify", "--kubeconfig=/dev/null", "--cache-dir="+t.TempDir())
		out, err := exec.CommandContext(t.Context(), apiservertest.Binary(t, "kube-*/kubectl"), args...).CombinedOutput()
		if err != nil {
			t.Errorf("kubectl %s: %v: %s", strings.Join(args[:3], " "), err, out)
		}
		return strings.Join(strings.Fields(string(out)), " ")
	}
	if out := kubectl("get", "nuj", "up"); !strings.HasPrefix(out, "NAME VERSION PHASE DONE FAILED REASON AGE up v1.24.0 Completed 9/9 0 ") {
		t.Error(out)
	}
	if out := kubectl("get", "njr", "--field-selector=spec.job=up,spec.nodeName=job-3"); !strings.HasPrefix(out, "NAME KIND JOB NODE PHASE REASON AGE nodeupgradejob.up.job-3.") || !strings.Contains(out, "NodeUpgradeJob up job-3 Successful") {
		t.Error(out)
	}
	kubectl("patch", "nuj", "up", "--type=merge", `-p={"spec":{"paused":true}}`)
}

// runJobs has the nodes work until the job ends. It cuts off who leads once some nodes are
// done, until another leads.
func runJobs(t *testing.T, dyn dynamic.Interface, clouds []*jobsCloud, nodes []*jobNode) *v1alpha2.JobStatus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	var lost *jobsCloud
	for {
		select {
		case <-ctx.Done():
			t.Fatal("the job does not end")
		case <-ticker.C:
		}
		u, err := dyn.Resource(v1alpha2.GroupVersion().WithResource(v1alpha2.NodeUpgradeJobs)).Get(ctx, "up", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var o v1alpha2.NodeUpgradeJob
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &o); err != nil {
			t.Fatal(err)
		}
		if o.Status.CompletionTime != nil && lost != nil && !lost.cut.Load() {
			return &o.Status
		}
		done := 0
		for i, n := range nodes {
			if len(n.ended) > 0 {
				done++
			}
			if cloud := clouds[i%len(clouds)]; !cloud.cut.Load() {
				n.step(t, cloud)
			} else {
				n.step(t, clouds[(i+1)%len(clouds)])
			}
		}
		checkPlaces(t, dyn)
		for _, cloud := range clouds {
			switch {
			case lost == nil && done >= 3 && cloud.Stats().Leading:
				lost = cloud
				cloud.cut.Store(true)
			case lost != nil && cloud != lost && cloud.Stats().Leading:
				lost.cut.Store(false)
			}
		}
	}
}

// checkPlaces checks that no more nodes have their turn than the concurrency.
func checkPlaces(t *testing.T, dyn dynamic.Interface) {
	t.Helper()
	list, err := dyn.Resource(v1alpha2.GroupVersion().WithResource(v1alpha2.NodeJobResults)).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	places := 0
	for i := range list.Items {
		var res v1alpha2.NodeJobResult
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, &res); err != nil {
			t.Fatal(err)
		}
		if res.Spec.Phase == v1alpha2.Apply && !res.Status.Phase.Final() {
			places++
		}
	}
	if places > 2 {
		t.Errorf("%d nodes have their turn, the concurrency is 2", places)
	}
}

// jobRights checks that cloudcore's role has no rights over jobs beyond what it needs.
func jobRights(t *testing.T, cfg *rest.Config) {
	t.Helper()
	client := clientFor(t, cfg)
	for may, want := range map[string]bool{
		"list nodeupgradejobs": true, "delete configupdatejobs": true, "update imageprepulljobs/status": true, "create nodejobresults": true, "patch nodejobresults": true, "update nodejobresults/status": true,
		"create nodeupgradejobs": false, "patch nodeupgradejobs": false, "update configupdatejobs": false, "delete nodejobresults": false, "update nodejobresults": false, "deletecollection nodejobresults": false,
	} {
		verb, resource, _ := strings.Cut(may, " ")
		resource, sub, _ := strings.Cut(resource, "/")
		review, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{Group: v1alpha2.Group, Verb: verb, Resource: resource, Subresource: sub}},
		}, metav1.CreateOptions{})
		if err != nil || review.Status.Allowed != want {
			t.Errorf("cloudcore may %s: %v, want %v (%v)", may, err == nil && review.Status.Allowed, want, err)
		}
	}
}
