package jobs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/edge"
	"github.com/edgekit/edgekit/controller/jobs"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/device/v1beta1"
	nodejobs "github.com/edgekit/edgekit/edged/jobs"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/hub"
)

// cluster is a fake API server with the resources of jobs: versions, generations, the status
// subresource and owners are as those of a real one.
type cluster struct {
	kube *fake.Clientset
	dyn  *dynamicfake.FakeDynamicClient

	mu      sync.Mutex
	version int
	writes  map[string]int // by verb and resource
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha2.AddToScheme, v1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c := &cluster{version: 1000, kube: controllertest.NewClientset(), dyn: dynamicfake.NewSimpleDynamicClient(scheme), writes: make(map[string]int)}
	c.dyn.PrependReactor("create", "*", c.create)
	c.dyn.PrependReactor("patch", "*", c.patch)
	c.dyn.PrependReactor("update", "*", c.update)
	c.dyn.PrependReactor("delete", "*", c.delete)
	return c
}

// begin counts a write and returns a new version. The caller holds mu.
func (c *cluster) begin(a clienttesting.Action) string {
	resource := a.GetResource().Resource
	if a.GetSubresource() != "" {
		resource += "/" + a.GetSubresource()
	}
	c.writes[a.GetVerb()+" "+resource]++
	c.version++
	return strconv.Itoa(c.version)
}

func (c *cluster) count(write string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writes[write]
}

func (c *cluster) create(a clienttesting.Action) (bool, runtime.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := a.(clienttesting.CreateAction).GetObject().(*unstructured.Unstructured).DeepCopy()
	u.SetResourceVersion(c.begin(a))
	u.SetUID(types.UID("uid-" + u.GetResourceVersion()))
	u.SetGeneration(1)
	return true, u, c.dyn.Tracker().Create(a.GetResource(), u, "")
}

// have returns what is stored, if it has the version that the caller wants; "" is any.
func (c *cluster) have(a clienttesting.Action, name, version string) (*unstructured.Unstructured, error) {
	obj, err := c.dyn.Tracker().Get(a.GetResource(), "", name)
	if err != nil {
		return nil, err
	}
	u := obj.(*unstructured.Unstructured).DeepCopy()
	if version != "" && version != u.GetResourceVersion() {
		return nil, apierrors.NewConflict(a.GetResource().GroupResource(), name, fmt.Errorf("it is %s, not %s", u.GetResourceVersion(), version))
	}
	return u, nil
}

func (c *cluster) patch(a clienttesting.Action) (bool, runtime.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := a.(clienttesting.PatchAction)
	var body struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
		Spec map[string]any `json:"spec"`
	}
	if err := json.Unmarshal(p.GetPatch(), &body); err != nil {
		return true, nil, err
	}
	u, err := c.have(a, p.GetName(), body.Metadata.ResourceVersion)
	if err != nil {
		return true, nil, err
	}
	spec, _ := u.Object["spec"].(map[string]any)
	for key, value := range body.Spec {
		if n, ok := value.(float64); ok {
			value = int64(n)
		}
		spec[key] = value
	}
	u.SetGeneration(u.GetGeneration() + 1)
	u.SetResourceVersion(c.begin(a))
	return true, u, c.dyn.Tracker().Update(a.GetResource(), u, "")
}

func (c *cluster) update(a clienttesting.Action) (bool, runtime.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fresh := a.(clienttesting.UpdateAction).GetObject().(*unstructured.Unstructured)
	u, err := c.have(a, fresh.GetName(), fresh.GetResourceVersion())
	if err != nil {
		return true, nil, err
	}
	if a.GetSubresource() == "status" {
		u.Object["status"] = fresh.DeepCopy().Object["status"]
	} else {
		u.Object["spec"] = fresh.DeepCopy().Object["spec"]
		u.SetGeneration(u.GetGeneration() + 1)
	}
	u.SetResourceVersion(c.begin(a))
	return true, u, c.dyn.Tracker().Update(a.GetResource(), u, "")
}

