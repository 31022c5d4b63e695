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

	"github.com/edgekit/edgekit/examples/demo/site"
	"github.com/edgekit/edgekit/examples/demo/tour"
)

//go:embed offline.yaml
var offlineYAML string

// offline has pods that refer to what does not exist, and one whose image is to be
// pulled each time. With no link they start again when they crash, under an
// edgecore that was restarted too, and come back after a reboot.
func offline(t *testing.T, s *site.Site) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
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
	mended := false
	defer func() {
		if !mended {
			_ = s.Network().Mend(context.WithoutCancel(ctx))
		}
	}()
	if err := registry.Close(); err != nil {
		t.Fatal(err)
	}
	t.Run("optional references, a crash", func(t *testing.T) { crashed(ctx, t, s, optional) })
	t.Run("pull policy Always, a crash", func(t *testing.T) { crashed(ctx, t, s, always) })
	t.Run("optional references, edgecore restarted", func(t *testing.T) {
		if err := s.StopEdge(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := s.StartEdge(tour.Node); err != nil {
			t.Fatal(err)
		}
		crashed(ctx, t, s, optional)
	})
	t.Run("a reboot", func(t *testing.T) { rebooted(ctx, t, s, optional, always) })
	t.Run("the link is back", func(t *testing.T) {
		k := newKube(t, s)
		if err := s.Network().Mend(ctx); err != nil {
			t.Fatal(err)
		}
		mended = true
		k.ready(ctx, "optional", 1)
		k.ready(ctx, "always", 1)
		k.event(ctx, "always", func(e corev1.Event) bool {
			return strings.Contains(strings.ToLower(e.Message), "offline") || strings.Contains(e.Message, "out of reach") || strings.Contains(e.Message, "no link")
		})
		// What did not exist is made: it arrives, and with it the volume.
		k.run(ctx, "", "-n", tour.Namespace, "create", "configmap", "late", "--from-literal=mode=late")
		defer k.run(ctx, "", "-n", tour.Namespace, "delete", "configmap", "late")
		k.until(ctx, func() error {
			got, err := s.Fetch(ctx, site.FromHost, k.pods(ctx, "optional")[0].Status.PodIP, "/file?p=/config/mode")
			if err == nil && strings.TrimSpace(got) != "late" {
				err = fmt.Errorf("the volume shows %q", got)
			}
			return err
		})
	})
}

// crashed kills the pod's containers, and waits until as many others run.
func crashed(ctx context.Context, t *testing.T, s *site.Site, pod corev1.Pod) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	k := newKube(t, s)
	old := tasksOf(ctx, t, s, pod)
	if len(old) != 1 {
		t.Fatalf("%d containers of pod %s run", len(old), pod.Name)
	}
	for _, pid := range old {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	k.until(ctx, func() error {
		for id := range tasksOf(ctx, t, s, pod) {
			if old[id] == 0 {
				return nil
			}
		}
		return errors.New("pod " + pod.Name + " was not started again: " + nodeSays(ctx, s, pod))
	})
	t.Logf("pod %s runs again after %v", pod.Name, time.Since(began).Round(100*time.Millisecond))
}

// rebooted takes the machine's power, and waits until the pods run again.
func rebooted(ctx context.Context, t *testing.T, s *site.Site, pods ...corev1.Pod) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	k := newKube(t, s)
	if err := s.KillEdge(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.PowerCut(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.StartEdge(tour.Node); err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods {
		k.until(ctx, func() error {
			if len(tasksOf(ctx, t, s, pod)) == 0 {
				return errors.New("pod " + pod.Name + " did not come back: " + nodeSays(ctx, s, pod))
			}
			return nil
		})
	}
}

// nodeSays is what the node itself says about a pod.
func nodeSays(ctx context.Context, s *site.Site, pod corev1.Pod) string {
	out, err := s.RunOnNode(ctx, "edgectl", "describe", "pod", pod.Name, "-n", pod.Namespace, "--data-dir", s.DataDir(tour.Node))
	if err != nil {
		return err.Error()
	}
	return out
}

// tasksOf gives the process of each of the pod's containers that runs, without
// its sandbox, whose program is pause.
func tasksOf(ctx context.Context, t *testing.T, s *site.Site, pod corev1.Pod) map[string]int {
	t.Helper()
	tasks, err := s.RunningTasks(ctx)
	if err != nil {
		t.Fatal(err)
	}
	own := make(map[string]int)
	for id, pid := range tasks {
		proc := filepath.Join("/proc", strconv.Itoa(pid))
		cgroup, err := os.ReadFile(filepath.Join(proc, "cgroup"))
		if err != nil || !strings.Contains(string(cgroup), string(pod.UID)) {
			continue
		}
		name, err := os.ReadFile(filepath.Join(proc, "comm"))
		if err == nil && strings.TrimSpace(string(name)) != "pause" {
			own[id] = pid
		}
	}
	return own
}
