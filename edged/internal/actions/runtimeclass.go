package actions

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/notfound"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/internal/userns"
	"github.com/edgekit/edgekit/edged/runtime"
)

// newSandboxConfig says how the pod's next sandbox is made, with the handler of its
// runtime class and the ids of its user namespace.
func (r *execution) newSandboxConfig(ctx context.Context, attempt uint32) (*runtime.SandboxConfig, error) {
	cfg, err := r.p.cfg.Specs.SandboxConfig(r.pod, attempt, r.p.cfg.Groups.Load())
	if err != nil {
		return nil, err
	}
	if cfg.Handler, err = r.p.handlerOf(ctx, r.pod); err != nil {
		return nil, err
	}
	if !podspec.WantsUserNamespace(r.pod) {
		return cfg, nil
	}
	if err := checkUserNamespaces(r.p.cfg.Node.Handlers(), cfg.Handler); err != nil {
		return nil, err
	}
	ids, err := r.p.cfg.UserNamespaces.Allocate(ctx, string(r.pod.UID))
	if errors.Is(err, userns.ErrNone) {
		return nil, podspec.RefuseSandbox("%v: delete pods with hostUsers: false on this node, or give the user kubelet more ids in /etc/subuid and /etc/subgid", err)
	}
	if err != nil {
		return nil, err
	}
	setUserNamespace(cfg, ids)
	return cfg, nil
}

// adoptedConfig says how a sandbox that is there was made. Its handler stays as it is,
// whatever its runtime class says now.
func (r *execution) adoptedConfig(sb runtime.Sandbox) (*runtime.SandboxConfig, error) {
	cfg, err := r.p.cfg.Specs.SandboxConfig(r.pod, sb.Attempt, r.p.cfg.Groups.Load())
	if err != nil {
		return nil, err
	}
	cfg.Handler = sb.Handler
	if !podspec.WantsUserNamespace(r.pod) {
		return cfg, nil
	}
	ids, ok := userns.Parse(sb.Annotations[runtime.AnnotationUserNamespace])
	if !ok {
		return nil, podspec.RefuseSandbox("the pod's sandbox was made without the user namespace that hostUsers: false asks for: delete the pod")
	}
	setUserNamespace(cfg, ids)
	return cfg, nil
}

// setUserNamespace gives a sandbox ids, and has it remember them.
func setUserNamespace(cfg *runtime.SandboxConfig, ids runtime.UserNamespace) {
	cfg.Security.Namespaces.User = &ids
	cfg.Annotations[runtime.AnnotationUserNamespace] = userns.Format(ids)
}

// className is the runtime class of a pod; "" without one.
func className(pod *corev1.Pod) string {
	if pod.Spec.RuntimeClassName == nil {
		return ""
	}
	return *pod.Spec.RuntimeClassName
}

// handlerOf is the handler that the pod's runtime class names; "" without a class. A pod
// never runs in another runtime than it asked for.
func (p *Performer) handlerOf(ctx context.Context, pod *corev1.Pod) (string, error) {
	name := className(pod)
	if name == "" {
		return "", nil
	}
	if p.cfg.Classes == nil {
		return "", podspec.RefuseSandbox("runtime classes (spec.runtimeClassName: %s) are not supported on this node: remove the field or run the pod on another node", name)
	}
	handler, err := p.cfg.Classes.RuntimeHandler(ctx, name)
	if notfound.Is(err) {
		return "", podspec.RefuseSandbox("the RuntimeClass %q (spec.runtimeClassName) does not exist: create it, or remove the field", name)
	}
	if err != nil {
		return "", podspec.RefuseSandbox("the RuntimeClass %q (spec.runtimeClassName) cannot be read now: %v", name, err)
	}
	handlers := p.cfg.Node.Handlers()
	if _, ok := findHandler(handlers, handler); !ok && len(handlers) > 0 {
		return "", podspec.RefuseSandbox("the container runtime has no handler %q of the RuntimeClass %q, it has %s: add it to the runtime's configuration, or run the pod on another node",
			handler, name, runtime.HandlerNames(handlers))
	}
	return handler, nil
}

// findHandler finds a handler of the runtime.
func findHandler(all []runtime.Handler, name string) (runtime.Handler, bool) {
	i := slices.IndexFunc(all, func(h runtime.Handler) bool { return h.Name == name })
	if i < 0 {
		return runtime.Handler{}, false
	}
	return all[i], true
}

// checkUserNamespaces gives an error for a handler that can give pods no user namespace.
// The words before the colon are the kubelet's.
func checkUserNamespaces(all []runtime.Handler, name string) error {
	const remedy = "it needs containerd 2.0 with runc 1.2 or crun 1.9, and Linux 6.3; update these, or run the pod on another node"
	h, ok := findHandler(all, name)
	switch {
	case ok && h.UserNamespaces:
		return nil
	case name != "":
		return podspec.RefuseSandbox("can't set `spec.hostUsers: false`, RuntimeClass handler %q does not support user namespaces: %s", name, remedy)
	}
	return podspec.RefuseSandbox("can't set `spec.hostUsers: false`, runtime does not support user namespaces: %s", remedy)
}

// withHandler says in the runtime's error for a new sandbox which handler was asked for:
// older runtimes do not say beforehand which they have.
func withHandler(err error, pod *corev1.Pod, handler string) error {
	if handler == "" {
		return err
	}
	return fmt.Errorf("%w (handler %q of the RuntimeClass %q)", err, handler, className(pod))
}

// facts are those of the node, with what the handler of the pod's sandbox can do.
func (r *execution) facts() podspec.Node {
	facts := r.p.Facts()
	if r.sandbox == nil || r.sandbox.Handler == "" {
		return facts
	}
	h, _ := findHandler(r.p.cfg.Node.Handlers(), r.sandbox.Handler)
	facts.Features.RecursiveReadOnlyMounts = h.RecursiveReadOnlyMounts
	return facts
}

// noteRefusal has the status say why the pod gets no sandbox, or no longer if err is nil
// or the runtime's own.
func (r *execution) noteRefusal(err error) {
	var own *podspec.UnsupportedError
	if !errors.As(err, &own) {
		own = nil
	}
	r.owner.Update(func(m *Memory) { m.Refused = own })
}
