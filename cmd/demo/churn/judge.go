package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// judge sees each status that the API server shows, and keeps what is wrong.
type judge struct {
	kinds   map[string]kind // by label
	stopped chan struct{}

	mu    sync.Mutex
	last  map[types.UID]corev1.PodPhase
	wrong []string
}

func newJudge(kinds []kind) *judge {
	j := &judge{kinds: make(map[string]kind), stopped: make(chan struct{}), last: make(map[types.UID]corev1.PodPhase)}
	for _, k := range kinds {
		j.kinds[labelOf(k)] = k
	}
	return j
}

func labelOf(k kind) string { return strings.ReplaceAll(k.name, " ", "-") }

// watch looks at every change of a pod until stop is called.
func (j *judge) watch(ctx context.Context, w *world) error {
	for {
		events, err := w.pods.Watch(ctx, metav1.ListOptions{LabelSelector: label})
		if err != nil {
			return err
		}
		for open := true; open; {
			var e watch.Event
			select {
			case <-j.stopped:
				events.Stop()
				return nil
			case <-ctx.Done():
				events.Stop()
				return nil
			case e, open = <-events.ResultChan():
			}
			if p, ok := e.Object.(*corev1.Pod); ok && e.Type != watch.Deleted {
				j.see(p)
			}
		}
	}
}

func (j *judge) stop() { close(j.stopped) }

// see judges one status. A pod that was deleted may end in any way; one that was
// evicted from the full disk is Failed whatever its kind.
func (j *judge) see(p *corev1.Pod) {
	j.mu.Lock()
	defer j.mu.Unlock()
	k, phase := j.kinds[p.Labels[label]], p.Status.Phase
	if before := j.last[p.UID]; slices.Contains(notOver, before) && phase != before {
		j.note("pod %s (%s) was %s and is %s", p.Name, k.name, before, phase)
	}
	j.last[p.UID] = phase
	if p.DeletionTimestamp != nil || p.Status.Reason == "Evicted" {
		return
	}
	if slices.Contains(k.never, phase) {
		j.note("pod %s (%s) is %s: %s %s%s", p.Name, k.name, phase, p.Status.Reason, p.Status.Message, containerStates(p))
	}
	if k.end == corev1.PodRunning && k.name != "crashes" {
		for _, c := range p.Status.ContainerStatuses {
			if t := c.LastTerminationState.Terminated; t != nil && !t.StartedAt.IsZero() && t.ContainerID != "" && t.Reason != "StartError" {
				j.note("pod %s (%s): container %s ran and was restarted: %s, exit code %d", p.Name, k.name, c.Name, t.Reason, t.ExitCode)
			}
		}
	}
}

func containerStates(p *corev1.Pod) string {
	var b strings.Builder
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if t := c.State.Terminated; t != nil {
			fmt.Fprintf(&b, "; %s: %s %d %s", c.Name, t.Reason, t.ExitCode, t.Message)
		}
	}
	return b.String()
}

func (j *judge) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.note(format, args...)
}

// note keeps a finding once. j.mu is held.
func (j *judge) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(j.wrong, text) {
		fmt.Println("  wrong:", text)
		j.wrong = append(j.wrong, text)
	}
}

// found gives what was wrong so far.
func (j *judge) found() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.wrong)
}