// delete deletes an object and what it owns.
func (c *cluster) delete(a clienttesting.Action) (bool, runtime.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := a.(clienttesting.DeleteActionImpl)
	u, err := c.have(a, d.Name, "")
	if err != nil {
		return true, nil, err
	}
	if p := d.DeleteOptions.Preconditions; p != nil && p.UID != nil && *p.UID != u.GetUID() {
		return true, nil, apierrors.NewConflict(a.GetResource().GroupResource(), d.Name, nil)
	}
	c.begin(a)
	if err := c.dyn.Tracker().Delete(a.GetResource(), "", d.Name); err != nil {
		return true, nil, err
	}
	results := v1alpha2.GroupVersion().WithResource(v1alpha2.NodeJobResults)
	list, err := c.dyn.Tracker().List(results, v1alpha2.GroupVersion().WithKind("NodeJobResult"), "")
	if err != nil {
		return true, nil, err
	}
	for _, item := range list.(*unstructured.UnstructuredList).Items {
		for _, owner := range item.GetOwnerReferences() {
			if owner.UID == u.GetUID() {
				if err := c.dyn.Tracker().Delete(results, "", item.GetName()); err != nil {
					return true, nil, err
				}
			}
		}
	}
	return true, nil, nil
}

// resources of jobs by kind.
var resources = map[string]string{
	v1alpha2.KindNodeUpgradeJob: v1alpha2.NodeUpgradeJobs, v1alpha2.KindImagePrePullJob: v1alpha2.ImagePrePullJobs, v1alpha2.KindConfigUpdateJob: v1alpha2.ConfigUpdateJobs,
}

