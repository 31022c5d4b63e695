package edge_test

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/hub"
)

func podCondition(kind corev1.PodConditionType, status corev1.ConditionStatus, reason string) corev1.PodCondition {
	return corev1.PodCondition{Type: kind, Status: status, Reason: reason}
}

// TestPodConditions: a node reports its own conditions and, hours old, those of others.
// Only its own are written, and only its own are removed.
func TestPodConditions(t *testing.T) {
	const gate, expired = corev1.PodConditionType("lb.example/attached"), corev1.PodConditionType("edgekit.io/TokenExpired")
	const yes, no = corev1.ConditionTrue, corev1.ConditionFalse
	for name, tt := range map[string]struct {
		phase       corev1.PodPhase // that the node reports
		has, report []corev1.PodCondition
		want        map[corev1.PodConditionType]corev1.ConditionStatus
	}{
		"a foreign one that has changed since": {
			has:    []corev1.PodCondition{podCondition(gate, yes, "")},
			report: []corev1.PodCondition{podCondition(gate, no, ""), podCondition(corev1.PodReady, yes, "")},
			want:   map[corev1.PodConditionType]corev1.ConditionStatus{gate: yes, corev1.PodReady: yes},
		},
		"a foreign one that was removed since": {
			report: []corev1.PodCondition{podCondition(gate, no, ""), podCondition(corev1.PodReady, yes, "")},
			want:   map[corev1.PodConditionType]corev1.ConditionStatus{corev1.PodReady: yes},
		},
		"own ones that have ended": {
			has: []corev1.PodCondition{
				podCondition(expired, yes, ""), podCondition(corev1.PodResizePending, yes, ""), podCondition(corev1.PodResizeInProgress, yes, ""),
				podCondition(corev1.AllContainersRestarting, yes, ""), podCondition(corev1.PodReady, no, ""), podCondition(gate, no, ""),
			},
			report: []corev1.PodCondition{podCondition(corev1.PodReady, yes, "")},
			want:   map[corev1.PodConditionType]corev1.ConditionStatus{corev1.PodReady: yes, gate: no},
		},
		"own ones": {
			report: []corev1.PodCondition{podCondition(expired, yes, ""), podCondition(corev1.PodResizePending, yes, "Infeasible"), podCondition(corev1.PodScheduled, yes, "")},
			want:   map[corev1.PodConditionType]corev1.ConditionStatus{expired: yes, corev1.PodResizePending: yes, corev1.PodScheduled: yes},
		},
		"a disruption that the cloud has called off since": {
			phase:  corev1.PodFailed,
			has:    []corev1.PodCondition{podCondition(corev1.DisruptionTarget, no, "")},
			report: []corev1.PodCondition{podCondition(corev1.DisruptionTarget, yes, "EvictionByEvictionAPI")},
			want:   map[corev1.PodConditionType]corev1.ConditionStatus{corev1.DisruptionTarget: no},
		},
		"a disruption by the node, before the pod has ended": {
			phase:  corev1.PodRunning,
			report: []corev1.PodCondition{podCondition(corev1.DisruptionTarget, yes, corev1.PodReasonTerminationByKubelet)},
			want:   map[corev1.PodConditionType]corev1.ConditionStatus{},
		},
		"a disruption by the node": {
			phase:  corev1.PodFailed,
			report: []corev1.PodCondition{podCondition(corev1.DisruptionTarget, yes, corev1.PodReasonTerminationByKubelet)},
			want:   map[corev1.PodConditionType]corev1.ConditionStatus{corev1.DisruptionTarget: yes},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				have := pod("web", "n")
				have.Status.Conditions = tt.has
				client := controllertest.NewClientset(have)
				c := start(t, client)
				report := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web", UID: have.UID}, Status: corev1.PodStatus{Phase: tt.phase, Conditions: tt.report}}
				key := hub.Key{Resource: "pods/status", Namespace: "a", Name: "web"}
				if err := c.Writers()["pods/status"](t.Context(), "n", hub.Object{Key: key, Body: body(t, report)}); err != nil {
					t.Fatal(err)
				}
				got, err := client.CoreV1().Pods("a").Get(t.Context(), "web", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				conditions := make(map[corev1.PodConditionType]corev1.ConditionStatus)
				for _, cond := range got.Status.Conditions {
					conditions[cond.Type] = cond.Status
				}
				if !maps.Equal(conditions, tt.want) {
					t.Errorf("conditions %v, want %v", conditions, tt.want)
				}
			})
		})
	}
}

