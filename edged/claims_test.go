package edged_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// deviceClaims is an edged.ResourceClaims that remembers in memory.
type deviceClaims struct {
	mu                        sync.Mutex
	pods                      map[string]bool
	lost                      bool // CDIDevices knows nothing until the next Prepare
	load, prepares, unprepare error
	health                    corev1.ResourceHealthStatus
	calls                     []string
}

func newDeviceClaims() *deviceClaims { return &deviceClaims{pods: make(map[string]bool)} }

func (d *deviceClaims) Load(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.load
	d.load = nil
	return err
}

func (d *deviceClaims) Prepare(_ context.Context, pod *corev1.Pod) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, "prepare "+pod.Name)
	if d.prepares != nil {
		return d.prepares
	}
	d.pods[string(pod.UID)], d.lost = true, false
	return nil
}

func (d *deviceClaims) CDIDevices(_ *corev1.Pod, c *corev1.Container) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lost {
		return nil, errors.New("it is not prepared")
	}
	var out []string
	for _, claim := range c.Resources.Claims {
		out = append(out, "example.com/gpu="+claim.Name)
	}
	return out, nil
}

func (d *deviceClaims) Uses(uid string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pods[uid]
}

func (d *deviceClaims) Unprepare(_ context.Context, uid string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, "unprepare "+uid)
	if d.unprepare == nil {
		delete(d.pods, uid)
	}
	return d.unprepare
}

func (d *deviceClaims) Pods() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.pods))
}

func (d *deviceClaims) ResourceStatuses(_ *corev1.Pod, c *corev1.Container) []corev1.ResourceStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.pods) == 0 || len(c.Resources.Claims) == 0 {
		return nil
	}
	return []corev1.ResourceStatus{{Name: "claim:device", Resources: []corev1.ResourceHealth{{ResourceID: "d0", Health: d.health}}}}
}

// set changes what the claims do under their mutex.
func (d *deviceClaims) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

func (d *deviceClaims) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	calls := d.calls
	d.calls = nil
	return calls
}

func claimBench(t *testing.T) (*bench, *deviceClaims) {
	b, d := newBench(t), newDeviceClaims()
	b.edit = func(cfg *edged.Config) { cfg.ResourceClaims = d }
	return b, d
}

func podWithDevices(name string) *corev1.Pod {
	p := newPod(name, busybox("serve"))
	p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "device", ResourceClaimName: new("gpu")}}
	p.Spec.Containers[0].Resources.Claims = []corev1.ResourceClaim{{Name: "device"}}
	return p
}

// TestResourceClaims: a pod waits for its claims, with the reason, while others start; its
// container gets the devices; what fails is tried for ever; the pod is gone only after its
// claims are given back.
func TestResourceClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := claimBench(t)
		d.load, d.prepares = errors.New("no disk"), errors.New("DRA driver d is not registered")
		b.start()
		defer func() { b.stop() }()
		p, other := podWithDevices("web"), newPod("other", busybox("serve"))
		b.put(p)
		b.put(other)
		settle(time.Hour)
		waiting := b.container(p.UID).State.Waiting
		if waiting == nil || waiting.Reason != "FailedPrepareDynamicResources" || !strings.Contains(waiting.Message, "is not registered") || b.phase(p.UID) != corev1.PodPending {
			t.Errorf("waits for %+v", waiting)
		}
		if n := len(d.take()); n < 100 || n > 150 {
			t.Errorf("tried %d times in an hour", n)
		}
		b.mu.Lock()
		ready := b.isReady(other.UID)
		event := slices.Contains(b.events, "FailedPrepareDynamicResources: Failed to prepare dynamic resources: DRA driver d is not registered")
		b.mu.Unlock()
		if !ready || !event {
			t.Errorf("the other pod is ready: %t; event: %t", ready, event)
		}
		if slices.Contains(b.rt.Calls(), "RunSandbox web") {
			t.Error("the pod has a sandbox before its claims are prepared")
		}
		d.set(func() { d.prepares = nil })
		settle(time.Minute)
		configs := b.rt.Configs()
		if got := configs[len(configs)-1].CDIDevices; !slices.Equal(got, []string{"example.com/gpu=device"}) {
			t.Errorf("CDI devices %q", got)
		}
		d.set(func() { d.unprepare = errors.New("the device is busy") })
		b.del(p, 1)
		settle(time.Hour)
		if calls := d.take(); b.gone[p.UID] || len(calls) < 100 || len(calls) > 150 {
			t.Errorf("gone %t, tried %d times", b.gone[p.UID], len(calls))
		}
		if b.phase(p.UID) != corev1.PodRunning || b.happened("FailedKillPod") == 0 {
			t.Errorf("phase %s while the claims are prepared", b.phase(p.UID))
		}
		d.set(func() { d.unprepare = nil })
		settle(time.Minute)
		if !b.gone[p.UID] || len(d.Pods()) != 0 {
			t.Errorf("gone %t, claims of %q", b.gone[p.UID], d.Pods())
		}
	})
}

