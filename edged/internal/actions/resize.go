package actions

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/cgroup"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/internal/resize"
	"github.com/edgekit/edgekit/edged/runtime"
)

// The waits after a change that failed, doubling.
const (
	resizeRetryFirst = time.Second
	resizeRetryMax   = time.Minute
)

// resize sets what the pod was granted. A failure keeps no container from starting:
// it is noted in the pod's status, and tried again.
func (r *execution) resize(ctx context.Context) {
	began := time.Now()
	err := r.actuate(ctx)
	if ctx.Err() != nil {
		return
	}
	r.p.cfg.ResizeMetrics.Done(err == nil, time.Since(began))
	if err != nil {
		r.resizeFailed(ctx, err)
		r.backOff(plan.RetryResize, resizeRetryFirst, resizeRetryMax)
		return
	}
	r.clearBackOff(plan.RetryResize)
	r.owner.Update(func(m *Memory) {
		m.Resize.Group = false
		if c := m.Resize.InProgress; c != nil {
			m.Resize.InProgress = &plan.ResizeCondition{Generation: c.Generation}
		}
		// The containers that are gone need no note any more.
		for id := range m.Resize.Record.Actuated {
			if c := containerByID(r.s.View, id); c == nil || c.State != runtime.ContainerRunning {
				delete(m.Resize.Record.Actuated, id)
			}
		}
		m.Resize.Record.ActuatedPod = r.pod.Spec.Resources.DeepCopy()
		m.Resize.Unstored = true
	})
}

func containerByID(v plan.View, id string) *runtime.Container {
	for i := range v.Containers {
		if v.Containers[i].ID == id {
			return &v.Containers[i]
		}
	}
	return nil
}