// add creates a job with the defaults of the schema.
func (c *cluster) add(t *testing.T, kind, name string, spec map[string]any) {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": v1alpha2.GroupVersion().String(), "kind": kind, "spec": spec}}
	u.SetName(name)
	u.SetCreationTimestamp(metav1.Now())
	if _, err := c.dyn.Resource(v1alpha2.GroupVersion().WithResource(resources[kind])).Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// set changes fields of a job's spec.
func (c *cluster) set(t *testing.T, kind, name, spec string) {
	t.Helper()
	_, err := c.dyn.Resource(v1alpha2.GroupVersion().WithResource(resources[kind])).Patch(t.Context(), name, types.MergePatchType, []byte(`{"spec":`+spec+`}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// status reads the status of a job; nil if it is gone.
func (c *cluster) status(t *testing.T, kind, name string) *v1alpha2.JobStatus {
	t.Helper()
	u, err := c.dyn.Resource(v1alpha2.GroupVersion().WithResource(resources[kind])).Get(t.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var o v1alpha2.ConfigUpdateJob // the status is the same for all kinds
	delete(u.Object, "spec")
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &o); err != nil {
		t.Fatal(err)
	}
	return &o.Status
}

// results reads all results.
func (c *cluster) results(t *testing.T) []v1alpha2.NodeJobResult {
	t.Helper()
	list, err := c.dyn.Resource(v1alpha2.GroupVersion().WithResource(v1alpha2.NodeJobResults)).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all := make([]v1alpha2.NodeJobResult, len(list.Items))
	for i := range list.Items {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, &all[i]); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// node creates a node, or changes whether it has a link.
func (c *cluster) node(t *testing.T, name string, present bool) {
	t.Helper()
	status := corev1.ConditionFalse
	if present {
		status = corev1.ConditionTrue
	}
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{nodelifecycle.RoleLabel: ""}}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: nodelifecycle.ConditionConnected, Status: status}}
	_, err := c.kube.CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = c.kube.CoreV1().Nodes().UpdateStatus(t.Context(), n, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// cloudcore is one cloudcore, as far as jobs go.
type cloudcore struct {
	*jobs.Controller
	stop func()
}

// start starts a cloudcore.
func (c *cluster) start(t *testing.T, id string) *cloudcore {
	t.Helper()
	nodes, err := edge.NewNodeStore(c.kube, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctl, err := jobs.New(jobs.Config{Cloud: c.kube, Dynamic: c.dyn, Nodes: nodes, ID: id, Namespace: "edgekit-system", WritesPerSecond: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = nodes.Run(ctx) })
	wg.Go(func() {
		if err := ctl.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	cc := &cloudcore{Controller: ctl, stop: sync.OnceFunc(func() { cancel(); wg.Wait() })}
	t.Cleanup(cc.stop)
	return cc
}

// standIn is a node that does its jobs. It keeps what it was sent, as a node's store does.
type standIn struct {
	t    *testing.T
	name string
	held map[hub.Key]hub.Object
	did  map[string]int // jobs begun, by uid
	// result is how its jobs end; "" is Successful.
	result v1alpha2.NodeTaskPhase
	steps  map[string]int
	silent bool // it accepts and says no more
}

func newStandIn(t *testing.T, name string) *standIn {
	return &standIn{t: t, name: name, held: make(map[hub.Key]hub.Object), did: make(map[string]int), steps: make(map[string]int)}
}

// sync brings the node's mirror in step with a cloudcore and has the node do one step of each
// job.
func (n *standIn) sync(cc *cloudcore) {
	n.t.Helper()
	ctx := n.t.Context()
	src := cc.Source(n.name)
	versions, err := src.Versions(ctx)
	if err != nil {
		n.t.Fatal(err)
	}
	want := make(map[hub.Key]string)
	for key, version := range versions {
		want[key] = version
	}
	for key := range n.held {
		if _, ok := want[key]; !ok {
			want[key] = ""
		}
	}
	for key, version := range want {
		held := n.held[key].Version
		if version != "" && src.Compare(version, held) <= 0 {
			continue
		}
		obj, err := src.Load(ctx, key, held)
		switch {
		case err != nil: // lagging: the node asks again
		case obj.Deleted:
			delete(n.held, key)
		case src.Compare(obj.Version, held) < 0:
			n.t.Errorf("%s was sent %s of version %s after %s", n.name, key, obj.Version, held)
		default:
			n.held[key] = obj
		}
	}
	for _, obj := range n.held {
		n.work(cc, obj)
	}
}

// work does one step of a job and reports.
func (n *standIn) work(cc *cloudcore, obj hub.Object) {
	n.t.Helper()
	job, err := nodejobs.DecodeNodeJob(obj.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	r := &nodejobs.Report{UID: job.UID, Generation: job.Generation, NodeTaskStatus: v1alpha2.NodeTaskStatus{Phase: v1alpha2.NodePending}}
	check := v1alpha2.ActionStatus{Action: v1alpha2.ActionCheck, Status: metav1.ConditionTrue}
	switch step := n.steps[job.UID]; {
	case step == 0 && job.Phase == v1alpha2.Download:
		r.ActionFlow = []v1alpha2.ActionStatus{check}
	case step == 0 && job.Phase == v1alpha2.Apply:
		n.did[job.UID]++
		n.steps[job.UID] = 1
		r.Phase, r.ActionFlow = v1alpha2.NodeInProgress, []v1alpha2.ActionStatus{check}
		r.AcceptedTime = new(metav1.Now())
	case step == 1 && !n.silent:
		n.steps[job.UID] = 2
		r.Phase, r.Log = v1alpha2.NodeSuccessful, "all the log"
		if n.result != "" {
			r.Phase, r.Reason = n.result, "PodsNotReady"
		}
	default:
		return
	}
	n.report(cc, obj.Key.Name, r)
}

func (n *standIn) report(cc *cloudcore, key string, r *nodejobs.Report) {
	n.t.Helper()
	if err := n.tryReport(cc, key, r); err != nil {
		n.t.Errorf("%s: %v", n.name, err)
	}
}

func (n *standIn) tryReport(cc *cloudcore, key string, r *nodejobs.Report) error {
	body, err := json.Marshal(r)
	if err != nil {
		n.t.Fatal(err)
	}
	return cc.Writers()[nodejobs.ReportResource](n.t.Context(), n.name, hub.Object{Key: hub.Key{Resource: nodejobs.ReportResource, Name: key}, Version: "1", Body: body})
}
