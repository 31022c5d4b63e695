package edged

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/runtime"
)

// ErrNoRestart says that a container cannot be restarted: it does not run, or its restart
// policy is Never, so that its pod would end if the agent stopped in between.
var ErrNoRestart = errors.New("the container cannot be restarted")

// RestartContainers restarts containers of a pod, or all that run if none is named: each is
// stopped as by a failed liveness probe, with its preStop hook and the pod's grace period, and
// started again without a back-off. The pod stays, with its addresses and volumes. Init
// containers other than sidecars are not restarted. It returns the names of the containers
// when they are about to be stopped. The error is a *NoPodError or wraps ErrNoRestart.
func (a *Agent) RestartContainers(ctx context.Context, namespace, name string, containers ...string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var w *worker
	a.eachWorker(func(o *worker) {
		if pod := o.spec(); pod.Namespace == namespace && pod.Name == name && (w == nil || w.spec().DeletionTimestamp != nil) {
			w = o
		}
	})
	if w == nil {
		return nil, &NoPodError{namespace, name}
	}
	pod := w.snapshot()
	if pod == nil || pod.DeletionTimestamp != nil {
		return nil, fmt.Errorf("edged: pod %s/%s is ending: %w", namespace, name, ErrNoRestart)
	}
	names, err := restartable(pod, containers)
	if err != nil {
		return nil, fmt.Errorf("edged: pod %s: %w", podspec.Title(pod), err)
	}
	w.updateMemory(func(m *memory) {
		if m.restart == nil {
			m.restart = make(map[string]string)
		}
		for _, n := range names {
			_, m.restart[n], _ = strings.Cut(plan.FindStatus(&pod.Status, n).ContainerID, "://")
		}
	})
	w.wakeUp()
	return names, nil
}

// restartable returns the containers that can be restarted, of those that are wanted; all if
// none is.
func restartable(pod *corev1.Pod, wanted []string) ([]string, error) {
	running := make(map[string]bool)
	for _, st := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		running[st.Name] = st.State.Running != nil
	}
	var names []string
	check := func(c *corev1.Container, never bool) error {
		asked := slices.Contains(wanted, c.Name)
		switch {
		case len(wanted) > 0 && !asked:
			return nil
		case never && running[c.Name]:
			return fmt.Errorf("%w: the restart policy of %s is Never: delete the pod instead", ErrNoRestart, c.Name)
		case running[c.Name]:
			names = append(names, c.Name)
		case asked:
			return fmt.Errorf("%w: %s does not run", ErrNoRestart, c.Name)
		}
		return nil
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; podspec.IsSidecar(c) {
			if err := check(c, false); err != nil {
				return nil, err
			}
		}
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		never := pod.Spec.RestartPolicy == corev1.RestartPolicyNever
		if c.RestartPolicy != nil {
			never = *c.RestartPolicy == corev1.ContainerRestartPolicyNever
		}
		if err := check(c, never); err != nil {
			return nil, err
		}
	}
	for _, n := range wanted {
		if !slices.Contains(names, n) {
			return nil, fmt.Errorf("%w: the pod has no container %s that can be restarted", ErrNoRestart, n)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%w: none of its containers runs", ErrNoRestart)
	}
	return names, nil
}

// restartLocked reports whether a running container is to be restarted: the one that ran when
// that was asked, and not its successor, also when it has exited by itself since.
func (w *worker) restartLocked(c runtime.Container) bool {
	id, asked := w.mem.restart[c.Name]
	if asked && id != c.ID {
		delete(w.mem.restart, c.Name)
	}
	return asked && id == c.ID
}
