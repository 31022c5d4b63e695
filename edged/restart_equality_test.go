package edged_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// podState is a state that a pod can be in: how to bring it there, and how to recognize
// it.
type podState struct {
	name    string
	mend    func(b *bench, p *corev1.Pod) // before the pod is there
	later   func(b *bench, p *corev1.Pod) // once it has settled
	after   time.Duration                 // how long it takes; 0 means 20 s
	phase   corev1.PodPhase
	shows   string        // a part of the status' JSON
	pause   time.Duration // between the two agents
	hangs   string        // the call of the runtime that does not return
	retries bool          // a failed call is retried at once: only the last status must be equal
}

func execProbe(name string) *corev1.Probe {
	return &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 1, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{name}}}}
}

// fails answers the commands of that name with an exit code of 1.
func fails(name string) func(runtime.Container, []string) (runtime.ExecResult, error) {
	return func(_ runtime.Container, cmd []string) (runtime.ExecResult, error) {
		if cmd[0] == name {
			return runtime.ExecResult{ExitCode: 1}, nil
		}
		return runtime.ExecResult{}, nil
	}
}

// writesMessage leaves a termination message as the container would.
func writesMessage(b *bench) {
	for _, cfg := range b.rt.Configs() {
		if file := cfg.Annotations["edgekit.io/termination-message-file"]; file != "" {
			if err := os.WriteFile(file, []byte("disk sda is missing"), 0o600); err != nil {
				b.t.Fatal(err)
			}
		}
	}
}

