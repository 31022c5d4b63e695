package reclaim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/internal/podlogs"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

func TestPlanDead(t *testing.T) {
	box := func(uid string, ready bool) runtime.Sandbox {
		return runtime.Sandbox{ID: "box-" + uid, PodUID: uid, Ready: ready}
	}
	ctr := func(uid string, s runtime.ContainerState) runtime.Container {
		return runtime.Container{ID: "ctr-" + uid, PodUID: uid, State: s}
	}
	for name, tt := range map[string]struct {
		sandboxes  []runtime.Sandbox
		containers []runtime.Container
		want       string
	}{
		"over":                     {[]runtime.Sandbox{box("over", false)}, []runtime.Container{ctr("over", runtime.ContainerExited)}, "ctr-over box-over"},
		"over, without a sandbox":  {nil, []runtime.Container{ctr("over", runtime.ContainerExited)}, "ctr-over"},
		"not over":                 {[]runtime.Sandbox{box("x", false)}, []runtime.Container{ctr("x", runtime.ContainerExited)}, ""},
		"its sandbox runs":         {[]runtime.Sandbox{box("over", true)}, []runtime.Container{ctr("over", runtime.ContainerExited)}, ""},
		"a container runs":         {[]runtime.Sandbox{box("over", false)}, []runtime.Container{ctr("over", runtime.ContainerRunning)}, ""},
		"a container is unknown":   {[]runtime.Sandbox{box("over", false)}, []runtime.Container{ctr("over", runtime.ContainerUnknown)}, ""},
		"a container is not begun": {[]runtime.Sandbox{box("over", false)}, []runtime.Container{ctr("over", runtime.ContainerCreated)}, ""},
	} {
		p := planDead(tt.sandboxes, tt.containers, func(uid string) bool { return uid == "over" })
		var got []string
		for _, c := range p.containers {
			got = append(got, c.ID)
		}
		if text := strings.Join(append(got, p.sandboxes...), " "); text != tt.want {
			t.Errorf("%s: %q, want %q", name, text, tt.want)
		}
	}
}

func TestRemoveDead(t *testing.T) {
	rt, ctx := runtimetest.New(), t.Context()
	root, links := t.TempDir(), t.TempDir()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "u"}}
	file := podlogs.File(root, pod, "main", 0)
	box, err := rt.RunSandbox(ctx, &runtime.SandboxConfig{Name: "web", UID: "u", Labels: labels("u")})
	if err != nil {
		t.Fatal(err)
	}
	id, err := rt.CreateContainer(ctx, box, &runtime.ContainerConfig{Name: "main", Labels: labels("u")}, nil)
	err = errors.Join(err, rt.StartContainer(ctx, id), os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o600),
		os.WriteFile(file+".20260101-000000.gz", nil, 0o600), os.WriteFile(filepath.Dir(file)+"/10.log", nil, 0o600), podlogs.Link(links, file, pod, "main", id))
	if err != nil {
		t.Fatal(err)
	}
	over, orphans := false, 0
	broken := errors.New("offline")
	c, err := NewContainers(ContainersConfig{
		Runtime: rt, LogRoot: root, LogLinks: links, IsOver: func(string) bool { return over },
		RemoveOrphans: func(context.Context) error { orphans++; return broken },
	})
	if err != nil {
		t.Fatal(err)
	}
	left := func() string {
		t.Helper()
		list, err := rt.ListContainers(ctx, "")
		boxes, err2 := rt.ListSandboxes(ctx, "")
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		files, _ := filepath.Glob(filepath.Dir(file) + "/*")
		names, _ := filepath.Glob(links + "/*")
		return fmt.Sprint(len(list), len(boxes), len(files), len(names))
	}
	if err := c.RemoveDead(ctx); !errors.Is(err, broken) || left() != "1 1 3 1" {
		t.Errorf("a pod that runs: %v %s", err, left())
	}
	over = true // others say so
	if err := c.RemoveDead(ctx); !errors.Is(err, broken) || left() != "1 1 3 1" {
		t.Errorf("a pod of which something runs: %v %s", err, left())
	}
	rt.KillSandboxes()
	rt.FailWith(func(call string) error {
		if strings.HasPrefix(call, "RemoveContainer") {
			return broken
		}
		return nil
	})
	if err := c.RemoveDead(ctx); !errors.Is(err, broken) || left() != "0 0 3 1" { // the sandbox takes it along
		t.Errorf("a runtime that fails: %v %s", err, left())
	}
	rt.FailWith(nil)
	if orphans != 3 {
		t.Errorf("orphans were looked for %d times", orphans)
	}
}

// TestRemoveDeadLogs removes the log and the link of a container with it.
func TestRemoveDeadLogs(t *testing.T) {
	n := newLogNode(t)
	links := t.TempDir()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "u"}}
	if err := errors.Join(podlogs.Link(links, n.file, pod, "main", n.id), os.WriteFile(n.file+".20260101-000000.gz", nil, 0o600),
		os.WriteFile(filepath.Join(filepath.Dir(n.file), "10.log"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	n.rt.KillSandboxes()
	c, err := NewContainers(ContainersConfig{Runtime: n.rt, LogRoot: n.root, LogLinks: links, IsOver: func(uid string) bool { return uid == "u" }})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.RemoveDead(t.Context()); err != nil {
		t.Error(err)
	}
	files, _ := filepath.Glob(filepath.Dir(n.file) + "/*")
	names, _ := filepath.Glob(links + "/*")
	if len(files) != 1 || filepath.Base(files[0]) != "10.log" || len(names) != 0 {
		t.Errorf("%q %q", files, names)
	}
	if calls := n.rt.Calls(); !slices.Contains(calls, "RemoveContainer main") || calls[len(calls)-1] != "RemoveSandbox web" {
		t.Errorf("%q", calls)
	}
}

func TestContainersConfig(t *testing.T) {
	rt, over := runtimetest.New(), func(string) bool { return false }
	for name, cfg := range map[string]ContainersConfig{
		"Runtime": {LogRoot: "/logs", IsOver: over}, "LogRoot": {Runtime: rt, IsOver: over}, "IsOver": {Runtime: rt, LogRoot: "/logs"},
	} {
		if _, err := NewContainers(cfg); err == nil || !strings.Contains(err.Error(), "ContainersConfig."+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
