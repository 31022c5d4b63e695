package table

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var now = time.Unix(1_700_000_000, 0)

func ago(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }

func waits(reason string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
}

func died(code, signal int32, reason string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Signal: signal, Reason: reason, FinishedAt: ago(time.Minute)}}
}

func runs() corev1.ContainerState {
	return corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
}

// TestPodState checks the one word that kubectl prints for a pod's status.
func TestPodState(t *testing.T) {
	yes, always := true, corev1.ContainerRestartPolicyAlways
	inits := func(p *corev1.Pod, states ...corev1.ContainerStatus) {
		for i, s := range states {
			s.Name = fmt.Sprint("i", i)
			p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: s.Name})
			p.Status.InitContainerStatuses = append(p.Status.InitContainerStatuses, s)
		}
	}
	contains := func(p *corev1.Pod, states ...corev1.ContainerStatus) { p.Status.ContainerStatuses = states }
	for want, edit := range map[string]func(*corev1.Pod){
		"Pending":           func(*corev1.Pod) {},
		"Evicted":           func(p *corev1.Pod) { p.Status.Phase, p.Status.Reason = corev1.PodFailed, "Evicted" },
		"ContainerCreating": func(p *corev1.Pod) { contains(p, corev1.ContainerStatus{State: waits("ContainerCreating")}) },
		"CrashLoopBackOff":  func(p *corev1.Pod) { contains(p, corev1.ContainerStatus{State: waits("CrashLoopBackOff")}) },
		"Error":             func(p *corev1.Pod) { contains(p, corev1.ContainerStatus{State: died(1, 0, "Error")}) },
		"Signal:9":          func(p *corev1.Pod) { contains(p, corev1.ContainerStatus{State: died(137, 9, "")}) },
		"ExitCode:3":        func(p *corev1.Pod) { contains(p, corev1.ContainerStatus{State: died(3, 0, "")}) },
		"NotReady": func(p *corev1.Pod) {
			contains(p, corev1.ContainerStatus{State: died(0, 0, "Completed")}, corev1.ContainerStatus{State: runs(), Ready: true})
		},
		"Running": func(p *corev1.Pod) {
			contains(p, corev1.ContainerStatus{State: died(0, 0, "Completed")}, corev1.ContainerStatus{State: runs(), Ready: true})
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		},
		"Init:1/2": func(p *corev1.Pod) {
			inits(p, corev1.ContainerStatus{State: died(0, 0, "Completed")}, corev1.ContainerStatus{State: runs()})
		},
		"Init:0/1": func(p *corev1.Pod) { inits(p, corev1.ContainerStatus{State: waits("PodInitializing")}) },
		"Init:ImagePullBackOff": func(p *corev1.Pod) {
			inits(p, corev1.ContainerStatus{State: waits("ImagePullBackOff")})
		},
		"Init:ExitCode:2": func(p *corev1.Pod) { inits(p, corev1.ContainerStatus{State: died(2, 0, "")}) },
		"PodInitializing": func(p *corev1.Pod) { // the sidecar runs already
			inits(p, corev1.ContainerStatus{State: runs(), Started: &yes})
			p.Spec.InitContainers[0].RestartPolicy = &always
			contains(p, corev1.ContainerStatus{State: waits("PodInitializing")})
		},
		"Terminating": func(p *corev1.Pod) {
			at := ago(0)
			p.Status.Phase, p.DeletionTimestamp = corev1.PodRunning, &at
		},
		"Unknown": func(p *corev1.Pod) {
			at := ago(0)
			p.Status.Reason, p.DeletionTimestamp = "NodeLost", &at
		},
	} {
		p := &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodPending}}
		edit(p)
		if got := podState(p); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestCells has a row of each kind, which must have as many cells as the kind