// TestClaimsOfFinishedPod gives the claims of a pod back before it is reported Succeeded.
func TestClaimsOfFinishedPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := claimBench(t)
		b.rt.Behave("main", runtimetest.Program{RunFor: time.Second})
		d.unprepare = errors.New("away")
		b.start()
		defer func() { b.stop() }()
		p := podWithDevices("job")
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		b.put(p)
		settle(time.Minute)
		if b.phase(p.UID) == corev1.PodSucceeded || b.container(p.UID).State.Terminated == nil {
			t.Errorf("phase %s, %+v", b.phase(p.UID), b.container(p.UID).State)
		}
		d.set(func() { d.unprepare = nil })
		settle(time.Minute)
		if b.phase(p.UID) != corev1.PodSucceeded || len(d.Pods()) != 0 {
			t.Errorf("phase %s, claims of %q", b.phase(p.UID), d.Pods())
		}
	})
}

// TestClaimsOfPodThatVanished gives back the claims of a pod that is no more, of which
// nothing else is on the node, once the agent runs; those of a pod that runs stay.
func TestClaimsOfPodThatVanished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := claimBench(t)
		b.start()
		p := podWithDevices("web")
		b.put(p)
		settle(time.Second)
		b.stop()
		d.set(func() { d.pods["vanished-uid"] = true })
		b.start()
		defer func() { b.stop() }()
		settle(time.Minute)
		if got := d.Pods(); !slices.Equal(got, []string{string(p.UID)}) {
			t.Errorf("claims of %q", got)
		}
		if calls := d.take(); !slices.Equal(calls, []string{"prepare web", "unprepare vanished-uid"}) {
			t.Errorf("%q", calls)
		}
		// The store is lost, and the container restarts in its sandbox.
		d.set(func() { d.lost, d.pods = true, map[string]bool{} })
		b.rt.Exit("main", 1)
		settle(time.Minute)
		configs := b.rt.Configs()
		if got := configs[len(configs)-1].CDIDevices; len(configs) != 2 || !slices.Equal(got, []string{"example.com/gpu=device"}) {
			t.Errorf("%d containers, CDI devices %q", len(configs), got)
		}
	})
}

// TestDriverCame has a pod that waits tried at once.
func TestDriverCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := claimBench(t)
		d.prepares = errors.New("no driver")
		cfg := b.config()
		cfg.ResourceClaims = d
		agent, stop := startAgent(t, cfg)
		defer stop()
		b.put(podWithDevices("web"))
		settle(time.Hour)
		d.set(func() { d.prepares = nil })
		agent.ResourceDriversChanged()
		settle(time.Millisecond)
		if len(d.Pods()) != 1 {
			t.Error("the pod waits on")
		}
	})
}

// TestClaimHealth is in the status of the containers, when it changes too, and stays after the
// end.
func TestClaimHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := claimBench(t)
		d.health = corev1.ResourceHealthStatusHealthy
		cfg := b.config()
		cfg.ResourceClaims = d
		agent, stop := startAgent(t, cfg)
		defer stop()
		p := podWithDevices("web")
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		b.put(p)
		expect := func(when string, want corev1.ResourceHealthStatus) {
			t.Helper()
			settle(time.Second)
			all := b.container(p.UID).AllocatedResourcesStatus
			if len(all) != 1 || all[0].Name != "claim:device" || len(all[0].Resources) != 1 || all[0].Resources[0].Health != want {
				t.Errorf("%s: %+v, want %s", when, all, want)
			}
		}
		expect("at first", corev1.ResourceHealthStatusHealthy)
		d.set(func() { d.health = corev1.ResourceHealthStatusUnhealthy })
		agent.ResourceHealthChanged([]string{string(p.UID)})
		expect("later", corev1.ResourceHealthStatusUnhealthy)
		b.rt.Exit("main", 1)
		expect("at the end", corev1.ResourceHealthStatusUnhealthy)
		if b.phase(p.UID) != corev1.PodFailed {
			t.Errorf("phase %s", b.phase(p.UID))
		}
	})
}
