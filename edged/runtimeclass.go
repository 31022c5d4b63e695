package edged

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/notfound"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/internal/userns"
	"github.com/edgekit/edgekit/edged/runtime"
)

// newUserNamespaces makes what gives pods their ids.
func (c Config) newUserNamespaces() *userns.Allocator {
	return userns.New(userns.Config{PerPod: uint32(c.UserNamespacesIDsPerPod), MaxPods: c.MaxPods, Files: userns.SystemFiles(), Store: c.Store})
}

// newSandboxConfig says how the pod's next sandbox is made, with the handler of its
// runtime class and the ids of its user namespace.
func (r *execution) newSandboxConfig(ctx context.Context, attempt uint32) (*runtime.SandboxConfig, error) {
	a := r.w.a
	cfg, err := a.specs.SandboxConfig(r.pod, attempt, a.groups.Load())
	if err != nil {
		return nil, err
	}
	if cfg.Handler, err = a.handlerOf(ctx, r.pod); err != nil {
		return nil, err
	}
	if !podspec.WantsUserNamespace(r.pod) {
		return cfg, nil
	}
	if err := checkUserNamespaces(a.node.Handlers(), cfg.Handler); err != nil {
		return nil, err
	}
	ids, err := a.userns.Allocate(ctx, string(r.pod.UID))
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
	a := r.w.a
	cfg, err := a.specs.SandboxConfig(r.pod, sb.Attempt, a.groups.Load())
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
func (a *Agent) handlerOf(ctx context.Context, pod *corev1.Pod) (string, error) {
	name := className(pod)
	if name == "" {
		return "", nil
	}
	classes, ok := a.cfg.Objects.(RuntimeClassReader)
	if !ok {
		return "", podspec.RefuseSandbox("runtime classes (spec.runtimeClassName: %s) are not supported on this node: remove the field or run the pod on another node", name)
	}
	handler, err := classes.RuntimeHandler(ctx, name)
	if notfound.Is(err) {
		return "", podspec.RefuseSandbox("the RuntimeClass %q (spec.runtimeClassName) does not exist: create it, or remove the field", name)
	}
	if err != nil {
		return "", podspec.RefuseSandbox("the RuntimeClass %q (spec.runtimeClassName) cannot be read now: %v", name, err)
	}
	handlers := a.node.Handlers()
	if _, ok := findHandler(handlers, handler); !ok && len(handlers) > 0 {
		return "", podspec.RefuseSandbox("the container runtime has no handler %q of the RuntimeClass %q, it has %s: add it to the runtime's configuration, or run the pod on another node",
			handler, name, handlerNames(handlers))
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

// handlerNames lists the handlers that a runtime class can name.
func handlerNames(all []runtime.Handler) string {
	var names []string
	for _, h := range all {
		if h.Name != "" {
			names = append(names, h.Name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
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

// nodeFacts are those of the agent, with what the handler of the pod's sandbox can do.
func (r *execution) nodeFacts() podspec.Node {
	facts := r.w.a.nodeFacts()
	if r.sandbox == nil || r.sandbox.Handler == "" {
		return facts
	}
	h, _ := findHandler(r.w.a.node.Handlers(), r.sandbox.Handler)
	facts.Features.RecursiveReadOnlyMounts = h.RecursiveReadOnlyMounts
	return facts
}

// noteRefusal has the status say why the pod gets no sandbox, or no longer if err is nil
// or the runtime's own.
func (w *worker) noteRefusal(err error) {
	var own *podspec.UnsupportedError
	if !errors.As(err, &own) {
		own = nil
	}
	w.updateMemory(func(m *memory) { m.refused = own })
}

// adoptUserNamespaces notes which ids the sandboxes have that are there, and takes back
// those of pods of which nothing is left. Ids of sandboxes count whosever they are.
func (a *Agent) adoptUserNamespaces(ctx context.Context, list []*corev1.Pod, sandboxes []runtime.Sandbox, folders []string) {
	there := make(map[string]bool)
	for _, p := range list {
		there[string(p.UID)] = true
	}
	for _, uid := range folders {
		there[uid] = true
	}
	for _, s := range sandboxes {
		there[s.PodUID] = true
		if ids, ok := userns.Parse(s.Annotations[runtime.AnnotationUserNamespace]); ok {
			a.userns.Found(s.PodUID, ids)
		}
	}
	if err := a.userns.Keep(ctx, func(uid string) bool { return there[uid] }); err != nil && ctx.Err() == nil {
		a.log.Warn("cannot forget the ids of pods that are gone", "err", err)
	}
}

// releaseUserNamespace takes the ids of a pod back of which nothing is left.
func (a *Agent) releaseUserNamespace(ctx context.Context, uid types.UID) {
	if ctx.Err() != nil {
		return // the agent ends, the pod does not
	}
	if err := a.userns.Release(ctx, string(uid)); err != nil && ctx.Err() == nil {
		a.log.Warn("cannot forget the ids of a pod that is gone", "pod", uid, "err", err)
	}
}
