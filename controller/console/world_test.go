package console_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/controller/console"
	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/devices"
	"github.com/edgekit/edgekit/controller/edge"
	"github.com/edgekit/edgekit/controller/jobs"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// world is a console before a fake API server. The token "T-NAME" is user NAME's: root may do
// everything, viewer may read everything, plant may read what is in the namespace plant, only-nodes
// and only-devices may read what they say, nobody may do nothing.
type world struct {
	*console.Server
	kube *fake.Clientset
	dyn  *dynamicfake.FakeDynamicClient
	live *console.Live

	mu      sync.Mutex
	asked   []string // of the API server with users' tokens: "TOKEN METHOD PATH?QUERY BODY"
	answer  http.HandlerFunc
	away    bool // the API server answers no review
	reviews int
}

func (w *world) allowed(spec *authorizationv1.SubjectAccessReviewSpec) bool {
	right := spec.ResourceAttributes
	switch spec.User {
	case "root":
		return true
	case "viewer":
		return slices.Contains([]string{"get", "list"}, right.Verb)
	case "only-nodes":
		return right.Resource == "nodes"
	case "only-devices":
		return right.Resource == "devices"
	case "plant":
		return right.Namespace == "plant" && slices.Contains([]string{"get", "list"}, right.Verb)
	}
	return false
}

func (w *world) setAway(away bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away = away
}

func (w *world) setAnswer(h http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = h
}

func (w *world) requests() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.asked)
}

// isAway returns an error while the API server is away.
func (w *world) isAway() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reviews++
	if w.away {
		return errors.New("dial tcp 10.0.0.1:6443: connection refused")
	}
	return nil
}

// ServeHTTP is the API server as users reach it.
func (w *world) upstream(rw http.ResponseWriter, r *http.Request) {
	body := new(strings.Builder)
	_, _ = fmt.Fprint(body, r.Header.Get("Authorization"), " ", r.Method, " ", r.URL.Path)
	if r.URL.RawQuery != "" {
		_, _ = fmt.Fprint(body, "?", r.URL.RawQuery)
	}
	patch := make([]byte, 1024)
	if n, _ := r.Body.Read(patch); n > 0 {
		_, _ = fmt.Fprint(body, " ", string(patch[:n]))
	}
	w.mu.Lock()
	w.asked = append(w.asked, body.String())
	answer := w.answer
	w.mu.Unlock()
	if answer == nil {
		rw.WriteHeader(http.StatusNotFound)
		_, _ = rw.Write([]byte(`{"kind":"Status","message":"nothing is here"}`))
		return
	}
	answer(rw, r)
}

func edgeNode(name, site, link string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{nodelifecycle.RoleLabel: "", corev1.LabelTopologyZone: site}}}
	n.Status.NodeInfo.KubeletVersion = "v1.34.0"
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.1.2.3"}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	if link != "" {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{
			Type: nodelifecycle.ConditionConnected, Status: corev1.ConditionStatus(link), LastTransitionTime: metav1.Unix(1_700_000_000, 0),
		})
	}
	return n
}

func pod(namespace, name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "app"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "app", RestartCount: 3}}},
	}
}

func device(namespace, name, node, state string) *v1beta1.Device {
	return &v1beta1.Device{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, ResourceVersion: "7"},
		Spec:       schema.DeviceSpec{NodeName: node, ModelRef: schema.ModelRef{Name: "boiler"}, Properties: []schema.Property{{Name: "target", Desired: &schema.Value{Value: "45"}}}},
		Status:     v1beta1.Summary{State: state},
	}
}

