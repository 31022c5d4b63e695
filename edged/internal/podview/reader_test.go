package podview_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/podlogs"
	"github.com/edgekit/edgekit/edged/internal/podtest"
	"github.com/edgekit/edgekit/edged/internal/podview"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// node is a Reader with the runtime and the folders that it reads.
type node struct {
	*podview.Reader

	rt         *runtimetest.Runtime
	root, logs string
	pod        *corev1.Pod
	sandbox    string
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{rt: runtimetest.New(), root: t.TempDir(), logs: t.TempDir(), pod: podtest.New(corev1.RestartPolicyNever, "main")}
	n.Reader = podview.New(podview.Config{Runtime: n.rt, PodDir: func(uid string) string { return filepath.Join(n.root, uid) }, LogRoot: n.logs})
	var err error
	if n.sandbox, err = n.rt.RunSandbox(t.Context(), &runtime.SandboxConfig{Name: n.pod.Name, Namespace: n.pod.Namespace, UID: string(n.pod.UID)}); err != nil {
		t.Fatal(err)
	}
	return n
}

// exit runs a container of the pod to its end.
func (n *node) exit(t *testing.T, name string, code int32, annotations map[string]string) string {
	t.Helper()
	id, err := n.rt.CreateContainer(t.Context(), n.sandbox, &runtime.ContainerConfig{Name: name, Annotations: annotations}, nil)
	if err == nil {
		err = n.rt.StartContainer(t.Context(), id)
	}
	if err != nil {
		t.Fatal(err)
	}
	n.rt.Exit(name, code)
	return id
}

// write makes a file with its folders.
func write(t *testing.T, file, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestMessages: the termination message comes from the file inside the pod's folder, bounded, or
// from the end of the log where the pod asks for that and the container failed. A path outside
// the folder is not read.
func TestMessages(t *testing.T) {
	n := newNode(t)
	folder := filepath.Join(n.root, "uid", "containers", "main")
	log := string(corev1.TerminationMessageFallbackToLogsOnError)
	write(t, podlogs.File(n.logs, n.pod, "logged", 0), "2026-01-01T00:00:00Z stderr F the end\n")
	write(t, podlogs.File(n.logs, n.pod, "fine", 0), "2026-01-01T00:00:00Z stderr F the end\n")
	cases := map[string]struct {
		code  int32
		notes map[string]string
		want  string
	}{
		"file":    {0, map[string]string{runtime.AnnotationTerminationMessage: write(t, filepath.Join(folder, "a"), "done")}, "done"},
		"long":    {0, map[string]string{runtime.AnnotationTerminationMessage: write(t, filepath.Join(folder, "b"), strings.Repeat("x", 10_000))}, strings.Repeat("x", 4096)},
		"outside": {0, map[string]string{runtime.AnnotationTerminationMessage: write(t, filepath.Join(t.TempDir(), "c"), "secret")}, ""},
		"logged":  {1, map[string]string{runtime.AnnotationTerminationPolicy: log}, "the end"},
		"fine":    {0, map[string]string{runtime.AnnotationTerminationPolicy: log}, ""},
	}
	ids := make(map[string]string)
	for name, tt := range cases {
		ids[name] = n.exit(t, name, tt.code, tt.notes)
	}
	view, err := n.Read(t.Context(), n.pod)
	if err != nil || len(view.Containers) != len(cases) || view.Sandbox() == nil || len(view.Sandbox().IPs) == 0 {
		t.Fatalf("%+v, %v", view, err)
	}
	for name, tt := range cases {
		if got := strings.TrimSpace(n.Messages()[ids[name]]); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// TestExitedOnce: a container that has exited is asked for once, and its message goes with it.
func TestExitedOnce(t *testing.T) {
	n := newNode(t)
	file := write(t, filepath.Join(n.root, "uid", "containers", "main", "a"), "done")
	id := n.exit(t, "main", 0, map[string]string{runtime.AnnotationTerminationMessage: file})
	for range 2 {
		if _, err := n.Read(t.Context(), n.pod); err != nil {
			t.Fatal(err)
		}
		if got := n.Messages()[id]; got != "done" {
			t.Errorf("the message is %q", got)
		}
		if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	if err := n.rt.RemoveContainer(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if view, err := n.Read(t.Context(), n.pod); err != nil || len(view.Containers) != 0 || len(n.Messages()) != 0 {
		t.Errorf("%+v, %q, %v", view, n.Messages(), err)
	}
}