func podStates() []podState {
	const day = 24 * time.Hour
	always := corev1.ContainerRestartPolicyAlways
	never := func(_ *bench, p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }
	ends := func(code int32) func(b *bench, p *corev1.Pod) {
		return func(b *bench, p *corev1.Pod) {
			never(b, p)
			b.rt.Behave("main", runtimetest.Program{RunFor: 5 * time.Second, ExitCode: code})
		}
	}
	named := func(name string, restart *corev1.ContainerRestartPolicy) corev1.Container {
		c := busybox(name)
		c.Name, c.RestartPolicy = name, restart
		return c
	}
	return []podState{
		{name: "runs", phase: corev1.PodRunning, shows: `"ready":true`},
		{name: "was resized", phase: corev1.PodRunning, shows: `"resources":{"requests":{"cpu":"300m"}}`, later: func(b *bench, p *corev1.Pod) {
			p.Generation, p.Spec.Containers[0].Resources.Requests = 2, corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("300m")}
			b.put(p)
		}},
		{name: "waits for room for its resize", phase: corev1.PodRunning, shows: `"type":"PodResizePending","observedGeneration":2,"status":"True"`, later: func(b *bench, p *corev1.Pod) {
			p.Generation, p.Spec.Containers[0].Resources.Requests = 2, corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("7k")}
			b.put(p)
		}},
		{name: "its resize fails", phase: corev1.PodRunning, shows: `"reason":"Error","message":"container \"main\": no"`, mend: func(b *bench, _ *corev1.Pod) {
			b.rt.FailWith(func(call string) error {
				if strings.HasPrefix(call, "UpdateContainerResources") {
					return errors.New("no")
				}
				return nil
			})
		}, later: func(b *bench, p *corev1.Pod) {
			p.Generation, p.Spec.Containers[0].Resources.Requests = 2, corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("300m")}
			b.put(p)
		}},
		{name: "its resize can never be", phase: corev1.PodRunning, shows: `"reason":"Infeasible"`, mend: func(b *bench, p *corev1.Pod) {
			p.Spec.Containers[0].Resources = guaranteed("own", "1", "16Mi").Spec.Containers[0].Resources
			b.edit = pinning(1, nil)
		}, later: func(b *bench, p *corev1.Pod) {
			p.Generation, p.Spec.Containers[0].Resources = 2, guaranteed("own", "500m", "16Mi").Spec.Containers[0].Resources
			b.put(p)
		}},
		{name: "its resize is in progress", phase: corev1.PodRunning, shows: `"type":"PodResizeInProgress","observedGeneration":2,"status":"True"`, hangs: "UpdateContainerResources", later: func(b *bench, p *corev1.Pod) {
			p.Generation, p.Spec.Containers[0].Resources.Requests = 2, corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("300m")}
			b.put(p)
		}},
		{name: "has CPUs of its own", phase: corev1.PodRunning, shows: `"qosClass":"Guaranteed"`, mend: func(b *bench, p *corev1.Pod) {
			p.Spec.Containers[0].Resources = guaranteed("own", "1", "16Mi").Spec.Containers[0].Resources
			b.edit = pinning(1, nil)
		}},
		{name: "runs and is not ready", phase: corev1.PodRunning, shows: `"ready":false,"restartCount":0`, mend: func(b *bench, p *corev1.Pod) {
			p.Spec.Containers[0].ReadinessProbe = execProbe("ready")
			b.rt.ExecWith(fails("ready"))
		}},
		{name: "runs and is ready by a probe", phase: corev1.PodRunning, shows: `"ready":true`, mend: func(_ *bench, p *corev1.Pod) {
			p.Spec.Containers[0].ReadinessProbe = execProbe("ready")
		}},
		{name: "starts", phase: corev1.PodRunning, shows: `"started":false`, mend: func(b *bench, p *corev1.Pod) {
			p.Spec.Containers[0].StartupProbe = execProbe("start")
			p.Spec.Containers[0].StartupProbe.FailureThreshold = 1000
			b.rt.ExecWith(fails("start"))
		}},
		{name: "waits for a readiness gate", phase: corev1.PodRunning, shows: "ReadinessGatesNotReady", mend: func(_ *bench, p *corev1.Pod) {
			p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.com/gate"}}
		}},
		{name: "in the host's network", phase: corev1.PodRunning, shows: `"podIP":"192.0.2.7"`, mend: func(_ *bench, p *corev1.Pod) { p.Spec.HostNetwork = true }},
		{name: "with a sidecar", phase: corev1.PodRunning, shows: `"name":"side"`, mend: func(_ *bench, p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{named("side", &always)}
		}},
		{name: "with a debug container", phase: corev1.PodRunning, shows: `"ephemeralContainerStatuses"`, mend: func(_ *bench, p *corev1.Pod) {
			p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon(named("debug", nil))}}
		}},
		{name: "init runs", phase: corev1.PodPending, shows: "ContainersNotInitialized", mend: func(_ *bench, p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{named("init", nil)}
		}},
		{name: "init crashes", phase: corev1.PodPending, shows: "CrashLoopBackOff", after: 25 * time.Second, mend: func(b *bench, p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{named("init", nil)}
			b.rt.Behave("init", runtimetest.Program{RunFor: time.Second, ExitCode: 3})
		}},
		{name: "init failed", phase: corev1.PodFailed, pause: day, mend: func(b *bench, p *corev1.Pod) {
			never(b, p)
			p.Spec.InitContainers = []corev1.Container{named("init", nil)}
			b.rt.Behave("init", runtimetest.Program{RunFor: time.Second, ExitCode: 3})
		}},
		{name: "crash loop", phase: corev1.PodRunning, shows: "CrashLoopBackOff", after: 25 * time.Second, mend: func(b *bench, _ *corev1.Pod) {
			b.rt.Behave("main", runtimetest.Program{RunFor: time.Second, ExitCode: 3})
		}},
		{name: "succeeded", phase: corev1.PodSucceeded, pause: day, mend: ends(0)},
		{name: "succeeded, then its deadline passes", phase: corev1.PodSucceeded, pause: day, mend: func(b *bench, p *corev1.Pod) {
			ends(0)(b, p)
			deadline := int64(3600)
			p.Spec.ActiveDeadlineSeconds = &deadline
		}},
		{name: "failed", phase: corev1.PodFailed, pause: day, mend: ends(3)},
		{name: "failed with a message", phase: corev1.PodFailed, shows: "disk sda is missing", pause: day, mend: ends(3), later: func(b *bench, _ *corev1.Pod) { writesMessage(b) }},
		{name: "failed with a sidecar", phase: corev1.PodFailed, pause: day, mend: func(b *bench, p *corev1.Pod) {
			ends(3)(b, p)
			p.Spec.InitContainers = []corev1.Container{named("side", &always)}
		}},
		{name: "past its deadline", phase: corev1.PodFailed, shows: "DeadlineExceeded", pause: day, mend: func(_ *bench, p *corev1.Pod) {
			deadline := int64(5)
			p.Spec.ActiveDeadlineSeconds = &deadline
		}},
		{name: "past its deadline and still stopping", phase: corev1.PodRunning, mend: func(b *bench, p *corev1.Pod) {
			deadline := int64(5)
			p.Spec.ActiveDeadlineSeconds = &deadline
			b.rt.Behave("main", runtimetest.Program{StopAfter: time.Hour})
		}},
		{name: "evicted for its own volume", phase: corev1.PodFailed, shows: "Usage of EmptyDir volume", pause: day, mend: func(_ *bench, p *corev1.Pod) {
			limit := resource.MustParse("10Ki")
			p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit}}}}
		}, later: func(b *bench, _ *corev1.Pod) {
			file := filepath.Join(b.root, "root", "pods", "web-uid", "volumes", "kubernetes.io~empty-dir", "data", "file")
			if err := os.WriteFile(file, make([]byte, 20<<10), 0o600); err != nil {
				b.t.Fatal(err)
			}
		}},
		{name: "evicted for the node", phase: corev1.PodFailed, shows: "TerminationByKubelet", pause: day, mend: func(b *bench, p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Mi")} // a BestEffort pod would be refused
			b.edit = func(c *edged.Config) {
				c.Eviction = edged.Eviction{Soft: map[string]string{"memory.available": "99.999%"}, SoftGracePeriod: map[string]time.Duration{"memory.available": 5 * time.Second}, Hard: map[string]string{}}
			}
		}},
		{name: "refused", phase: corev1.PodFailed, shows: "OutOfmemory", pause: day, mend: func(_ *bench, p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Ei")}
		}},
		{name: "refused for its alignment", phase: corev1.PodFailed, shows: "SMTAlignmentError", pause: day, mend: func(b *bench, p *corev1.Pod) {
			p.Spec.Containers[0].Resources = guaranteed("own", "1", "16Mi").Spec.Containers[0].Resources
			b.edit = pinning(2, map[string]string{"full-pcpus-only": "true"})
		}},
		{name: "refused for a sysctl", phase: corev1.PodFailed, shows: "SysctlForbidden", pause: day, mend: func(_ *bench, p *corev1.Pod) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "kernel.msgmax", Value: "1"}}}
		}},
		{name: "refused for its node selector", phase: corev1.PodFailed, shows: "NodeAffinity", pause: day, mend: func(_ *bench, p *corev1.Pod) {
			p.Spec.NodeSelector = map[string]string{corev1.LabelOSStable: "plan9"}
		}},
		{name: "image is being pulled", phase: corev1.PodPending, shows: "ContainerCreating", hangs: "PullImage", mend: func(_ *bench, p *corev1.Pod) {
			p.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways
		}},
		{name: "container is being made", phase: corev1.PodPending, shows: "ContainerCreating", hangs: "CreateContainer"},
		{name: "sandbox is being made", phase: corev1.PodPending, shows: "ContainerCreating", hangs: "RunSandbox"},
		{name: "image may not be pulled", phase: corev1.PodPending, shows: "ErrImageNeverPull", mend: func(_ *bench, p *corev1.Pod) {
			p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = "example.com/none:1", corev1.PullNever
		}},
		{name: "claim is not bound", phase: corev1.PodPending, shows: "ContainerCreating", mend: func(b *bench, p *corev1.Pod) {
			b.bindClaim("default", "data", nil)
			withClaim(p, "data")
		}},
		{name: "volume's config map is missing", phase: corev1.PodPending, shows: "ContainerCreating", mend: func(_ *bench, p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "cfg", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}}}}}
		}},
		{name: "liveness fails", phase: corev1.PodRunning, shows: "CrashLoopBackOff", after: 40 * time.Second, mend: func(b *bench, p *corev1.Pod) {
			p.Spec.Containers[0].LivenessProbe = execProbe("live")
			b.rt.ExecWith(fails("live"))
		}},
		{name: "one of two containers has ended", phase: corev1.PodRunning, shows: `"reason":"Completed"`, mend: func(b *bench, p *corev1.Pod) {
			p.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
			p.Spec.Containers = append(p.Spec.Containers, named("job", nil))
			b.rt.Behave("job", runtimetest.Program{RunFor: time.Second})
		}},
		{name: "a sidecar crashes", phase: corev1.PodRunning, shows: "CrashLoopBackOff", after: 25 * time.Second, mend: func(b *bench, p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{named("side", &always)}
			b.rt.Behave("side", runtimetest.Program{RunFor: time.Second, ExitCode: 3})
		}},
		{name: "a sidecar is not started yet", phase: corev1.PodPending, shows: `"started":false`, mend: func(b *bench, p *corev1.Pod) {
			side := named("side", &always)
			side.StartupProbe = execProbe("start")
			side.StartupProbe.FailureThreshold = 1000
			p.Spec.InitContainers = []corev1.Container{side}
			b.rt.ExecWith(fails("start"))
		}},
		{name: "a debug container has ended", phase: corev1.PodRunning, shows: `"ephemeralContainerStatuses":[{"name":"debug","state":{"terminated"`, mend: func(b *bench, p *corev1.Pod) {
			p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon(named("debug", nil))}}
			b.rt.Behave("debug", runtimetest.Program{RunFor: time.Second, ExitCode: 2})
		}},
		{name: "image does not come", retries: true, phase: corev1.PodPending, shows: "ImagePullBackOff", mend: func(b *bench, p *corev1.Pod) {
			p.Spec.Containers[0].Image = "example.com/none:1"
			b.rt.FailWith(func(call string) error {
				if strings.HasPrefix(call, "PullImage") {
					return errors.New("no such host")
				}
				return nil
			})
		}},
		{name: "image name is none", phase: corev1.PodPending, shows: "InvalidImageName", mend: func(_ *bench, p *corev1.Pod) { p.Spec.Containers[0].Image = "NO" }},
		{name: "config map is missing", phase: corev1.PodPending, shows: "CreateContainerConfigError", mend: func(_ *bench, p *corev1.Pod) {
			p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}}}}
		}},
		{name: "container is not made", phase: corev1.PodPending, shows: "CreateContainerError", mend: func(b *bench, _ *corev1.Pod) {
			b.rt.FailWith(failing("CreateContainer"))
		}},
		{name: "sandbox is not made", phase: corev1.PodPending, shows: "ContainerCreating", mend: func(b *bench, _ *corev1.Pod) {
			b.rt.FailWith(failing("RunSandbox"))
		}},
		{name: "is being stopped", phase: corev1.PodRunning, mend: func(b *bench, _ *corev1.Pod) {
			b.rt.Behave("main", runtimetest.Program{StopAfter: time.Hour})
		}, later: func(b *bench, p *corev1.Pod) { b.del(p, 3600) }},
		{name: "its token has expired", phase: corev1.PodRunning, shows: "TokenExpired", mend: func(b *bench, p *corev1.Pod) {
			b.tokenEnd = time.Now().Add(5 * time.Second)
			p.Spec.Volumes = []corev1.Volume{{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
				Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}}},
			}}}}
		}, after: 2 * time.Minute},
		{name: "a hook hangs after the start", phase: corev1.PodRunning, mend: func(b *bench, p *corev1.Pod) {
			p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 3600}}}
		}},
	}
}

