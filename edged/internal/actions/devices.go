package actions

import (
	"context"
	"errors"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/runtime"
)

// prepareDevices has the plugins allocate the devices of the pod. It is done here, by the
// pod's own goroutine, and not while the pod is admitted: a plugin may hang. A pod that
// cannot have them is rejected, unless it runs already.
func (r *execution) prepareDevices(ctx context.Context) error {
	if r.p.cfg.Devices == nil || !devices.WantsAny(r.pod) {
		return nil
	}
	err := r.p.cfg.Devices.Prepare(ctx, r.pod)
	var refused *devices.Error
	if !errors.As(err, &refused) {
		return err
	}
	if r.id != "" {
		r.p.cfg.Logger.Warn("a pod that runs already has no devices of its own", "pod", podspec.Title(r.pod), "err", err)
		return nil
	}
	r.owner.RejectDevices(err)
	return err
}

// addDevices adds what a container needs to use its devices. What the pod says itself
// comes after that, and so counts where both say something.
func (r *execution) addDevices(ctx context.Context, c *corev1.Container, cfg *runtime.ContainerConfig) error {
	if r.p.cfg.Devices == nil {
		return nil
	}
	edits, err := r.p.cfg.Devices.Edits(ctx, r.pod, c)
	if err != nil || edits == nil {
		return err
	}
	var env []runtime.EnvVar
	for _, name := range slices.Sorted(maps.Keys(edits.Env)) {
		env = append(env, runtime.EnvVar{Name: name, Value: edits.Env[name]})
	}
	cfg.Env = slices.Concat(env, cfg.Env)
	cfg.Mounts = slices.Concat(edits.Mounts, cfg.Mounts)
	cfg.Devices = slices.Concat(edits.Devices, cfg.Devices)
	cfg.CDIDevices = append(cfg.CDIDevices, edits.CDIDevices...)
	for name, value := range edits.Annotations {
		if _, ok := cfg.Annotations[name]; !ok { // the agent's own are its memory
			if cfg.Annotations == nil {
				cfg.Annotations = make(map[string]string)
			}
			cfg.Annotations[name] = value
		}
	}
	return nil
}

// prepareClaims has the pod's resource claims prepared, before it gets a sandbox.
func (r *execution) prepareClaims(ctx context.Context) error {
	claims := r.p.cfg.Claims
	if !podspec.HasClaims(r.pod) {
		return nil
	}
	var why *podspec.UnsupportedError
	if claims == nil {
		why = podspec.UnpreparedClaims(r.pod, nil)
	} else if err := claims.Prepare(ctx, r.pod); err != nil {
		why = podspec.UnpreparedClaims(r.pod, err)
	}
	if ctx.Err() == nil {
		r.claimsWait(why)
	}
	if why != nil {
		return why
	}
	return nil
}

// claimsWait has the status of the pod's containers say why its claims are not prepared; nil
// is for claims that are.
func (r *execution) claimsWait(why *podspec.UnsupportedError) {
	r.owner.Update(func(m *Memory) {
		for _, list := range [][]corev1.Container{r.pod.Spec.InitContainers, r.pod.Spec.Containers} {
			for _, c := range list {
				switch {
				case why != nil:
					m.Waiting[c.Name] = plan.Waiting{Reason: why.Reason, Message: why.Message}
				case m.Waiting[c.Name].Reason == podspec.ReasonClaims:
					delete(m.Waiting, c.Name)
				}
			}
		}
	})
}

// addClaimDevices gives a container the devices of the resource claims that it names.
func (r *execution) addClaimDevices(ctx context.Context, c *corev1.Container, cfg *runtime.ContainerConfig) error {
	claims := r.p.cfg.Claims
	if claims == nil || !podspec.HasClaims(r.pod) {
		return nil
	}
	devices, err := claims.CDIDevices(r.pod, c)
	if err != nil {
		// The pod has a sandbox, and so had its claims prepared: the store was lost.
		if err := claims.Prepare(ctx, r.pod); err != nil {
			return err
		}
		devices, err = claims.CDIDevices(r.pod, c)
	}
	cfg.CDIDevices = append(cfg.CDIDevices, devices...)
	return err
}
