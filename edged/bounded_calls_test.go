package edged_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/runtimetest"
)

// The bound of calls that an agent makes of its runtime in a minute, whatever fails:
// some for the node, and some for each pod.
const (
	callsPerMinute       = 150
	callsPerPodAndMinute = 45
)

// TestBoundedCalls has a node with up to a hundred pods on a runtime where something does
// not work: the calls stay within the bound. Once all works again the pods run.
func TestBoundedCalls(t *testing.T) {
	const few, many, minutes = 20, 100, 4
	execFails := fails("live")
	fails := func(verbs ...string) func(call string) error {
		return func(call string) error {
			for _, v := range verbs {
				if v == "" || strings.HasPrefix(call, v) {
					return errors.New("it does not work")
				}
			}
			return nil
		}
	}
	hangs := func(string) error { // until the time that a call may take is over
		pass(2 * time.Minute)
		return errors.New("deadline exceeded")
	}
	for name, tt := range map[string]struct {
		change, read func(call string) error
		behave       runtimetest.Program
		probe        bool
		started      bool // the pods run before the trouble begins
		end          bool // the pods are being deleted
		pods         int  // 0 means few
	}{
		"nothing fails":               {started: true, pods: many},
		"the runtime is away":         {change: fails(""), read: fails("")},
		"the runtime goes away":       {change: fails(""), read: fails(""), started: true, pods: many},
		"the runtime hangs":           {change: hangs, read: hangs, started: true, pods: many},
		"the runtime hangs at once":   {change: hangs, read: hangs},
		"the runtime goes as pods do": {change: fails(""), read: fails(""), started: true, end: true},
		"the runtime only reads":      {change: fails("")},
		"the network does not work":   {change: fails("RunSandbox")},
		"no network, and many pods":   {change: fails("RunSandbox"), pods: many},
		"no network goes":             {change: fails("StopSandbox"), started: true, end: true},
		"no container is made":        {change: fails("CreateContainer")},
		"no container starts":         {change: fails("StartContainer")},
		"no container stops":          {change: fails("StopContainer"), started: true, end: true},
		"nothing is removed":          {change: fails("Remove"), behave: runtimetest.Program{RunFor: time.Second, ExitCode: 1}},
		"pods crash":                  {behave: runtimetest.Program{RunFor: time.Second, ExitCode: 1}},
		"probes fail":                 {probe: true},
		"status is not to be had":     {read: fails("ContainerStatus", "SandboxStatus")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, pods := newBench(t), max(tt.pods, few)
				var calls atomic.Int64
				verbs := make(map[string]int)
				var mu sync.Mutex
				var trouble atomic.Bool
				watch := func(fail func(string) error) func(string) error {
					return func(call string) error {
						calls.Add(1)
						mu.Lock()
						verb, _, _ := strings.Cut(call, " ")
						verbs[verb]++
						mu.Unlock()
						if trouble.Load() && fail != nil {
							return fail(call)
						}
						return nil
					}
				}
				b.rt.FailWith(watch(tt.change))
				b.rt.FailReadsWith(watch(tt.read))
				b.rt.Behave("main", tt.behave)
				b.start()
				defer func() { b.stop() }()
				settle(time.Second)
				trouble.Store(!tt.started)
				var all []*corev1.Pod
				for i := range pods {
					p := newPod(fmt.Sprintf("web-%d", i), busybox("serve"))
					if tt.probe {
						p.Spec.Containers[0].LivenessProbe = execProbe("live")
						p.Spec.Containers[0].LivenessProbe.PeriodSeconds = 10
					}
					all = append(all, p)
					b.put(p)
				}
				if tt.probe {
					b.rt.ExecWith(execFails)
				}
				settle(10 * time.Second)
				trouble.Store(true)
				if tt.end {
					for _, p := range all {
						b.del(p, 1)
					}
				}
				settle(20 * time.Second) // what is done at once is not counted
				most := int64(0)
				for range minutes {
					before := calls.Load()
					settle(time.Minute)
					most = max(most, calls.Load()-before)
				}
				t.Logf("at most %d calls in a minute; in all %v", most, verbs)
				if most > int64(callsPerMinute+pods*callsPerPodAndMinute) {
					t.Errorf("%d calls in a minute, the bound is %d", most, callsPerMinute+pods*callsPerPodAndMinute)
				}
				trouble.Store(false)
				b.rt.ExecWith(nil)
				b.rt.Behave("main", runtimetest.Program{})
				settle(10 * time.Minute) // the longest pause is that after crashes, 5 minutes
				b.mu.Lock()
				defer b.mu.Unlock()
				for _, p := range all {
					if tt.end != b.gone[p.UID] || !tt.end && !b.isReady(p.UID) {
						t.Fatalf("%s: gone %t, %s", p.Name, b.gone[p.UID], asJSON(t, b.status[p.UID]))
					}
				}
			})
		})
	}
}
