package controller_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/edge"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/memconn"
	"github.com/edgekit/edgekit/meta/kube"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

// site is a cluster with one edge node, whose link a test cuts.
type site struct {
	t     *testing.T
	cloud *fake.Clientset
	mgr   *manager.Manager
	pods  *kube.Client
	up    *group // the node's link; nil while it is cut

	mu     sync.Mutex
	writes map[string][]string // by pod: each status that was written of its condition Ready
}

func readyPod(name string, ready corev1.ConditionStatus) *corev1.Pod {
	p := boundPod("edge-7")
	p.Name, p.UID, p.ResourceVersion = name, types.UID("uid-"+name), ""
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
		{Type: corev1.PodReady, Status: ready}, {Type: corev1.ContainersReady, Status: ready},
	}}
	if ready == corev1.ConditionFalse {
		for i := range p.Status.Conditions {
			p.Status.Conditions[i].Reason = "ContainersNotReady"
		}
	}
	return p
}

func newSite(t *testing.T, labels map[string]string) *site {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "edge-7", UID: "u-1", Labels: map[string]string{nodelifecycle.RoleLabel: ""}}}
	maps.Copy(node.Labels, labels)
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	objects := []runtime.Object{node}
	for _, name := range []string{"web", "broken-meanwhile", "starting"} {
		p := readyPod(name, corev1.ConditionTrue)
		p.Status = corev1.PodStatus{Phase: corev1.PodPending}
		objects = append(objects, p)
	}
	s := &site{t: t, cloud: controllertest.NewClientset(objects...), writes: make(map[string][]string)}
	s.cloud.PrependReactor("patch", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		patch := a.(clienttesting.PatchAction)
		var p corev1.Pod
		if err := json.Unmarshal(patch.GetPatch(), &p); err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady {
				s.writes[patch.GetName()] = append(s.writes[patch.GetName()], string(c.Status)+" "+c.Reason)
			}
		}
		return false, nil, nil
	})
	store := memstore.New()
	var err error
	if s.mgr, err = manager.New(manager.Config{Store: store, Node: "edge-7"}); err != nil {
		t.Fatal(err)
	}
	if s.pods, err = kube.New(kube.Config{Store: store, Manager: s.mgr, Node: "edge-7"}); err != nil {
		t.Fatal(err)
	}
	agent := newGroup(t)
	agent.run(s.mgr.Run)
	agent.run(s.pods.Run)
	t.Cleanup(func() { agent.stop(t) })
	s.report("web", corev1.ConditionTrue)
	s.report("broken-meanwhile", corev1.ConditionTrue)
	return s
}

// report has the node report a pod.
func (s *site) report(name string, ready corev1.ConditionStatus) {
	s.t.Helper()
	if err := s.pods.PodStatus(s.t.Context(), readyPod(name, ready)); err != nil {
		s.t.Fatal(err)
	}
}

// connect gives the node a link to the cloudcores of net.
func (s *site) connect(net *memconn.Network) {
	s.t.Helper()
	link, err := hub.NewClient(hub.ClientConfig{
		Dialer: net.Dialer("edge-7"), Node: "edge-7", Down: s.mgr.Down(), Up: s.mgr.StateOutbox(),
		Backoff: hub.Backoff{Min: time.Second, Max: time.Second},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.up = newGroup(s.t)
	s.up.run(link.Run)
}

func (s *site) cut() {
	s.t.Helper()
	s.up.stop(s.t)
	s.up = nil
}

// ready is what the API server has of a pod's readiness.
func (s *site) ready(name string) string {
	s.t.Helper()
	synctest.Wait()
	p, err := s.cloud.CoreV1().Pods("a").Get(s.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return strings.TrimSpace(string(c.Status) + " " + c.Reason)
		}
	}
	return "none"
}

// written returns what was written of a pod's readiness since the last call.
func (s *site) written(name string) string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.writes[name]
	delete(s.writes, name)
	return strings.Join(all, ",")
}

