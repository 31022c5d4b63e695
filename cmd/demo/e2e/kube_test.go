package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

// kube looks at the cluster without minding whether edgecore runs.
type kube struct {
	t *testing.T
	s *site.Site
}

func newKube(t *testing.T, s *site.Site) kube { return kube{t, s} }

func (k kube) run(ctx context.Context, input string, args ...string) string {
	k.t.Helper()
	out, err := k.s.Kube().Run(ctx, input, args...)
	if err != nil {
		k.t.Fatal(err)
	}
	return out
}

// pods returns the pods of an app.
func (k kube) pods(ctx context.Context, app string) []corev1.Pod {
	k.t.Helper()
	var list corev1.PodList
	if err := k.s.Kube().Get(ctx, &list, "pods", "-n", tour.Namespace, "-l", "app="+app); err != nil {
		k.t.Fatal(err)
	}
	return list.Items
}

// until looks every half second until ok returns nil.
func (k kube) until(ctx context.Context, ok func() error) {
	k.t.Helper()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := ok()
		if err == nil {
			return
		}
		if last == nil || ctx.Err() == nil {
			last = err // a look that the end of the wait cut short says nothing
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			k.t.Fatalf("waited in vain: %v", last)
		}
	}
}

// within returns a test so much time.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// ready waits until just n pods of an app are there, all of them Ready.
func (k kube) ready(ctx context.Context, app string, n int) {
	k.t.Helper()
	k.until(ctx, func() error {
		pods := k.pods(ctx, app)
		for _, p := range pods {
			ready := false
			for _, c := range p.Status.Conditions {
				ready = ready || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
			}
			if !ready || p.DeletionTimestamp != nil {
				return fmt.Errorf("pod %s is %s, ready %t, ending %v", p.Name, p.Status.Phase, ready, p.DeletionTimestamp)
			}
		}
		if len(pods) != n {
			return fmt.Errorf("%d pods of %s, want %d", len(pods), app, n)
		}
		return nil
	})
}

// containersOf returns the ids of the pods' containers.
func containersOf(pods []corev1.Pod) map[string]bool {
	ids := make(map[string]bool)
	for _, p := range pods {
		for _, c := range p.Status.ContainerStatuses {
			_, id, _ := strings.Cut(c.ContainerID, "://")
			ids[id] = true
		}
	}
	return ids
}

// processes returns for each running container, sandboxes included, which process
// it is: its id and when the kernel started it.
func processes(ctx context.Context, t *testing.T, s *site.Site) map[string]string {
	t.Helper()
	tasks, err := s.RunningTasks(ctx)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for id, pid := range tasks {
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err != nil {
			continue // it ended just now
		}
		// The program's name, in parentheses, may hold anything; starttime is
		// the 20th field after it.
		rest := string(stat[strings.LastIndexByte(string(stat), ')')+1:])
		all[id] = fmt.Sprintf("%d started at %s", pid, strings.Fields(rest)[19])
	}
	return all
}

// restarted holds that each container is the process that it was, and counts
// those that are not.
func restarted(t *testing.T, before, after map[string]string) (n int) {
	t.Helper()
	for id, was := range before {
		if is := after[id]; is != was {
			n++
			t.Errorf("container %s was process %s and is %q", id, was, is)
		}
	}
	return n
}

// sandboxOf finds a pod's sandbox by the process that holds its network: the one
// running container that is no container of any pod and has the pod's uid in
// its cgroup.
func sandboxOf(ctx context.Context, t *testing.T, s *site.Site, pod corev1.Pod) string {
	t.Helper()
	tasks, err := s.RunningTasks(ctx)
	if err != nil {
		t.Fatal(err)
	}
	own := containersOf([]corev1.Pod{pod})
	for id, pid := range tasks {
		cgroup, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
		if err == nil && !own[id] && strings.Contains(string(cgroup), string(pod.UID)) {
			return id
		}
	}
	t.Fatalf("the sandbox of pod %s was not found", pod.Name)
	return ""
}