// TestTerminalPhaseStays: an older Running arrives after somebody else has set a terminal
// phase.
func TestTerminalPhaseStays(t *testing.T) {
	const ended, runs = corev1.PodFailed, corev1.PodRunning
	for name, tt := range map[string]struct{ has, reported, want corev1.PodPhase }{
		"Running after Failed":    {ended, runs, ended},
		"Pending after Succeeded": {corev1.PodSucceeded, corev1.PodPending, corev1.PodSucceeded},
		"Succeeded after Failed":  {ended, corev1.PodSucceeded, ended},
		"Failed after Failed":     {ended, ended, ended},
		"Failed after Running":    {runs, ended, ended},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				have := pod("web", "n")
				have.Status = corev1.PodStatus{
					Phase: tt.has, Reason: "PodGC", Message: "by somebody",
					Conditions: []corev1.PodCondition{podCondition(corev1.PodReady, corev1.ConditionFalse, "")},
				}
				client := controllertest.NewClientset(have)
				c := start(t, client)
				report := &corev1.Pod{
					ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web", UID: have.UID},
					Status: corev1.PodStatus{
						Phase: tt.reported, Reason: "Own", ContainerStatuses: []corev1.ContainerStatus{{Name: "c", RestartCount: 7}},
						Conditions: []corev1.PodCondition{podCondition(corev1.PodReady, corev1.ConditionTrue, "")},
					},
				}
				key := hub.Key{Resource: "pods/status", Namespace: "a", Name: "web"}
				if err := c.Writers()["pods/status"](t.Context(), "n", hub.Object{Key: key, Body: body(t, report)}); err != nil {
					t.Fatal(err)
				}
				got, err := client.CoreV1().Pods("a").Get(t.Context(), "web", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				kept := tt.want != tt.reported
				s := got.Status
				if s.Phase != tt.want {
					t.Errorf("phase %s, want %s", s.Phase, tt.want)
				}
				if (s.Reason == "PodGC" && s.Message == "by somebody") != kept {
					t.Errorf("reason %q, message %q", s.Reason, s.Message)
				}
				if (s.Conditions[0].Status == corev1.ConditionFalse) != kept {
					t.Errorf("ready is %s", s.Conditions[0].Status)
				}
				if len(s.ContainerStatuses) != 1 || s.ContainerStatuses[0].RestartCount != 7 {
					t.Errorf("container statuses %+v are not those of the node", s.ContainerStatuses)
				}
			})
		})
	}
}

// TestStatusOfReplacedPod: a report is about a pod that the watch has not seen yet, since
// it still has the earlier pod of that name.
func TestStatusOfReplacedPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := pod("web", "n")
		client := controllertest.NewClientset(old)
		c := start(t, client)
		fresh := pod("web", "n")
		fresh.UID = "fresh"
		client.PrependReactor("get", "pods", answer(fresh))
		var patched []byte
		client.PrependReactor("patch", "pods", capture(&patched))
		report := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web", UID: "fresh"}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
		key := hub.Key{Resource: "pods/status", Namespace: "a", Name: "web"}
		if err := c.Writers()["pods/status"](t.Context(), "n", hub.Object{Key: key, Body: body(t, report)}); err != nil {
			t.Fatal(err)
		}
		if !json.Valid(patched) {
			t.Error("the status of the new pod was dropped")
		}
	})
}

// TestNodeConditions: a node reports conditions that are not its own. Those of a network
// plugin and of a problem detector stay as they are.
func TestNodeConditions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cond := func(kind corev1.NodeConditionType, status corev1.ConditionStatus) corev1.NodeCondition {
			return corev1.NodeCondition{Type: kind, Status: status, LastTransitionTime: metav1.NewTime(time.Now())}
		}
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{nodelifecycle.RoleLabel: ""}}}
		node.Status.Conditions = []corev1.NodeCondition{cond(corev1.NodeNetworkUnavailable, corev1.ConditionFalse), cond("KernelDeadlock", corev1.ConditionTrue)}
		client := controllertest.NewClientset(node)
		c := start(t, client)
		report := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
		report.Status.Conditions = []corev1.NodeCondition{
			cond(corev1.NodeReady, corev1.ConditionTrue), cond(corev1.NodeNetworkUnavailable, corev1.ConditionTrue),
			cond("KernelDeadlock", corev1.ConditionFalse), cond("Removed", corev1.ConditionTrue),
		}
		write := func(report *corev1.Node) error {
			return c.Writers()["nodes"](t.Context(), "n", hub.Object{Key: hub.Key{Resource: "nodes", Name: "n"}, Body: body(t, report)})
		}
		if err := write(report); err != nil {
			t.Fatal(err)
		}
		got, err := client.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, c := range got.Status.Conditions {
			texts = append(texts, string(c.Type)+" "+string(c.Status))
		}
		slices.Sort(texts)
		if want := []string{"KernelDeadlock True", "NetworkUnavailable False", "Ready True"}; !slices.Equal(texts, want) {
			t.Errorf("conditions %q, want %q", texts, want)
		}
		report.Status.Conditions = []corev1.NodeCondition{cond(nodelifecycle.ConditionConnected, corev1.ConditionTrue)}
		if err := write(report); !errors.Is(err, &hub.Error{Code: hub.CodeForbidden}) {
			t.Errorf("a node that says it is connected: %v", err)
		}
	})
}

// answer has the client give obj.
func answer(obj runtime.Object) clienttesting.ReactionFunc {
	return func(clienttesting.Action) (bool, runtime.Object, error) { return true, obj, nil }
}

// capture keeps the patch that is sent.
func capture(patch *[]byte) clienttesting.ReactionFunc {
	return func(a clienttesting.Action) (bool, runtime.Object, error) {
		if p, ok := a.(clienttesting.PatchAction); ok {
			*patch = p.GetPatch()
		}
		return true, &corev1.Pod{}, nil
	}
}