// events are the reasons of the events about the node.
func (s *site) events() []string {
	s.t.Helper()
	list, err := s.cloud.CoreV1().Events("default").List(s.t.Context(), metav1.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	var reasons []string
	for _, e := range list.Items {
		if e.InvolvedObject.Kind == "Node" && e.InvolvedObject.Name == "edge-7" {
			reasons = append(reasons, e.Reason)
		}
	}
	slices.Sort(reasons)
	return reasons
}

func (s *site) want(when string, pods map[string]string) {
	s.t.Helper()
	for name, want := range pods {
		if got := s.ready(name); got != want {
			s.t.Errorf("%s: pod %s is Ready=%s, want %s", when, name, got, want)
		}
	}
}

// connected returns a site whose node gets a link to cloud, by net.
func connected(t *testing.T, labels map[string]string) (s *site, net *memconn.Network, cloud *group) {
	t.Helper()
	s, net = newSite(t, labels), memconn.New(memconn.Config{})
	cloud = cloudcore(t, s.cloud, net)
	s.connect(net)
	return s, net, cloud
}

const gone = "False " + edge.ReasonNodeDisconnected

// TestDisconnected: the pods of a node that is cut off are not ready after a minute. When the
// node is back, each pod has the readiness that the node reports, by one write.
func TestDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, net, cloud := connected(t, nil)
		defer cloud.stop(t)
		time.Sleep(2 * time.Minute)
		before := map[string]string{"web": "True", "broken-meanwhile": "True", "starting": "none"}
		s.want("connected", before)
		for range 2 { // and again
			s.written("web")
			s.written("broken-meanwhile")
			s.cut()
			time.Sleep(59 * time.Second)
			s.want("after 59s", before)
			time.Sleep(3 * time.Second)
			away := map[string]string{"web": gone, "broken-meanwhile": gone, "starting": "none"}
			s.want("after 62s", away)
			s.report("broken-meanwhile", corev1.ConditionFalse)
			if status, err := s.pods.LastPodStatus(t.Context(), readyPod("web", "")); err != nil || status.Conditions[0].Status != corev1.ConditionTrue {
				t.Errorf("on the node: %v, %v", status, err)
			}
			time.Sleep(3 * time.Minute)
			s.want("after minutes", away)
			s.connect(net)
			time.Sleep(3 * time.Second)
			s.want("back", map[string]string{"web": "True", "broken-meanwhile": "False ContainersNotReady", "starting": "none"})
			time.Sleep(2 * time.Minute)
			if got := s.written("web"); got != gone+",True " {
				t.Errorf("web was written %q", got)
			}
			if got := s.written("broken-meanwhile"); got != gone+",False ContainersNotReady" {
				t.Errorf("broken-meanwhile was written %q", got)
			}
			s.report("broken-meanwhile", corev1.ConditionTrue)
			time.Sleep(time.Second)
			s.want("repaired", before)
		}
		want := []string{"NodeDisconnected", "NodeDisconnected", "NodeReconnected", "NodeReconnected"}
		if got := s.events(); !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
	})
}

// TestDisconnectedPolicies: a node's label says after how long.
func TestDisconnectedPolicies(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": time.Minute, "3m": 3 * time.Minute, "20s": 20 * time.Second, nodelifecycle.NotReadyNever: 0, "soon": time.Minute, "-5s": time.Minute,
	} {
		t.Run(text, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _, cloud := connected(t, map[string]string{nodelifecycle.NotReadyAfterLabel: text})
				defer cloud.stop(t)
				time.Sleep(2 * time.Minute)
				s.cut()
				if want == 0 {
					time.Sleep(5 * time.Minute)
					s.want("never", map[string]string{"web": "True"})
					return
				}
				time.Sleep(want - time.Second)
				s.want("before", map[string]string{"web": "True"})
				time.Sleep(3 * time.Second)
				s.want("after", map[string]string{"web": gone})
			})
		})
	}
}