// hanging has calls of a verb not return until the agent has given them up, as released
// says.
func hanging(verb string, released *atomic.Bool) func(string) error {
	return func(call string) error {
		for strings.HasPrefix(call, verb+" ") && !released.Load() {
			pass(time.Second)
		}
		return nil
	}
}

func failing(verb string) func(string) error {
	return func(call string) error {
		if strings.HasPrefix(call, verb+" ") {
			return errors.New("it does not work")
		}
		return nil
	}
}

// TestRestartEquality: in every state that a pod can be in, a restarted agent reports
// exactly the status that the agent before it reported.
func TestRestartEquality(t *testing.T) {
	for _, s := range podStates() {
		for _, known := range []bool{false, true} { // whether the API server has the status already
			t.Run(s.name+map[bool]string{true: ", known in the cloud"}[known], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { restartEquality(t, s, known) })
			})
		}
	}
}

func restartEquality(t *testing.T, s podState, known bool) {
	b := newBench(t)
	p := newPod("web", busybox("serve"))
	if s.mend != nil {
		s.mend(b, p)
	}
	var released atomic.Bool // what hangs ends with the agent, which has given it up then
	stop := func() {
		released.Store(true)
		b.stop()
		settle(2 * time.Second)
		released.Store(false)
	}
	if s.hangs != "" {
		b.rt.FailWith(hanging(s.hangs, &released))
	}
	b.put(p)
	b.start()
	if s.later != nil {
		settle(3 * time.Second)
		s.later(b, p)
	}
	if s.after == 0 {
		s.after = 20 * time.Second
	}
	settle(s.after)
	b.mu.Lock()
	before, n := b.status[p.UID], len(b.history[p.UID])
	b.mu.Unlock()
	text := asJSON(t, before)
	if before.Phase != s.phase || !strings.Contains(text, s.shows) {
		t.Fatalf("phase %s, want %s with %q; events %q\n%s", before.Phase, s.phase, s.shows, b.events, text)
	}
	stop()
	if known {
		b.mu.Lock()
		for i, o := range b.pods {
			o = o.DeepCopy()
			o.Status = *before.DeepCopy()
			b.pods[i] = o
		}
		b.mu.Unlock()
	}
	settle(s.pause)
	b.start()
	settle(900 * time.Millisecond)
	if s.retries {
		settle(3 * time.Second)
	}
	b.mu.Lock()
	after := b.history[p.UID][n:]
	b.mu.Unlock()
	if len(after) == 0 {
		t.Error("the new agent reported nothing")
	}
	for i, st := range after {
		if !equality.Semantic.DeepEqual(before, st) && (!s.retries || i == len(after)-1) {
			t.Errorf("before: %s\nafter:  %s", text, asJSON(t, st))
		}
	}
	b.rt.FailWith(nil)
	released.Store(true)
	b.del(p, 0) // and what it mounted with it
	settle(time.Minute)
	b.stop()
	if !b.gone[p.UID] {
		t.Error("the pod does not go")
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestRestartEqualityOfStatic is the same for a static pod, whose mirror has another uid
// in the API server.
func TestRestartEqualityOfStatic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		dir := filepath.Join(b.root, "static")
		manifest := "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: default}\nspec:\n  containers:\n  - {name: main, image: busybox, readinessProbe: {exec: {command: [ready]}, periodSeconds: 1}}\n"
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "web.yaml"), []byte(manifest), 0o600); err != nil {
			t.Fatal(err)
		}
		b.edit = func(cfg *edged.Config) { cfg.StaticPodDir = dir }
		b.start()
		settle(20 * time.Second)
		b.stop()
		const uid = "mirror-1"
		b.mu.Lock()
		before, n := b.status[uid], len(b.history[uid])
		b.mu.Unlock()
		if before.Phase != corev1.PodRunning || !b.isReady(uid) {
			t.Fatalf("%s", asJSON(t, b.status))
		}
		settle(time.Hour)
		b.start()
		settle(20 * time.Second)
		for _, st := range b.history[uid][n:] {
			if !equality.Semantic.DeepEqual(before, st) {
				t.Errorf("before: %s\nafter:  %s", asJSON(t, before), asJSON(t, st))
			}
		}
		if len(b.history[uid]) == n {
			t.Error("the new agent reported nothing")
		}
		b.stop()
	})
}
