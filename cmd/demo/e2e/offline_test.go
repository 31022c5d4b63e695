package e2e

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

//go:embed offline.yaml
var offlineYAML string

// offline has pods that refer to what does not exist, and one whose image is to be
// pulled each time. With no link they start again when they crash, under an
// edgecore that was restarted too, and come back after a reboot.
func offline(t *testing.T, s *site.Site) {
	ctx := within(t, 4*time.Minute)
	k := newKube(t, s)
	registry, err := s.ServeImage(ctx, s.ImageProgram("web"))
	if err != nil {
		t.Fatal(err)
	}
	defer registry.Close()
	k.run(ctx, filled(offlineYAML, "NODE", tour.Node, "IMAGE", site.RegistryAddress+"/shop/web:latest"), "apply", "-f", "-")
	defer remove(t, s, "pods", "suite=offline")
	k.ready(ctx, "optional", 1)
	k.ready(ctx, "always", 1)
	if registry.Pulls() == 0 {
		t.Fatal("the image was not pulled")
	}
	optional, always := k.pods(ctx, "optional")[0], k.pods(ctx, "always")[0]
	if err := s.Network().Cut(ctx); err != nil {
		t.Fatal(err)
	}
	mend := func() {
		if err := s.Network().Mend(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}
	defer mend() // also if a subtest ends early; twice is no error
	if err := registry.Close(); err != nil {
		t.Fatal(err)
	}
	t.Run("optional references, a crash", func(t *testing.T) { crashed(t, s, optional) })
	if err := s.StopEdge(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.StartEdge(tour.Node); err != nil { // it never has a link
		t.Fatal(err)
	}
	t.Run("optional references, edgecore restarted", func(t *testing.T) { crashed(t, s, optional) })
	t.Run("pull policy Always, a crash", func(t *testing.T) { crashed(t, s, always) })
	if err := s.KillEdge(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.PowerCut(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.StartEdge(tour.Node); err != nil {
		t.Fatal(err)
	}
	t.Run("optional references, a reboot", func(t *testing.T) { runsAgain(t, s, optional, nil) })
	t.Run("pull policy Always, a reboot", func(t *testing.T) { runsAgain(t, s, always, nil) })
	mend()
	t.Run("pull policy Always, an event", func(t *testing.T) {
		newKube(t, s).event(within(t, time.Minute), "always", saysOffline)
	})
	t.Run("what did not exist is made", func(t *testing.T) { arrives(t, s) })
}

// saysOffline is an event that says that an image was used without asking its
// registry, since there is no link.
func saysOffline(e corev1.Event) bool {
	text := strings.ToLower(e.Message)
	return strings.Contains(text, "offline") || strings.Contains(text, "out of reach") || strings.Contains(text, "no link")
}

// arrives makes the config map of an optional volume: it comes to the node, and
// into the volume.
func arrives(t *testing.T, s *site.Site) {
	ctx, k := within(t, 90*time.Second), newKube(t, s)
	k.ready(ctx, "optional", 1)
	k.run(ctx, "", "-n", tour.Namespace, "create", "configmap", "late", "--from-literal=mode=late")
	defer k.run(context.WithoutCancel(ctx), "", "-n", tour.Namespace, "delete", "configmap", "late")
	k.until(ctx, func() error {
		got, err := s.Fetch(ctx, site.FromHost, k.pods(ctx, "optional")[0].Status.PodIP, "/file?p=/config/mode")
		if err == nil && strings.TrimSpace(got) != "late" {
			err = fmt.Errorf("the volume shows %q", got)
		}
		return err
	})
}

// crashed kills the pod's container, and waits until it runs again.
func crashed(t *testing.T, s *site.Site, pod corev1.Pod) {
	t.Helper()
	old, err := podTasks(t.Context(), s, pod)
	if err != nil || len(old) != 1 {
		t.Fatalf("%d containers of pod %s run, %v: %s", len(old), pod.Name, err, nodeSays(t.Context(), s, pod))
	}
	for _, pid := range old {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	runsAgain(t, s, pod, old)
}

// runsAgain waits until a container of the pod runs that is none of the old ones.
func runsAgain(t *testing.T, s *site.Site, pod corev1.Pod, old map[string]int) {
	t.Helper()
	ctx, began := within(t, time.Minute), time.Now()
	newKube(t, s).until(ctx, func() error {
		tasks, err := podTasks(ctx, s, pod)
		if err != nil {
			return err
		}
		for id := range tasks {
			if old[id] == 0 {
				return nil
			}
		}
		return errors.New("pod " + pod.Name + " was not started again: " + nodeSays(ctx, s, pod))
	})
	t.Logf("pod %s runs again after %v", pod.Name, time.Since(began).Round(100*time.Millisecond))
}

// nodeSays is what the node itself says about a pod.
func nodeSays(ctx context.Context, s *site.Site, pod corev1.Pod) string {
	out, err := s.RunOnNode(ctx, "edgectl", "describe", "pod", pod.Name, "-n", pod.Namespace, "--data-dir", s.DataDir(tour.Node))
	if err != nil {
		return err.Error()
	}
	return out
}

// podTasks returns the process of each of the pod's containers that runs, without
// its sandbox, whose program is pause.
func podTasks(ctx context.Context, s *site.Site, pod corev1.Pod) (map[string]int, error) {
	tasks, err := s.RunningTasks(ctx)
	if err != nil {
		return nil, err
	}
	own := make(map[string]int)
	for id, pid := range tasks {
		proc := filepath.Join("/proc", strconv.Itoa(pid))
		cgroup, err := os.ReadFile(filepath.Join(proc, "cgroup"))
		if err != nil || !strings.Contains(string(cgroup), string(pod.UID)) {
			continue // it ended just now, or is another pod's
		}
		name, err := os.ReadFile(filepath.Join(proc, "comm"))
		if err == nil && strings.TrimSpace(string(name)) != "pause" {
			own[id] = pid
		}
	}
	return own, nil
}
