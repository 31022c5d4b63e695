package edged_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/cri"
)

// realNode is an Agent on the runtime that EDGEKIT_CRI_SOCKET names, with the image
// docker.io/library/busybox:latest already there. Without it the test is skipped.
type realNode struct {
	*cloud
	t       *testing.T
	runtime *cri.Client
	cfg     edged.Config
	agent   *edged.Agent
	stop    func()
}

func startReal(t *testing.T) *realNode { return startRealWith(t, cri.Config{}) }

// startRealWith is startReal with settings of the runtime's client and of the Agent.
func startRealWith(t *testing.T, cfg cri.Config, edits ...func(*edged.Config)) *realNode {
	t.Helper()
	socket := os.Getenv("EDGEKIT_CRI_SOCKET")
	if socket == "" {
		t.Skip("EDGEKIT_CRI_SOCKET names no container runtime")
	}
	cfg.Socket = socket
	client, err := cri.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := &realNode{cloud: newCloud(), t: t, runtime: client}
	root, err := os.MkdirTemp("/tmp", "edged-test-")
	if err != nil {
		t.Fatal(err)
	}
	level := slog.LevelWarn
	if os.Getenv("EDGEKIT_DEBUG") != "" {
		level = slog.LevelDebug
	}
	r.cfg = edged.Config{
		NodeName: "edge", Runtime: client, Objects: r.cloud, Reports: r.cloud, Root: filepath.Join(root, "root"), LogRoot: filepath.Join(root, "logs"),
		Logger:     slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
		CgroupRoot: os.Getenv("EDGEKIT_CRI_CGROUP_ROOT"),      // others on this machine have their own
		Eviction:   edged.Eviction{Hard: map[string]string{}}, // the machine may be full
		ImageGC:    edged.ImageGC{HighThresholdPercent: 100},  // the tests' image is used by no pod in between
	}
	for _, edit := range edits {
		edit(&r.cfg)
	}
	r.start()
	t.Cleanup(func() {
		r.stop()
		r.mu.Lock()
		r.pods = nil
		r.mu.Unlock()
		r.start() // an agent that knows no pods removes what is left
		r.stopWhenEmpty()
		client.Close()
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *realNode) start() {
	agent, err := edged.New(r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.agent = agent
	ctx, cancel := context.WithCancel(context.Background()) // ends in stop, also after the test's own context
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx) }()
	select {
	case <-agent.Ready():
	case err := <-done:
		r.t.Fatal(err)
	case <-time.After(realLimit):
		r.t.Fatal("agent not ready")
	}
	r.stop = func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	}
}

func (r *realNode) stopWhenEmpty() {
	defer r.stop()
	for end := time.Now().Add(realLimit); time.Now().Before(end); {
		list, err := r.runtime.ListSandboxes(context.Background(), "") // after the test's own context
		if err == nil && len(list) == 0 {
			if left, _ := filepath.Glob(r.cfg.Root + "/pods/*"); len(left) == 0 {
				return
			}
		}
		<-time.After(50 * time.Millisecond)
	}
	r.t.Error("sandboxes or volumes are left")
}

func busybox(script string) corev1.Container {
	return corev1.Container{Name: "main", Image: "busybox", ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"sh", "-c", script}}
}

func (r *realNode) log(p *corev1.Pod, container string) string {
	b, _ := os.ReadFile(filepath.Join(r.cfg.LogRoot, fmt.Sprintf("%s_%s_%s/%s/0.log", p.Namespace, p.Name, p.UID, container)))
	return string(b)
}

func TestRealLatency(t *testing.T) {
	r := startReal(t)
	var took []time.Duration
	for i := range 10 {
		p := newPod(fmt.Sprintf("fast-%d", i), busybox("trap 'exit 0' TERM; sleep 1000 & wait"))
		began := time.Now()
		r.put(p)
		r.wait(t, p.Name+" ready", realLimit, func() bool { return r.isReady(p.UID) })
		took = append(took, time.Since(began))
		began = time.Now()
		r.del(p, 5)
		r.wait(t, p.Name+" gone", realLimit, func() bool { return r.gone[p.UID] })
		t.Logf("create to Ready %s, delete to gone %s", took[i], time.Since(began))
	}
	slices.Sort(took)
	t.Logf("RESULT edged_pod_ready_p50 %.3f s", took[len(took)/2].Seconds())
}

