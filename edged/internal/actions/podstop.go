package actions

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/hooks"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/runtime"
)

// killPod stops the pod's containers side by side, then its sidecars one after the
// other, the last first, then its sandboxes. The preStop hooks of all containers
// begin at once; only the stop signal of a sidecar waits (KEP-753):
// https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
func (r *execution) killPod(ctx context.Context, a plan.Action) error {
	if a.Reason != "" {
		r.sandboxEvent(a.Reason)
	}
	candidates := r.stopOrder()
	errs, stopped := make([]error, len(candidates)), make([]chan struct{}, len(candidates))
	for i := range stopped {
		stopped[i] = make(chan struct{})
	}
	var wg sync.WaitGroup
	for i, c := range candidates {
		earlier := slices.IndexFunc(candidates, func(o stopCandidate) bool { return o.order == c.order })
		wg.Go(func() {
			defer close(stopped[i])
			errs[i] = r.kill(ctx, c.Container, a.Grace, "", stopped[:earlier]...)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, sb := range r.s.View.Sandboxes {
		if err := r.stopSandbox(ctx, plan.Action{ID: sb.ID}); err != nil {
			return err
		}
	}
	return nil
}

// stopSandbox stops one sandbox and remembers that it needs no other stop.
func (r *execution) stopSandbox(ctx context.Context, a plan.Action) error {
	release := r.p.stopSlots.Acquire(ctx)
	err := r.p.cfg.Runtime.StopSandbox(ctx, a.ID)
	release()
	if err != nil {
		return err
	}
	r.owner.Update(func(m *Memory) { m.Stopped[a.ID] = true })
	if a.Reason != "" {
		r.sandboxEvent(a.Reason)
	}
	return nil
}

// sandboxEvent records that the pod gets a new sandbox.
func (r *execution) sandboxEvent(reason string) {
	r.p.cfg.Events.Pod(r.pod, corev1.EventTypeNormal, reason, "Pod sandbox changed, it will be killed and re-created.")
}

// stopCandidate is a container to be stopped. Those of the lowest order are
// stopped first.
type stopCandidate struct {
	runtime.Container
	order int
}

// stopOrder lists the running containers in the order in which they are stopped:
// all but sidecars at once, then one sidecar after the other, the last of the spec
// first.
func (r *execution) stopOrder() []stopCandidate {
	var out []stopCandidate
	for _, c := range r.s.View.Running() {
		s := stopCandidate{Container: c}
		for i := range r.pod.Spec.InitContainers {
			if spec := &r.pod.Spec.InitContainers[i]; spec.Name == c.Name && podspec.IsSidecar(spec) {
				s.order = len(r.pod.Spec.InitContainers) - i
			}
		}
		out = append(out, s)
	}
	slices.SortStableFunc(out, func(a, b stopCandidate) int { return cmp.Compare(a.order, b.order) })
	return out
}

// kill stops one container within grace: its preStop hook first, then the stop
// signal, which waits until all channels of after are closed. The hook's time is
// part of the grace period:
// https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/
func (r *execution) kill(ctx context.Context, c runtime.Container, grace time.Duration, reason string, after ...chan struct{}) error {
	if reason == "" {
		reason = "Stopping container " + c.Name
	}
	if r.pod.Name != "" {
		r.p.cfg.Events.Container(r.pod, c.Name, corev1.EventTypeNormal, "Killing", reason)
	}
	began := time.Now()
	if grace > 0 {
		r.runPreStop(ctx, c, grace)
	}
	for _, stopped := range after {
		select {
		case <-stopped:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	// The hook has used a part of the grace period.
	left := max(grace-time.Since(began), plan.MinStopTimeout)
	return r.p.cfg.Runtime.StopContainer(ctx, c.ID, left)
}

// runPreStop runs the hook that a running container was created with. A hook that
// fails does not keep the container from being stopped. The annotations are edged's
// own, made of a pod that was bounded when it came; only root on this machine can
// give a container others.
func (r *execution) runPreStop(ctx context.Context, c runtime.Container, grace time.Duration) {
	text := c.Annotations[runtime.AnnotationPreStop]
	if text == "" {
		return
	}
	var h corev1.LifecycleHandler
	var ports []corev1.ContainerPort
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		r.p.cfg.Logger.Warn("a container carries a damaged hook", "container", c.ID, "err", err)
		return
	}
	if p := c.Annotations[runtime.AnnotationPorts]; p != "" {
		if err := json.Unmarshal([]byte(p), &ports); err != nil {
			r.p.cfg.Logger.Warn("a container carries damaged ports", "container", c.ID, "err", err)
		}
	}
	if err := hooks.Run(ctx, r.hookTarget(c.ID, ports), &h, grace); err != nil && ctx.Err() == nil && r.pod.Name != "" {
		r.p.cfg.Events.Container(r.pod, c.Name, corev1.EventTypeWarning, "FailedPreStopHook", fmt.Sprintf("PreStopHook failed: %v", err))
	}
}

// hookTarget is a container of the pod as a hook sees it.
func (r *execution) hookTarget(id string, ports []corev1.ContainerPort) hooks.Target {
	fallback := func(message string) {
		if r.pod.Name != "" {
			r.p.cfg.Events.Pod(r.pod, corev1.EventTypeWarning, "LifecycleHTTPFallback", message)
		}
	}
	return hooks.Target{Executor: r.p.cfg.Runtime, ContainerID: id, PodIP: r.pod.Status.PodIP, Ports: ports, Fallback: fallback}
}