// TestDisconnectedFlaps: a node that is back before the minute is over changes no pod.
func TestDisconnectedFlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, net, cloud := connected(t, nil)
		defer cloud.stop(t)
		time.Sleep(2 * time.Minute)
		s.written("web")
		for range 5 {
			s.cut()
			time.Sleep(59 * time.Second)
			s.connect(net)
			time.Sleep(2 * time.Second)
		}
		if got := s.written("web"); got != "" {
			t.Errorf("web was written %q", got)
		}
		s.want("at the end", map[string]string{"web": "True"})
		s.cut()
	})
}

// TestDisconnectedRestart: cloudcore is away for three minutes. Nodes have a minute to connect
// again; only those that do not are marked.
func TestDisconnectedRestart(t *testing.T) {
	for _, back := range []bool{true, false} {
		t.Run(fmt.Sprintf("back=%t", back), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _, cloud := connected(t, nil)
				time.Sleep(2 * time.Minute)
				s.written("web")
				s.cut()
				time.Sleep(30 * time.Second)
				cloud.stop(t)
				time.Sleep(3 * time.Minute)
				s.want("no cloudcore runs", map[string]string{"web": "True"})
				net := memconn.New(memconn.Config{})
				cloud = cloudcore(t, s.cloud, net)
				defer cloud.stop(t)
				time.Sleep(58 * time.Second)
				s.want("within the grace", map[string]string{"web": "True"})
				if back {
					s.connect(net)
					time.Sleep(2 * time.Minute)
					if got := s.written("web"); got != "" {
						t.Errorf("web was written %q", got)
					}
					s.cut()
					return
				}
				time.Sleep(4 * time.Second)
				s.want("after the grace", map[string]string{"web": gone})
			})
		})
	}
}

// TestDisconnectedLongPolicy: the time runs on while cloudcore is restarted.
func TestDisconnectedLongPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, cloud := connected(t, map[string]string{nodelifecycle.NotReadyAfterLabel: "10m"})
		time.Sleep(2 * time.Minute)
		cloud.stop(t) // the node has a link then; it loses it and cloudcore at once
		s.cut()
		time.Sleep(5 * time.Minute)
		cloud = cloudcore(t, s.cloud, memconn.New(memconn.Config{}))
		defer cloud.stop(t)
		time.Sleep(4 * time.Minute)
		s.want("after 9m", map[string]string{"web": "True"})
		time.Sleep(time.Minute + 2*time.Second)
		s.want("after 10m", map[string]string{"web": gone})
	})
}

// TestDisconnectedOther: a node is cut off from one cloudcore and comes back at another one.
// Each pod is written once by each.
func TestDisconnectedOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		first, second := memconn.New(memconn.Config{}), memconn.New(memconn.Config{})
		a := cloudcore(t, s.cloud, first)
		defer a.stop(t)
		time.Sleep(time.Second) // for another name
		b := cloudcore(t, s.cloud, second)
		s.connect(first)
		time.Sleep(2 * time.Minute)
		s.written("web")
		s.cut()
		time.Sleep(2 * time.Minute)
		s.want("away", map[string]string{"web": gone})
		s.connect(second)
		time.Sleep(2 * time.Minute)
		if got := s.written("web"); got != gone+",True " {
			t.Errorf("web was written %q", got)
		}
		// The second cloudcore ends together with the node: the first one takes over.
		s.cut()
		b.stop(t)
		// That one's last renewal of the Lease was at most RenewEvery before.
		time.Sleep(time.Minute - nodelifecycle.RenewEvery - time.Second)
		s.want("before", map[string]string{"web": "True"})
		time.Sleep(nodelifecycle.RenewEvery + 3*time.Second)
		s.want("after a minute", map[string]string{"web": gone})
		if got := s.written("web"); got != gone {
			t.Errorf("web was written %q", got)
		}
	})
}

