package edged_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
	"github.com/edgekit/edgekit/edged/static"
)

// TestOrphansOfALostStore starts an agent whose store is being filled again: running pods
// go on until the cloud has said which pods are the node's.
func TestOrphansOfALostStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		box := func(uid string) {
			if _, err := b.rt.RunSandbox(t.Context(), &runtime.SandboxConfig{Name: uid, Namespace: "default", UID: uid}); err != nil {
				t.Fatal(err)
			}
		}
		late := newPod("late", busybox("serve"))
		box(string(late.UID))
		box("orphan")
		c := &census{cloud: b.cloud, bound: []types.UID{late.UID}}
		cfg := b.config()
		cfg.Objects = c
		runAgent(t, cfg)
		settle(time.Hour)
		if left, _ := b.rt.ListSandboxes(t.Context(), ""); len(left) != 2 {
			t.Errorf("offline, what may be the node's was ended: %+v", left)
		}
		c.mu.Lock()
		c.connected = true
		c.mu.Unlock()
		settle(2 * time.Minute)
		if left, _ := b.rt.ListSandboxes(t.Context(), ""); len(left) != 1 || left[0].PodUID != string(late.UID) {
			t.Errorf("once the cloud has said: %+v", left)
		}
		b.put(late)
		settle(2 * time.Minute)
		asked := c.asked
		settle(time.Hour)
		if left, _ := b.rt.ListSandboxes(t.Context(), ""); len(left) != 1 || left[0].ID != "sandbox-0001" || c.asked != asked {
			t.Errorf("the pod that came late has %+v; asked %d times more", left, c.asked-asked)
		}
	})
}

// runAgent runs an agent until the test's end.
func runAgent(t *testing.T, cfg edged.Config) (stop func()) {
	t.Helper()
	_, stop = startAgent(t, cfg)
	return stop
}

// startAgent is runAgent, and gives the agent besides.
func startAgent(t *testing.T, cfg edged.Config) (agent *edged.Agent, stop func()) {
	t.Helper()
	agent, err := edged.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return agent, stop
}

const manifest = `apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - {name: main, image: "docker.io/library/busybox:latest", env: [{name: V, value: "1"}]}
`

// TestStaticPods runs a pod of a file: first without the API server, then with a mirror
// pod; through a restart of the agent, a change of the file, a bad file, and the removal
// of the file.
func TestStaticPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.noMirrors = true
		cfg := b.config()
		cfg.StaticPodDir = t.TempDir()
		file := filepath.Join(cfg.StaticPodDir, "web.yaml")
		write := func(text string) {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			settle(5 * time.Second)
		}
		boxes := func() []runtime.Sandbox {
			all, err := b.rt.ListSandboxes(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			return all
		}
		stop := runAgent(t, cfg)
		write(manifest)
		first := boxes()
		if len(first) != 1 || !first[0].Ready || first[0].Name != "web-edge" || len(b.status) != 0 {
			t.Fatalf("offline: %+v, reported %v", first, b.status)
		}
		stop()
		b.mu.Lock()
		b.noMirrors = false
		b.mu.Unlock()
		stop = runAgent(t, cfg)
		settle(5 * time.Second)
		shown := mirrorOf(b.cloud)
		if shown == nil || !b.isReady(shown.UID) || shown.Annotations[corev1.MirrorPodAnnotationKey] != first[0].PodUID {
			t.Fatalf("mirror %+v", shown)
		}
		b.remove(shown.UID) // somebody deletes it by force
		settle(5 * time.Second)
		if again := mirrorOf(b.cloud); again == nil || again.UID == shown.UID || !b.isReady(again.UID) {
			t.Errorf("the mirror was not made anew: %+v", again)
		}
		write("kind: Pod")
		if now := boxes(); len(now) != 1 || now[0].ID != first[0].ID {
			t.Errorf("a bad file ended a running pod: %+v", now)
		}
		write(strings.Replace(manifest, `"1"`, `"2"`, 1))
		second := boxes()
		if len(second) != 1 || second[0].PodUID == first[0].PodUID {
			t.Fatalf("after a change: %+v", second)
		}
		if m := mirrorOf(b.cloud); m == nil || m.Annotations[static.HashAnnotation] != second[0].PodUID || !b.isReady(m.UID) {
			t.Errorf("after a change the mirror is %+v", m)
		}
		stop()
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		runAgent(t, cfg)
		settle(time.Minute)
		if now := boxes(); len(now) != 0 || mirrorOf(b.cloud) != nil {
			t.Errorf("after its end: %+v, mirror %v", now, mirrorOf(b.cloud))
		}
	})
}

