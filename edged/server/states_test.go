package server_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/server"
)

// reply is the answer to a request.
type reply struct {
	status int
	text   string
}

func (r reply) String() string { return fmt.Sprintf("%d %q", r.status, r.text) }

// inState is a node whose pod and runtime are in a state of the table below.
type inState struct {
	*node
	containers []runtime.Container
	sandboxes  []runtime.Sandbox
	away       bool // the pod is not on the node
}

func (s inState) Pod(namespace, name string) *corev1.Pod {
	if s.away {
		return nil
	}
	return s.node.Pod(namespace, name)
}

func (s inState) ListContainers(context.Context, string) ([]runtime.Container, error) {
	return s.containers, nil
}

func (s inState) ListSandboxes(context.Context, string) ([]runtime.Sandbox, error) {
	return s.sandboxes, nil
}

// TestEveryStateOfAPod asks for logs, exec, attach and port-forward in each state of a
// pod. Status and text are those of the kubelet of Kubernetes 1.37, read in its
// pkg/kubelet/kubelet_pods.go and server/server.go, since kubectl shows them. That
// kubelet has no special answer for a pod that is being deleted: sessions work while the
// containers run, and logs for as long as the pod is on the node.
func TestEveryStateOfAPod(t *testing.T) {
	const said = "hello\nworld\n" // by fake://app-1
	var (
		waiting = func(reason string) corev1.ContainerState {
			return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
		}
		ended = func(id string) corev1.ContainerState {
			return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ContainerID: id}}
		}
		runs    = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
		never   = corev1.ContainerState{}
		running = []runtime.Container{{ID: "app-1", PodUID: "uid-1", Name: "app", Attempt: 1, State: runtime.ContainerRunning}}
		exited  = []runtime.Container{{ID: "app-1", PodUID: "uid-1", Name: "app", Attempt: 1, State: runtime.ContainerExited}}
		box     = []runtime.Sandbox{{ID: "box", Ready: true}}

		noExec   = reply{500, `container not found ("app")`}
		noAttach = reply{500, "container app not found in pod web_default"}
		noPorts  = reply{500, `pod not found ("web_default")`}
		session  = reply{status: 101}
		noLast   = reply{400, `previous terminated container "app" in pod "web" not found`}
		gone     = reply{404, "pod does not exist"}
		logless  = func(why string) reply { return reply{400, fmt.Sprintf(`container "app" in pod "web" is %s`, why)} }
	)
	for _, x := range []struct {
		name       string
		now, last  corev1.ContainerState
		deleted    bool // the pod has a deletion timestamp
		unreported bool // the pod's status does not name the container
		away       bool // the pod is not on the node
		containers []runtime.Container
		sandboxes  []runtime.Sandbox

		logs, previous, exec, attach, ports reply
	}{
		{name: "not seen yet", unreported: true,
			logs: logless("not available"), previous: logless("not available"), exec: noExec, attach: noAttach, ports: noPorts},
		{name: "no state", now: never, sandboxes: box,
			logs: logless("waiting to start - no logs yet"), previous: noLast, exec: noExec, attach: noAttach, ports: session},
		{name: "being made", now: waiting("ContainerCreating"),
			logs: logless("waiting to start: ContainerCreating"), previous: noLast, exec: noExec, attach: noAttach, ports: noPorts},
		{name: "init containers run", now: waiting("PodInitializing"), sandboxes: box,
			logs: logless("waiting to start: PodInitializing"), previous: noLast, exec: noExec, attach: noAttach, ports: session},
		{name: "no image", now: waiting("ErrImagePull"), sandboxes: box,
			logs: logless("waiting to start: image can't be pulled"), previous: noLast, exec: noExec, attach: noAttach, ports: session},
		{name: "still no image", now: waiting("ImagePullBackOff"), sandboxes: box,
			logs: logless("waiting to start: trying and failing to pull image"), previous: noLast, exec: noExec, attach: noAttach, ports: session},
		{name: "runs", now: runs, containers: running, sandboxes: box,
			logs: reply{200, said}, previous: noLast, exec: session, attach: session, ports: session},
		{name: "runs again", now: runs, last: ended("fake://app-0"), containers: running, sandboxes: box,
			logs: reply{200, said}, previous: reply{200, "before\n"}, exec: session, attach: session, ports: session},
		{name: "runs again, its first container removed", now: runs, last: ended("fake://app-9"), containers: running, sandboxes: box,
			logs: reply{200, said}, previous: reply{200, "before\n"}, exec: session, attach: session, ports: session},
		{name: "crashes", now: waiting("CrashLoopBackOff"), last: ended("fake://app-1"), containers: exited, sandboxes: box,
			logs: reply{200, said}, previous: reply{200, said}, exec: noExec, attach: noAttach, ports: session},
		{name: "crashed before it had an id", now: waiting("CrashLoopBackOff"), last: ended(""), sandboxes: box,
			logs: logless("terminated"), previous: noLast, exec: noExec, attach: noAttach, ports: session},
		{name: "ended", now: ended("fake://app-1"), containers: exited,
			logs: reply{200, said}, previous: noLast, exec: noExec, attach: noAttach, ports: noPorts},
		{name: "could not be made", now: ended(""),
			logs: logless("terminated"), previous: noLast, exec: noExec, attach: noAttach, ports: noPorts},
		{name: "could not be made again", now: ended(""), last: ended("fake://app-1"), containers: exited,
			logs: reply{200, said}, previous: reply{200, said}, exec: noExec, attach: noAttach, ports: noPorts},
		{name: "is being deleted and still runs", now: runs, deleted: true, containers: running, sandboxes: box,
			logs: reply{200, said}, previous: noLast, exec: session, attach: session, ports: session},
		{name: "is being deleted and has stopped", now: ended("fake://app-1"), deleted: true, containers: exited,
			logs: reply{200, said}, previous: noLast, exec: noExec, attach: noAttach, ports: noPorts},
		{name: "is deleted", away: true,
			logs: reply{404, `pod "web" does not exist`}, previous: reply{404, `pod "web" does not exist`}, exec: gone, attach: gone, ports: gone},
	} {
		t.Run(x.name, func(t *testing.T) {
			n := newNode(t)
			n.pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: x.now, LastTerminationState: x.last, RestartCount: 1}}
			if x.now.Running != nil {
				n.pod.Status.ContainerStatuses[0].ContainerID = "fake://app-1"
			}
			if x.now.Terminated != nil {
				n.pod.Status.ContainerStatuses[0].ContainerID = x.now.Terminated.ContainerID
			}
			if x.last.Terminated != nil && x.now.Running == nil {
				n.pod.Status.ContainerStatuses[0].ContainerID = x.last.Terminated.ContainerID
			}
			if x.unreported {
				n.pod.Status.ContainerStatuses = nil
			}
			if x.deleted {
				n.pod.DeletionTimestamp = &metav1.Time{}
			}
			in := inState{n, x.containers, x.sandboxes, x.away}
			web := serveConfig(t, server.Config{Node: "gate-7", Pods: in, Runtime: in}, nil)
			for _, q := range []struct {
				method, path string
				want         reply
			}{
				{"GET", "/containerLogs/default/web/app", x.logs},
				{"GET", "/containerLogs/default/web/app?previous=true", x.previous},
				{"POST", "/exec/default/web/app?command=ls&output=1", x.exec},
				{"POST", "/attach/default/web/app?output=1", x.attach},
				{"POST", "/portForward/default/web", x.ports},
			} {
				if got := ask(t, web.URL, q.method, q.path); got != q.want {
					t.Errorf("%s: %v, want %v", q.path, got, q.want)
				}
			}
		})
	}
}

// ask sends a request, for a session if it is a POST.
func ask(t *testing.T, base, method, path string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "SPDY/3.1")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return reply{status: resp.StatusCode}
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return reply{resp.StatusCode, string(text)}
}