// TestDisconnectedLateMark: a write of one cloudcore reaches the API server after the node has
// connected to another. The node's readiness is restored without its help.
func TestDisconnectedLateMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, cloud := connected(t, nil)
		defer cloud.stop(t)
		time.Sleep(2 * time.Minute)
		late := `{"status":{"conditions":[{"type":"Ready","status":"False","reason":"NodeDisconnected","message":"m"}]}}`
		if _, err := s.cloud.CoreV1().Pods("a").Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(late), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(nodelifecycle.RenewEvery + time.Second)
		s.want("restored", map[string]string{"web": "True"})
		s.cut()
	})
}

// mark sets a pod to not ready, as another cloudcore or Kubernetes does.
func (s *site) mark(name string, at time.Time) {
	s.t.Helper()
	patch := fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready","status":"False","reason":"NodeDisconnected","lastTransitionTime":%q}]}}`, at.UTC().Format(time.RFC3339))
	if _, err := s.cloud.CoreV1().Pods("a").Patch(s.t.Context(), name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		s.t.Fatal(err)
	}
}

// TestMarkedAfterReturn: a pod is set to not ready right after its node has come back, too late for
// the node to be asked for its status. A mark of the session's time is undone within seconds. One
// that is older, and was only seen late, waits until the node had time to report.
func TestMarkedAfterReturn(t *testing.T) {
	for name, tc := range map[string]struct {
		age, left, after time.Duration
	}{
		"during the session": {age: 0, left: 0, after: 3 * time.Second},
		"before it":          {age: time.Minute, left: nodelifecycle.ReportGrace - 6*time.Second, after: nodelifecycle.ReportGrace - 1*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, net, cloud := connected(t, nil)
				defer cloud.stop(t)
				time.Sleep(2 * time.Minute)
				s.cut()
				time.Sleep(30 * time.Second)
				s.connect(net)
				time.Sleep(2 * time.Second)
				s.want("back", map[string]string{"web": "True"})
				s.written("web")
				s.mark("web", time.Now().Add(-tc.age))
				time.Sleep(tc.left)
				s.want("marked", map[string]string{"web": gone})
				time.Sleep(tc.after - tc.left)
				s.want("restored", map[string]string{"web": "True"})
				time.Sleep(2 * time.Minute)
				if got := s.written("web"); got != gone+",True " {
					t.Errorf("web was written %q", got)
				}
				s.cut()
			})
		})
	}
}

// TestMarkedWhileUnknown: Kubernetes has set a node to Unknown and its pods to not ready, though the
// node has a session. The pods are ready soon after the node is.
func TestMarkedWhileUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, cloud := connected(t, nil)
		defer cloud.stop(t)
		time.Sleep(2 * time.Minute)
		set := func(ready corev1.ConditionStatus, reason string) {
			patch := fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready","status":%q,"reason":%q}]}}`, ready, reason)
			if _, err := s.cloud.CoreV1().Nodes().Patch(t.Context(), "edge-7", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
				t.Fatal(err)
			}
		}
		set(corev1.ConditionFalse, "KubeletNotReady") // cloudcore does not undo what the node says
		s.mark("web", time.Now())
		time.Sleep(30 * time.Second)
		s.want("while the node is not ready", map[string]string{"web": gone})
		set(corev1.ConditionTrue, "KubeletReady")
		time.Sleep(3 * time.Second)
		s.want("restored", map[string]string{"web": "True"})
		s.cut()
	})
}

// TestNeverConnected: the pods of a Node that never had a link are left alone.
func TestNeverConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		p := readyPod("web", corev1.ConditionTrue)
		if _, err := s.cloud.CoreV1().Pods("a").UpdateStatus(context.WithoutCancel(t.Context()), p, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		cloud := cloudcore(t, s.cloud, memconn.New(memconn.Config{}))
		defer cloud.stop(t)
		time.Sleep(5 * time.Minute)
		s.want("later", map[string]string{"web": "True", "starting": "none"})
	})
}