// TestStaticPodHasAStatus runs a pod of a file with no cloud and nothing that
// shows it in an API server: Agent.Pods has its status all the same.
func TestStaticPodHasAStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.noMirrors = true
		cfg := b.config()
		cfg.StaticPodDir = t.TempDir()
		if err := os.WriteFile(filepath.Join(cfg.StaticPodDir, "web.yaml"), []byte(manifest), 0o600); err != nil {
			t.Fatal(err)
		}
		agent, err := edged.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- agent.Run(ctx) }()
		settle(10 * time.Second)
		pods := agent.Pods()
		if len(pods) != 1 || pods[0].Status.Phase != corev1.PodRunning || len(pods[0].Status.ContainerStatuses) != 1 || pods[0].Status.PodIP == "" {
			t.Errorf("pods are %+v", pods)
		}
		if len(b.status) != 0 {
			t.Errorf("a status was reported: %v", b.status)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func mirrorOf(c *cloud) *corev1.Pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pods {
		if static.IsMirror(p) {
			return p
		}
	}
	return nil
}

// slow is a program that takes 20 s to stop.
var slow = runtimetest.Program{StopAfter: 20 * time.Second}

// TestSameNameWaits: a pod waits until an earlier pod of its name has ended, although
// that is gone from the API server.
func TestSameNameWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.rt.Behave("main", slow)
		b.start()
		defer func() { b.stop() }()
		old := newPod("db-0", busybox("serve"))
		b.put(old)
		settle(time.Minute)
		b.remove(old.UID) // by force: the node was given up, for example
		next := newPod("db-0", busybox("serve"))
		next.UID = "next"
		b.put(next)
		settle(slow.StopAfter / 2)
		if n := len(b.rt.Configs()); n != 1 {
			t.Errorf("%d containers of db-0 at a time", n)
		}
		settle(slow.StopAfter)
		if !b.isReady("next") || len(b.rt.Configs()) != 1 {
			t.Errorf("the next db-0: %+v, %d containers", b.status["next"], len(b.rt.Configs()))
		}
	})
}

// TestTokensExpireOffline: one event says that a pod's token has expired, and one that it
// is fresh again; the pod goes on running.
func TestTokensExpireOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.tokenEnd = time.Now().Add(time.Hour)
		b.start()
		defer func() { b.stop() }()
		p := newPod("web", busybox("serve"))
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}}},
		}}}}
		b.put(p)
		expired := func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return slices.ContainsFunc(b.status[p.UID].Conditions, func(c corev1.PodCondition) bool {
				return c.Type == edged.ConditionTokenExpired && c.Status == corev1.ConditionTrue
			})
		}
		settle(50 * time.Minute)
		if b.happened("TokenExpired") != 0 {
			t.Error("told before the end")
		}
		settle(24 * time.Hour)
		if n := b.happened("TokenExpired"); n != 1 || !b.isReady(p.UID) {
			t.Errorf("told %d times, ready %t", n, b.isReady(p.UID))
		}
		if !expired() {
			t.Error("the condition is missing")
		}
		b.stop()
		b.start() // remembers that this was reported
		settle(time.Hour)
		if n := b.happened("TokenExpired"); n != 1 || !expired() {
			t.Errorf("after a restart: told %d times, condition %t", n, expired())
		}
		b.mu.Lock()
		b.tokenEnd = time.Time{}
		b.mu.Unlock()
		b.setConfigMap("default", "any", nil) // what Objects.Changed says after a renewal
		settle(time.Second)
		if expired() {
			t.Error("the condition stayed")
		}
		if b.happened("TokenRenewed") != 1 || b.container(p.UID).RestartCount != 0 {
			t.Errorf("events %q", b.events)
		}
		b.del(p, 0) // with its mounts
		settle(time.Minute)
	})
}