// burst starts n pods, one each gap, and returns their times to Ready, sorted.
func (r *realNode) burst(n int, gap time.Duration) []time.Duration {
	began, ready := make(map[types.UID]time.Time), make(map[types.UID]time.Duration)
	var pods []*corev1.Pod
	tick := time.NewTicker(gap)
	defer tick.Stop()
	see := func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for uid, at := range began {
			if _, done := ready[uid]; !done && r.isReady(uid) {
				ready[uid] = time.Since(at)
			}
		}
	}
	limit := time.After(realLimit)
	for len(ready) < n {
		select {
		case <-tick.C:
			if len(pods) < n {
				p := newPod(fmt.Sprintf("burst-%d-%d-%d", n, gap.Milliseconds(), len(pods)), busybox("trap 'exit 0' TERM; sleep 1000 & wait"))
				pods = append(pods, p)
				began[p.UID] = time.Now()
				r.put(p)
			}
		case <-r.woken:
		case <-limit:
			r.t.Fatalf("only %d of %d pods are ready", len(ready), n)
		}
		see()
	}
	for _, p := range pods {
		r.del(p, 1)
	}
	r.wait(r.t, "all gone", realLimit, func() bool { return len(r.pods) == 0 })
	return slices.Sorted(maps.Values(ready))
}

func TestRealBurst(t *testing.T) {
	r := startReal(t)
	for _, tt := range []struct {
		n   int
		gap time.Duration
	}{{20, 300 * time.Millisecond}, {20, 100 * time.Millisecond}, {50, 100 * time.Millisecond}} {
		took := r.burst(tt.n, tt.gap)
		t.Logf("RESULT edged_burst_%d_%dms p50 %.3f p99 %.3f s", tt.n, tt.gap.Milliseconds(), took[len(took)/2].Seconds(), took[len(took)-1].Seconds())
	}
}

func TestRealPod(t *testing.T) {
	r := startReal(t)
	r.setConfigMap("default", "cfg", map[string]string{"key": "value", "other": "o"})
	main := busybox(`echo ip=$POD_IP name=$POD_NAME key=$KEY other=$P_other; cat /cfg/key; cat /etc/hosts; id -u; id -G; cat /sub; ls -l /mem /token; cat /token/token; mount | grep /mem; echo bye > /dev/termination-log; echo started; while ! grep -q new /cfg/key; do sleep 0.1; done; echo updated; sleep 1000`)
	uid, group := int64(1000), int64(2000)
	main.Env = []corev1.EnvVar{
		{Name: "POD_IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
		{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
		{Name: "KEY", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "cfg"}, Key: "key"}}},
	}
	main.EnvFrom = []corev1.EnvFromSource{{Prefix: "P_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cfg"}}}}
	main.VolumeMounts = []corev1.VolumeMount{
		{Name: "cfg", MountPath: "/cfg"}, {Name: "cfg", MountPath: "/sub", SubPath: "key"}, {Name: "mem", MountPath: "/mem"}, {Name: "token", MountPath: "/token"},
	}
	main.ReadinessProbe = &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}}
	init := busybox("echo init > /mem/x")
	init.Name = "init"
	init.VolumeMounts = []corev1.VolumeMount{{Name: "mem", MountPath: "/mem"}}
	p := newPod("full", main)
	p.Spec.InitContainers = []corev1.Container{init}
	p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &uid, FSGroup: &group}
	p.Spec.HostAliases = []corev1.HostAlias{{IP: "10.9.9.9", Hostnames: []string{"far"}}}
	p.Spec.Volumes = []corev1.Volume{
		{Name: "cfg", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cfg"}}}},
		{Name: "mem", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}},
		{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}}}}}},
	}
	r.put(p)
	r.wait(t, "ready", realLimit, func() bool { return r.isReady(p.UID) })
	r.setConfigMap("default", "cfg", map[string]string{"key": "new"})
	r.watch(t, "the container sees the new config map", func() bool { return strings.Contains(r.log(p, "main"), "updated") })
	log := r.log(p, "main")
	for _, want := range []string{"name=full key=value other=o", "# Kubernetes-managed hosts file.", "10.9.9.9\tfar", "F 1000", "2000", "t0ken", "updated", "tmpfs"} {
		if !strings.Contains(log, want) {
			t.Errorf("log lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(log)
	}
	id := r.status[p.UID].ContainerStatuses[0].ContainerID
	r.stop()
	r.mu.Lock()
	reports := len(r.history[p.UID])
	r.mu.Unlock()
	r.start() // adopts
	r.wait(t, "reported again", realLimit, func() bool { return len(r.history[p.UID]) > reports })
	r.mu.Lock()
	if st := r.status[p.UID]; st.ContainerStatuses[0].ContainerID != id || st.ContainerStatuses[0].RestartCount != 0 || !r.isReady(p.UID) {
		t.Errorf("after a restart of the agent: %+v", st)
	}
	r.mu.Unlock()
	r.del(p, 1)
	r.wait(t, "gone", realLimit, func() bool { return r.gone[p.UID] })
	end := r.status[p.UID].ContainerStatuses[0].State.Terminated
	if end == nil || end.Message != "bye\n" || end.ExitCode != 137 {
		t.Errorf("end: %+v", end)
	}
}

// TestRealClaim runs a pod on a local volume, with a group, a subPath and a read-only
// claim beside it, over a restart of the agent and into the next pod of its set.
func TestRealClaim(t *testing.T) {
	r := startReal(t)
	data := t.TempDir()
	r.bindClaim("default", "data", &corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: data}})
	group := int64(2000)
	next := func(uid, script string) *corev1.Pod {
		p := withClaim(newPod("db-0", busybox(script)), "data")
		p.UID = types.UID(uid)
		p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: new(int64(1000)), FSGroup: &group}
		c := &p.Spec.Containers[0]
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "data", MountPath: "/sub", SubPath: "a/b"}, corev1.VolumeMount{Name: "ro", MountPath: "/ro"})
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "ro", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data", ReadOnly: true},
		}})
		return p
	}
	first := next("first", `id -G; echo one >/data/a/b/kept && ls -ln /data; touch /ro/x || echo refused; cat /sub/kept; sleep 1000`)
	r.put(first)
	r.wait(t, "ready", realLimit, func() bool { return r.isReady(first.UID) })
	r.stop()
	r.start() // adopts
	r.del(first, 1)
	r.wait(t, "gone", realLimit, func() bool { return r.gone[first.UID] })
	second := next("second", `test "$(cat /data/a/b/kept)" = one && echo two >>/sub/kept && cat /ro/a/b/kept && sleep 1000`)
	r.put(second)
	r.wait(t, "ready", realLimit, func() bool { return r.isReady(second.UID) })
	r.del(second, 1)
	r.wait(t, "gone", realLimit, func() bool { return r.gone[second.UID] })
	if text, err := os.ReadFile(filepath.Join(data, "a", "b", "kept")); err != nil || string(text) != "one\ntwo\n" {
		t.Errorf("the volume has %q, %v", text, err)
	}
}