func newWorld(t testing.TB, cfg console.Config) *world {
	t.Helper()
	w := &world{live: new(console.Live)}
	w.kube = controllertest.NewClientset(
		edgeNode("edge-1", "north", "True"), edgeNode("edge-2", "north", "False"), edgeNode("edge-3", "south", ""),
		pod("plant", "a", "edge-1"), pod("office", "b", "edge-1"), pod("plant", "c", "edge-2"),
	)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1beta1.AddToScheme, v1alpha2.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	w.dyn = dynamicfake.NewSimpleDynamicClient(scheme,
		device("plant", "boiler", "edge-1", "online"), device("plant", "pump", "edge-2", "offline"), device("office", "lamp", "edge-1", "ok"),
		&v1beta1.DeviceModel{
			ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "boiler", ResourceVersion: "8"},
			Spec:       schema.DeviceModelSpec{Properties: []schema.ModelProperty{{Name: "target", Unit: "Cel"}}},
		},
		&v1alpha2.NodeUpgradeJob{
			ObjectMeta: metav1.ObjectMeta{Name: "up", UID: "u-1", ResourceVersion: "5", CreationTimestamp: metav1.Unix(1_700_000_000, 0)},
			Status:     v1alpha2.JobStatus{Phase: v1alpha2.JobInProgress, Nodes: v1alpha2.NodeCounts{Total: 2, Successful: 1, InProgress: 1}},
		},
		&v1alpha2.NodeJobResult{
			ObjectMeta: metav1.ObjectMeta{Name: "up.edge-1", ResourceVersion: "6"},
			Spec:       v1alpha2.NodeJobResultSpec{Kind: "NodeUpgradeJob", Job: "up", JobUID: "u-1", NodeName: "edge-1"},
			Status:     v1alpha2.NodeJobResultStatus{NodeTaskStatus: v1alpha2.NodeTaskStatus{Phase: v1alpha2.NodeSuccessful}},
		})
	w.kube.PrependReactor("create", "tokenreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview).DeepCopy()
		if name, ok := strings.CutPrefix(review.Spec.Token, "T-"); ok {
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: name, Groups: []string{"system:authenticated"}}}
		}
		return true, review, w.isAway()
	})
	w.kube.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
		review.Status.Allowed = w.allowed(&review.Spec)
		return true, review, w.isAway()
	})
	// This cloudcore leads no jobs: they stay as they are.
	w.kube.PrependReactor("create", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("another leads")
	})
	api := httptest.NewServer(http.HandlerFunc(w.upstream))
	t.Cleanup(api.Close)
	nodes, err := edge.NewNodeStore(w.kube, nil)
	if err != nil {
		t.Fatal(err)
	}
	pods, err := edge.New(edge.Config{Cloud: w.kube, NodeClient: w.kube, Nodes: nodes})
	if err != nil {
		t.Fatal(err)
	}
	dev, err := devices.New(devices.Config{Cloud: w.kube, Dynamic: w.dyn, Live: w.live})
	if err != nil {
		t.Fatal(err)
	}
	fleet, err := jobs.New(jobs.Config{Cloud: w.kube, Dynamic: w.dyn, Nodes: nodes, ID: "x", Namespace: "x"})
	if err != nil {
		t.Fatal(err)
	}
	cfg.REST, cfg.Cloud, cfg.Nodes, cfg.Pods, cfg.Devices, cfg.Jobs, cfg.Live = &rest.Config{Host: api.URL, BearerToken: "cloudcore-token"}, w.kube, nodes, pods, dev, fleet, w.live
	if w.Server, err = console.New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{nodes.Run, pods.Run, dev.Run, fleet.Run} {
		running.Go(func() { _ = run(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	for _, synced := range append(append(dev.Synced(), fleet.Synced()...), nodes.Synced(), pods.Synced()) {
		select {
		case <-synced:
		case <-time.After(time.Minute):
			t.Fatal("the caches are not filled")
		}
	}
	return w
}

// send sends a request and returns the answer's code and body.
func (w *world) send(method, path string, change func(*http.Request), body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://console.example"+path, strings.NewReader(body))
	if change != nil {
		change(r)
	}
	out := httptest.NewRecorder()
	w.ServeHTTP(out, r)
	return out
}

// as is a request with a user's token.
func as(user string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Authorization", "Bearer T-"+user)
		r.Header.Set("X-Edgekit-Console", "1")
	}
}

// get reads a path of the API as a user.
func (w *world) get(t testing.TB, user, path string, into any) int {
	t.Helper()
	out := w.send(http.MethodGet, "/console/api/v1/"+path, as(user), "")
	if into != nil && out.Code == http.StatusOK {
		if err := json.Unmarshal(out.Body.Bytes(), into); err != nil {
			t.Fatalf("%s: %v: %s", path, err, out.Body)
		}
	}
	return out.Code
}
