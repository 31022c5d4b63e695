package site

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestNewFindsTheRepository(t *testing.T) {
	s, err := New(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(s.repo, "cmd", "edgecore")); err != nil {
		t.Error(err)
	}
	t.Chdir("/")
	if _, err := New(Config{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "repository") {
		t.Errorf("outside of it: %v", err)
	}
}

func TestRunTellsHowAProgramFailed(t *testing.T) {
	out, err := run(t.Context(), "sh", []string{"/bin/sh", "-c", "echo out; echo wrong >&2; exit 3"})
	failed := (*ProgramError)(nil)
	if !errors.As(err, &failed) || failed.Code != 3 || failed.Stderr != "wrong\n" || out != "out\n" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := run(t.Context(), "none", []string{"/does/not/exist"}); err == nil || errors.As(err, &failed) {
		t.Errorf("a program that is not there: %v", err)
	}
}

func TestPodReady(t *testing.T) {
	pod := &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}}
	if podReady(pod) {
		t.Error("Ready without an address")
	}
	pod.Status.PodIP = "10.0.0.1"
	if !podReady(pod) {
		t.Error("not Ready")
	}
}

func TestDescribe(t *testing.T) {
	pod := corev1.Pod{}
	pod.Name = "web-1"
	pod.Status.Phase = corev1.PodPending
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}}}}
	if got := describe([]corev1.Pod{pod}); !strings.Contains(got, "web-1 is Pending, ErrImagePull") {
		t.Error(got)
	}
	if got := describe(nil); got != "there is none" {
		t.Error(got)
	}
}

func TestEdgeLeavesNothingOutsideOfTheSite(t *testing.T) {
	s, err := New(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Join(s.EdgeArgs("edge-1"), " ")
	for _, want := range []string{"--data-dir " + s.Dir(), "--pod-log-dir " + s.Dir(), "--cgroup-root " + s.CgroupRoot()} {
		if !strings.Contains(args, want) {
			t.Errorf("%s lacks %s", args, want)
		}
	}
}
