package edged_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// startAgent starts an Agent as startWith does, and returns it.
func (b *bench) startAgent(cfg edged.Config) *edged.Agent {
	b.t.Helper()
	agent, err := edged.New(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx) }()
	b.stop = func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	}
	return agent
}

func mkdir(t *testing.T, parts ...string) string {
	t.Helper()
	dir := filepath.Join(parts...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Uids in the form of an API server's.
const (
	uidGone  = "11111111-aaaa-4bbb-8ccc-000000000001"
	uidLive  = "22222222-aaaa-4bbb-8ccc-000000000002"
	uidOther = "33333333-aaaa-4bbb-8ccc-000000000003"
	uidLate  = "44444444-aaaa-4bbb-8ccc-000000000004"
)

// TestLeftoversWhileRunning: folders, logs and sandboxes that crashes leave appear while
// the agent runs.
func TestLeftoversWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		cfg := b.config()
		cfg.ContainerLogs.Links = mkdir(t, b.root, "links")
		live := newPod("live", busybox("serve"))
		live.UID = uidLive
		b.put(live)
		b.startWith(cfg)
		defer func() { b.stop() }()
		settle(10 * time.Second)
		gone := mkdir(t, cfg.LogRoot, "ns_gone_"+uidGone, "main")
		mine := mkdir(t, cfg.LogRoot, "my_own_folder")
		foreign := mkdir(t, cfg.LogRoot, "ns_other_"+uidOther)
		if err := errors.Join(os.WriteFile(gone+"/0.log", nil, 0o600), os.Symlink(gone+"/0.log", cfg.ContainerLogs.Links+"/gone_ns_main-1.log"),
			os.Symlink(cfg.LogRoot+"/nowhere/0.log", cfg.ContainerLogs.Links+"/x_ns_main-2.log"), os.Symlink("/nowhere", cfg.ContainerLogs.Links+"/foreign.log")); err != nil {
			t.Fatal(err)
		}
		// Another agent's pod, and a sandbox that is gone while its container is not.
		if _, err := b.rt.RunSandbox(t.Context(), &runtime.SandboxConfig{Name: "other", Namespace: "ns", UID: uidOther, Annotations: map[string]string{runtime.AnnotationNode: "else"}}); err != nil {
			t.Fatal(err)
		}
		box, err := b.rt.RunSandbox(t.Context(), &runtime.SandboxConfig{Name: "lost", Namespace: "ns", UID: "lost"})
		if err != nil {
			t.Fatal(err)
		}
		id, err := b.rt.CreateContainer(t.Context(), box, &runtime.ContainerConfig{Name: "lost-main", Labels: map[string]string{
			runtime.LabelPodUID: "lost", runtime.LabelPodName: "lost", runtime.LabelPodNamespace: "ns"}}, nil)
		if err := errors.Join(err, b.rt.StartContainer(t.Context(), id)); err != nil {
			t.Fatal(err)
		}
		b.rt.ForgetSandbox(box)
		settle(70 * time.Second)
		if !exists(gone) {
			t.Error("a folder of logs went at the first look: its pod may be about to start")
		}
		settle(2 * time.Minute)
		if exists(gone) || exists(filepath.Dir(gone)) || exists(cfg.ContainerLogs.Links+"/gone_ns_main-1.log") || exists(cfg.ContainerLogs.Links+"/x_ns_main-2.log") {
			t.Error("the logs of a pod that is gone are left, or links to them")
		}
		if !exists(mine) || !exists(foreign) || !exists(cfg.ContainerLogs.Links+"/foreign.log") {
			t.Error("what is not the agent's was removed")
		}
		if b.container(uidLive).State.Running == nil || !exists(filepath.Join(cfg.LogRoot, "default_live_"+uidLive)) {
			t.Error("the pod that runs lost something")
		}
		list, err := b.rt.ListContainers(t.Context(), "")
		if err != nil || len(list) != 1 || list[0].PodUID != uidLive {
			t.Errorf("containers left: %+v %v", list, err)
		}
	})
}