// actuate brings the pod's cgroup and its running containers to what was granted.
func (r *execution) actuate(ctx context.Context) error {
	resizer, ok := r.p.cfg.Runtime.(runtime.Resizer)
	if !ok {
		return errors.New("the container runtime cannot change the resources of containers")
	}
	changes := plan.InPlace(r.s)
	class, uid := podspec.QOSClass(r.pod), string(r.pod.UID)
	desired := r.p.podLimits(r.pod)
	desired.HugePages, desired.Pids = nil, 0 // which do not change
	current, own, err := r.podLimits(class, uid)
	if err != nil {
		return fmt.Errorf("unable to get pod cgroup config for pod %q: %w", podspec.Title(r.pod), err)
	}
	if !own {
		desired = cgroup.Limits{}
	}
	if resize.Shrinks(current, desired, changes) {
		used, err := r.memoryUsage(ctx, class, uid, own)
		if err != nil {
			return fmt.Errorf("unable to read memory usage for pod %q: %w", podspec.Title(r.pod), err)
		}
		if err := resize.CheckUsage(current, desired, changes, used); err != nil {
			return err
		}
	}
	set := make(map[string]resize.Amounts)
	for _, c := range changes {
		set[c.ID] = c.From
	}
	for _, step := range resize.Steps(current, desired, changes) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if step.Container != nil {
			err = r.resizeContainer(ctx, resizer, step, set)
		} else {
			err = r.resizePod(ctx, resizer, step.Limits, &current)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// podLimits reads the limits of the pod's cgroup; false if it has none of its own.
func (r *execution) podLimits(class corev1.PodQOSClass, uid string) (cgroup.Limits, bool, error) {
	if !r.p.cfg.Groups.LimitPods() {
		return cgroup.Limits{}, false, nil
	}
	l, err := r.p.cfg.Groups.Load().Read(class, uid)
	if errors.Is(err, fs.ErrNotExist) && len(podspec.PodResources(r.pod).Limits) == 0 {
		return cgroup.Limits{}, false, nil // it could not be made, and the containers have limits of their own
	}
	return l, err == nil, err
}

// memoryUsage is the memory that the pod and its containers use.
func (r *execution) memoryUsage(ctx context.Context, class corev1.PodQOSClass, uid string, own bool) (resize.Usage, error) {
	used := resize.Usage{Containers: make(map[string]int64)}
	if own {
		n, err := r.p.cfg.Groups.Load().MemoryUsage(class, uid)
		if err != nil {
			return used, err
		}
		used.Pod = &n
	}
	meter, ok := r.p.cfg.Runtime.(runtime.Meter)
	if !ok {
		return used, nil
	}
	pods, err := meter.PodUsage(ctx)
	if err != nil {
		return used, err
	}
	for _, p := range pods {
		if p.UID != uid {
			continue
		}
		for _, c := range p.Containers {
			if c.Memory != nil {
				used.Containers[c.Name] = int64(min(*c.Memory, math.MaxInt64))
			}
		}
	}
	return used, nil
}

// resizeContainer sets one resource of a container. What it has of the other stays,
// so that a failure in between leaves what the record says.
func (r *execution) resizeContainer(ctx context.Context, resizer runtime.Resizer, step resize.Step, set map[string]resize.Amounts) error {
	ch := step.Container
	c, _ := podspec.FindContainer(r.pod, ch.Name)
	if c == nil {
		return nil
	}
	now := set[ch.ID]
	if step.Resource == corev1.ResourceMemory {
		now.MemoryRequest, now.MemoryLimit = ch.To.MemoryRequest, ch.To.MemoryLimit
	} else {
		now.CPURequest, now.CPULimit = ch.To.CPURequest, ch.To.CPULimit
	}
	to := c.DeepCopy()
	to.Resources = now.Requirements(c.Resources)
	resources := r.p.cfg.Specs.ContainerResources(r.pod, to, r.p.Facts())
	r.p.cfg.Placement.Place(r.pod, ch.Name, &resources)
	if err := resizer.UpdateContainerResources(ctx, ch.ID, resources); err != nil {
		return fmt.Errorf("container %q: %w", ch.Name, err)
	}
	set[ch.ID] = now
	r.owner.Update(func(m *Memory) {
		if m.Resize.Record.Actuated == nil {
			m.Resize.Record.Actuated = make(map[string]corev1.ResourceRequirements)
		}
		m.Resize.Record.Actuated[ch.ID] = to.Resources
		m.Resize.Unstored = true
	})
	return nil
}

// resizePod sets limits of the pod's cgroup. The runtime is asked first: it may
// refuse.
func (r *execution) resizePod(ctx context.Context, resizer runtime.Resizer, l cgroup.Limits, current *cgroup.Limits) error {
	before, after := *current, *current
	if l.Memory != 0 {
		after.Memory = l.Memory
	}
	if l.CPUQuota != 0 {
		after.CPUQuota, after.CPUPeriod = l.CPUQuota, l.CPUPeriod
	}
	if l.CPUShares != 0 {
		after.CPUShares = l.CPUShares
	}
	overhead := podspec.Overhead(r.pod)
	if err := resizer.UpdateSandboxResources(ctx, r.id, overhead, sandboxResources(after, overhead)); err != nil {
		return fmt.Errorf("failed to notify runtime for UpdatePodSandboxResources; resize rejected: %w", err)
	}
	if err := r.p.cfg.Groups.Load().Update(podspec.QOSClass(r.pod), string(r.pod.UID), l); err != nil {
		if back := resizer.UpdateSandboxResources(ctx, r.id, overhead, sandboxResources(before, overhead)); back != nil {
			r.p.cfg.Logger.Debug("cannot tell the runtime that a pod keeps its resources", "pod", podspec.Title(r.pod), "err", back)
		}
		return err
	}
	*current = after
	return nil
}

// sandboxResources are limits of a pod in the runtime's form, without the overhead.
func sandboxResources(l cgroup.Limits, overhead runtime.Resources) runtime.Resources {
	r := runtime.Resources{CPUShares: l.CPUShares, CPUQuota: l.CPUQuota, CPUPeriod: l.CPUPeriod, Memory: max(l.Memory, 0)}
	if r.Memory > 0 {
		r.Memory = max(r.Memory-overhead.Memory, 0)
	}
	if r.CPUQuota > 0 {
		r.CPUQuota = max(r.CPUQuota-overhead.CPUQuota, 0)
	}
	r.CPUShares = max(r.CPUShares-overhead.CPUShares, 0)
	return r
}

// resizeFailed notes why what was granted could not be set.
func (r *execution) resizeFailed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	var generation int64
	changed := false
	r.owner.Update(func(m *Memory) {
		c := m.Resize.InProgress
		if c == nil {
			c = &plan.ResizeCondition{Generation: r.pod.Generation}
		}
		changed, generation = c.Reason != corev1.PodReasonError || c.Message != err.Error(), c.Generation
		m.Resize.InProgress = &plan.ResizeCondition{Reason: corev1.PodReasonError, Message: err.Error(), Generation: generation}
	})
	if changed {
		r.p.cfg.Events.Pod(r.pod, corev1.EventTypeWarning, resize.EventError, resize.EventMessage("Pod resize error", r.pod, generation, err.Error()))
	}
}