// has columns.
func TestCells(t *testing.T) {
	port, name := int32(443), "https"
	about := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Namespace: "plant", CreationTimestamp: ago(time.Hour)}
	}
	for _, c := range []struct {
		group, kind string
		obj         metav1.Object
		want        string
	}{
		{"", "Pod", &corev1.Pod{ObjectMeta: about("web"), Spec: corev1.PodSpec{
			NodeName: "gate-7", Containers: make([]corev1.Container, 2), ReadinessGates: []corev1.PodReadinessGate{{ConditionType: "a"}, {ConditionType: "b"}},
		}, Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.0.0.3", Conditions: []corev1.PodCondition{{Type: "a", Status: corev1.ConditionTrue}},
			ContainerStatuses: []corev1.ContainerStatus{{Ready: true, State: runs(), RestartCount: 2, LastTerminationState: died(1, 0, "Error")}, {State: runs()}},
		}}, "[web 1/2 Running 2 (60s ago) 60m 10.0.0.3 gate-7 <none> 1/2]"},
		{"", "Namespace", &corev1.Namespace{ObjectMeta: about("plant"), Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive}}, "[plant Active 60m]"},
		{"", "Node", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gate-7", Labels: map[string]string{"node-role.kubernetes.io/edge": "", "kubernetes.io/role": "gateway"}},
			Spec: corev1.NodeSpec{Unschedulable: true}, Status: corev1.NodeStatus{
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}, Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.2"}},
				NodeInfo: corev1.NodeSystemInfo{KubeletVersion: "v1.37.2-edgekit"}}},
			"[gate-7 Ready,SchedulingDisabled edge,gateway <unknown> v1.37.2-edgekit 10.0.0.2 <none> <unknown> <unknown> <unknown>]"},
		{"", "Service", &corev1.Service{ObjectMeta: about("web"), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, ClusterIP: "10.1.0.9", Selector: map[string]string{"app": "web"},
			Ports: []corev1.ServicePort{{Port: 80, NodePort: 30080, Protocol: "TCP"}, {Port: 53, Protocol: "UDP"}}}},
			"[web LoadBalancer 10.1.0.9 <pending> 80:30080/TCP,53/UDP 60m app=web]"},
		{"", "ConfigMap", &corev1.ConfigMap{ObjectMeta: about("settings"), Data: map[string]string{"a": ""}, BinaryData: map[string][]byte{"b": nil}}, "[settings 2 60m]"},
		{"", "Secret", &corev1.Secret{ObjectMeta: about("key"), Type: corev1.SecretTypeOpaque}, "[key Opaque 0 60m]"},
		{"", "Event", &corev1.Event{ObjectMeta: about("e"), Type: "Warning", Reason: "BackOff", Message: " waits\n", EventTime: metav1.NewMicroTime(ago(time.Minute).Time),
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "web"}, ReportingController: "edged"},
			"[60s Warning BackOff pod/web  edged waits 60s 1 e]"},
		{"discovery.k8s.io", "EndpointSlice", &discoveryv1.EndpointSlice{ObjectMeta: about("web-1"), AddressType: "IPv4",
			Ports:     []discoveryv1.EndpointPort{{Port: &port}, {Name: &name}, {}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}}, {Addresses: []string{"10.0.0.4"}}}},
			"[web-1 IPv4 443,https,* 10.0.0.1,10.0.0.2,10.0.0.3 + 1 more... 60m]"},
		{"rbac.authorization.k8s.io", "Role", &rbacv1.Role{ObjectMeta: about("read")}, "[read 2023-11-14T21:13:20Z]"},
		{"rbac.authorization.k8s.io", "RoleBinding", &rbacv1.RoleBinding{ObjectMeta: about("read"), RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "read"},
			Subjects: []rbacv1.Subject{{Kind: "User", Name: "ann"}, {Kind: "Group", Name: "staff"}, {Kind: "ServiceAccount", Namespace: "plant", Name: "app"}}},
			"[read Role/read 60m ann staff plant/app]"},
		{"example.com", "Thing", &corev1.ServiceAccount{ObjectMeta: about("app")}, "[app 60m]"},
	} {
		cells := Cells(c.obj, now)
		if got := fmt.Sprint(cells); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.kind, got, c.want)
		}
		if columns := New(c.group, c.kind, true).ColumnDefinitions; len(columns) != len(cells) {
			t.Errorf("%s: %d cells under %d columns", c.kind, len(cells), len(columns))
		}
	}
	if columns := New("", "Pod", false).ColumnDefinitions; columns != nil {
		t.Errorf("columns that nobody asked for: %v", columns)
	}
}