// TestLeftoversOfALostStore: an agent that does not know which pods are its own removes
// nothing until the cloud says which they are.
func TestLeftoversOfALostStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		cfg := b.config()
		c := &census{cloud: b.cloud, bound: []types.UID{uidLate}}
		cfg.Objects = c
		gone, late := mkdir(t, cfg.LogRoot, "ns_gone_"+uidGone), mkdir(t, cfg.LogRoot, "ns_late_"+uidLate)
		b.startWith(cfg)
		defer func() { b.stop() }()
		settle(10 * time.Minute)
		if !exists(gone) || !exists(late) {
			t.Error("logs went while nobody could say whose they are")
		}
		c.mu.Lock()
		c.connected = true
		c.mu.Unlock()
		settle(5 * time.Minute)
		if exists(gone) || !exists(late) {
			t.Errorf("gone: %t, late: %t", exists(gone), exists(late))
		}
	})
}

// logFiles makes the log that a runtime would make at the start of a container.
func logFiles(t *testing.T, b *bench, root string) {
	t.Helper()
	b.rt.FailWith(func(call string) error {
		if !strings.HasPrefix(call, "StartContainer") {
			return nil
		}
		for _, c := range b.rt.Configs() {
			dirs, _ := filepath.Glob(filepath.Join(root, "*", filepath.Dir(c.LogPath)))
			for _, dir := range dirs {
				if err := os.WriteFile(filepath.Join(dir, filepath.Base(c.LogPath)), []byte("x"), 0o600); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// TestLogLinks follows the links to a container's logs over its restarts and the
// agent's.
func TestLogLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		cfg := b.config()
		logFiles(t, b, cfg.LogRoot)
		b.startWith(cfg) // without links: that is an older agent
		p := newPod("web", busybox("serve"))
		b.put(p)
		settle(5 * time.Second)
		b.stop()
		cfg.ContainerLogs.Links = filepath.Join(b.root, "links")
		b.startWith(cfg)
		defer func() { b.stop() }()
		settle(70 * time.Second)
		links := func() []string {
			list, _ := filepath.Glob(cfg.ContainerLogs.Links + "/*")
			for _, l := range list {
				if _, err := os.Stat(l); err != nil {
					t.Errorf("%s dangles", l)
				}
			}
			return list
		}
		list, err := b.rt.ListContainers(t.Context(), "")
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		if got := links(); len(got) != 1 || filepath.Base(got[0]) != "web_default_main-"+list[0].ID+".log" {
			t.Errorf("a container of an older agent: %q", got)
		}
		for range 3 {
			b.rt.Exit("main", 1)
			settle(6 * time.Minute)
		}
		if got := links(); len(got) != 2 {
			t.Errorf("after restarts, of which one is kept: %q", got)
		}
		// Somebody removes a log to free disk space: the runtime opens it again.
		logs, _ := filepath.Glob(cfg.LogRoot + "/*/main/3.log")
		b.rt.ReopenWith(func(runtime.Container) error { return os.WriteFile(logs[0], nil, 0o600) })
		if err := os.Remove(logs[0]); err != nil {
			t.Fatal(err)
		}
		settle(2 * time.Minute)
		if !exists(logs[0]) {
			t.Error("a log that was removed is not opened again")
		}
		b.del(p, 5)
		settle(time.Minute)
		if got := links(); len(got) != 0 {
			t.Errorf("after the pod: %q", got)
		}
	})
}

// TestRemoveDeadKeepsStatus removes the containers of a pod that has ended: its status
// stays, also after a restart of the agent, and its images may be removed.
func TestRemoveDeadKeepsStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		cfg := b.config()
		agent := b.startAgent(cfg)
		job := newPod("job", busybox("main"))
		job.Spec.RestartPolicy = corev1.RestartPolicyNever
		job.Spec.Containers[0].Name = "job"
		b.rt.Behave("job", runtimetest.Program{RunFor: time.Second, ExitCode: 3})
		web := newPod("web", busybox("serve"))
		web.Spec.Containers[0].Image = "quay.io/web:1"
		b.rt.AddImage("quay.io/web:1")
		b.put(job)
		b.put(web)
		settle(time.Minute)
		b.rt.Exit("main", 1) // web is in its back-off: not over
		settle(time.Second)
		b.mu.Lock()
		before := b.status[job.UID]
		b.mu.Unlock()
		if before.Phase != corev1.PodFailed {
			t.Fatalf("%+v", before)
		}
		if err := agent.RemoveDead(t.Context()); err != nil {
			t.Error(err)
		}
		settle(time.Minute)
		list, err := b.rt.ListContainers(t.Context(), "")
		if err != nil || slices.ContainsFunc(list, func(c runtime.Container) bool { return c.PodUID == string(job.UID) }) || len(list) == 0 {
			t.Errorf("%+v %v", list, err)
		}
		freed, err := agent.ReclaimAll(t.Context())
		if _, have, _ := b.rt.ImageStatus(t.Context(), "quay.io/web:1"); !have || err != nil || freed != 1<<20 {
			t.Errorf("freed %d, %v; the image of the pod that runs is there: %t", freed, err, have)
		}
		b.stop()
		b.startAgent(cfg)
		defer func() { b.stop() }()
		settle(2 * time.Minute)
		b.mu.Lock()
		after := b.status[job.UID]
		b.mu.Unlock()
		if !equality.Semantic.DeepEqual(before, after) {
			t.Errorf("before %+v\nafter %+v", before, after)
		}
	})
}