func TestRealCrashLoopAndErrors(t *testing.T) {
	r := startReal(t)
	crash := newPod("crash", busybox("exit 3"))
	r.put(crash)
	none := newPod("none", corev1.Container{Name: "main", Image: "busybox:none", ImagePullPolicy: corev1.PullNever})
	r.put(none)
	bad := newPod("bad", corev1.Container{Name: "main", Image: "busybox", ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"/no/such"}})
	r.put(bad)
	job := newPod("job", busybox("exit 0"))
	job.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	r.put(job)
	web := busybox("mkdir -p /w; echo hi > /w/index.html; httpd -f -p 80 -h /w")
	web.LivenessProbe = &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 1, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/none", Port: intstr.FromInt32(80)}}}
	live := newPod("live", web)
	two := int64(2)
	live.Spec.TerminationGracePeriodSeconds = &two
	r.put(live)
	state := func(uid types.UID) corev1.ContainerStatus {
		if st := r.status[uid]; len(st.ContainerStatuses) > 0 {
			return st.ContainerStatuses[0]
		}
		return corev1.ContainerStatus{}
	}
	waits := func(uid types.UID) string {
		if w := state(uid).State.Waiting; w != nil {
			return w.Reason
		}
		return ""
	}
	r.wait(t, "CrashLoopBackOff", realLimit, func() bool {
		s := state(crash.UID)
		return waits(crash.UID) == "CrashLoopBackOff" && s.RestartCount == 1 && s.LastTerminationState.Terminated.ExitCode == 3
	})
	r.wait(t, "ErrImageNeverPull", realLimit, func() bool { return waits(none.UID) == "ErrImageNeverPull" })
	r.wait(t, "bad command", realLimit, func() bool { return state(bad.UID).RestartCount == 1 && waits(bad.UID) != "" })
	r.wait(t, "Succeeded", realLimit, func() bool { return r.status[job.UID].Phase == corev1.PodSucceeded })
	r.wait(t, "liveness restart", realLimit, func() bool { return state(live.UID).RestartCount >= 1 })
	r.wait(t, "second crash", realLimit, func() bool { return state(crash.UID).RestartCount == 2 })
}
