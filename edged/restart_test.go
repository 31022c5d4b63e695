package edged_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged"
)

// TestRestartContainers restarts containers at the machine: once for each request, in the
// same sandbox, without a back-off, whatever they exit with.
func TestRestartContainers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		agent := b.startAgent(b.config())
		defer func() { b.stop() }()
		second := busybox("serve")
		second.Name = "second"
		p := newPod("web", busybox("serve"), second)
		b.put(p)
		settle(time.Second)
		counts := func() (out [2]int32) {
			b.mu.Lock()
			defer b.mu.Unlock()
			for _, st := range b.status[p.UID].ContainerStatuses {
				if st.State.Running == nil {
					t.Errorf("%s does not run: %+v", st.Name, st.State)
				}
				out[map[string]int{"main": 0, "second": 1}[st.Name]] = st.RestartCount
			}
			return out
		}
		for i := range int32(3) {
			names, err := agent.RestartContainers(t.Context(), "default", "web", "main")
			if err != nil || !slices.Equal(names, []string{"main"}) {
				t.Fatal(names, err)
			}
			settle(time.Second) // no back-off
			if got := counts(); got != [2]int32{i + 1, 0} {
				t.Errorf("after %d restarts: %v", i+1, got)
			}
		}
		settle(time.Minute)
		if names, err := agent.RestartContainers(t.Context(), "default", "web"); err != nil || len(names) != 2 {
			t.Error(names, err)
		}
		settle(time.Minute)
		if got := counts(); got != [2]int32{4, 1} {
			t.Errorf("after a restart of all: %v", got)
		}
		if n := b.calls("RunSandbox"); n != 1 {
			t.Errorf("%d sandboxes", n)
		}
	})
}

// TestRestartExited: a container that exits by itself before it is stopped is not restarted a
// second time.
func TestRestartExited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		agent := b.startAgent(b.config())
		defer func() { b.stop() }()
		p := newPod("web", busybox("serve"))
		b.put(p)
		settle(time.Second)
		for range 3 { // its next starts wait for their back-off
			b.rt.Exit("main", 1)
			settle(time.Minute)
		}
		before := b.container(p.UID)
		if _, err := agent.RestartContainers(t.Context(), "default", "web"); err != nil {
			t.Fatal(err)
		}
		b.rt.Exit("main", 1) // most likely before the agent stops it
		settle(20 * time.Minute)
		if after := b.container(p.UID); after.State.Running == nil || after.RestartCount != before.RestartCount+1 {
			t.Errorf("before: %+v, after: %+v", before, after)
		}
	})
}

// TestRestartRefused says why a container is not restarted.
func TestRestartRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		agent := b.startAgent(b.config())
		defer func() { b.stop() }()
		once := newPod("once", busybox("serve"))
		once.Spec.RestartPolicy = corev1.RestartPolicyNever
		b.put(once)
		ending := newPod("ending", busybox("serve"))
		b.put(ending)
		failing := newPod("failing", busybox("serve"))
		b.put(failing)
		settle(time.Second)
		for name, tt := range map[string]struct {
			pod, container string
			want           string
		}{
			"no pod":          {"none", "", "there is no pod default/none"},
			"never restarted": {"once", "", "restart policy of main is Never"},
			"no container":    {"failing", "sidecar", "no container sidecar"},
		} {
			var containers []string
			if tt.container != "" {
				containers = []string{tt.container}
			}
			_, err := agent.RestartContainers(t.Context(), "default", tt.pod, containers...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v", name, err)
			}
			var none *edged.NoPodError
			if !errors.Is(err, edged.ErrNoRestart) && !errors.As(err, &none) {
				t.Errorf("%s: %v is no error that a caller knows", name, err)
			}
		}
	})
}