// TestImagesOfPodsThatWait keeps the image of a pod that waits for the name of
// another, of one whose container cannot be made yet, and of what Config names.
func TestImagesOfPodsThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		cfg := b.config()
		cfg.ImageGC.InUse = func() []string { return []string{"quay.io/rollback:1"} }
		for _, name := range []string{"next", "blocked", "rollback", "unused"} {
			b.rt.AddImage("quay.io/" + name + ":1")
		}
		agent := b.startAgent(cfg)
		defer func() { b.stop() }()
		first := newPod("web", busybox("serve"))
		b.rt.Behave("main", runtimetest.Program{StopAfter: 20 * time.Second})
		b.put(first)
		blocked := newPod("blocked", busybox("x"))
		blocked.Spec.Containers[0].Image = "quay.io/blocked:1"
		blocked.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}}}}}
		b.put(blocked)
		settle(10 * time.Second)
		b.del(first, 30)
		next := newPod("web", busybox("serve"))
		next.UID, next.Spec.Containers[0].Image = "next-uid", "quay.io/next:1"
		b.put(next)
		settle(time.Second)
		if _, err := agent.ReclaimAll(t.Context()); err != nil {
			t.Error(err)
		}
		list, err := b.rt.ListImages(t.Context())
		if err != nil || len(list) != 4 || slices.ContainsFunc(list, func(i runtime.Image) bool { return i.Tags[0] == "quay.io/unused:1" }) {
			t.Errorf("%+v %v", list, err)
		}
		settle(time.Minute)
		if b.container("next-uid").State.Running == nil {
			t.Errorf("%+v", b.container("next-uid"))
		}
	})
}

func TestDiskSettings(t *testing.T) {
	for field, edit := range map[string]func(*edged.Config){
		"ContainerLogs.MaxFiles": func(c *edged.Config) { c.ContainerLogs.MaxFiles = 1 }, "ContainerLogs.Workers": func(c *edged.Config) { c.ContainerLogs.Workers = -1 },
		"ContainerLogs.Interval": func(c *edged.Config) { c.ContainerLogs.Interval = time.Second }, "ContainerLogs.Links": func(c *edged.Config) { c.ContainerLogs.Links = "links" },
		"ImageGC.HighThresholdPercent": func(c *edged.Config) { c.ImageGC.HighThresholdPercent = 101 },
		"ImageGC.LowThresholdPercent":  func(c *edged.Config) { c.ImageGC.LowThresholdPercent = 85 },
		"ImageGC.MaximumAge":           func(c *edged.Config) { c.ImageGC.MaximumAge = time.Minute },
	} {
		b := newBench(t)
		cfg := b.config()
		edit(&cfg)
		if _, err := edged.New(cfg); err == nil || !strings.Contains(err.Error(), "Config."+field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
