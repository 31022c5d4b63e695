// Package runtimetest has a container runtime for tests: it runs nothing, but
// keeps sandboxes, containers and images as a real one does, and lets a test
// say how containers behave, which calls fail, and what commands answer.
//
//	rt := runtimetest.New()
//	rt.AddImage("docker.io/library/busybox:latest")
//	rt.Behave("main", runtimetest.Program{RunFor: time.Minute, ExitCode: 1})
//	agent, err := edged.New(edged.Config{Runtime: rt, ...})
//
// It keeps time with package time only, so that it works in a synctest bubble.
// A Runtime may be used by several goroutines.
package runtimetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/edgekit/edgekit/edged/runtime"
)

// Program is how containers of a name behave. The zero value runs until it is
// stopped, and stops at once.
type Program struct {
	RunFor    time.Duration // then it exits by itself; 0 means never
	ExitCode  int32         // when it exits by itself, or on the stop signal
	StopAfter time.Duration // from the stop signal to the exit; past the grace it is killed
	StartErr  error         // starting it fails so, and it is exited then
}

// Runtime is a runtime.Runtime without processes.
type Runtime struct {
	mu         sync.Mutex
	serial     int
	sandboxes  map[string]*runtime.Sandbox
	configs    map[string]runtime.SandboxConfig // of the sandboxes
	networks   map[string]string                // see Networks
	containers map[string]*container
	images     map[string]runtime.Image
	programs   map[string]Program
	health     runtime.Health
	calls      []string
	listeners  map[chan string]bool
	fail       func(call string) error
	failRead   func(verb string) error
	usage      map[string]uint64 // of memory, by the container's name
	exec       func(c runtime.Container, cmd []string) (runtime.ExecResult, error)

	reopen       func(c runtime.Container) error // see ReopenWith
	filesystems  []runtime.Filesystem            // see SetImageFilesystems
	sandboxImage string
}

// container is a container and how it behaves.
type container struct {
	runtime.Container
	cfg     runtime.ContainerConfig
	program Program
	timer   *time.Timer
	exited  chan struct{}
}

var _ runtime.Runtime = (*Runtime)(nil)

// New makes an empty runtime that is healthy.
func New() *Runtime {
	return &Runtime{
		sandboxes: make(map[string]*runtime.Sandbox), configs: make(map[string]runtime.SandboxConfig), networks: make(map[string]string), containers: make(map[string]*container), images: make(map[string]runtime.Image),
		programs: make(map[string]Program), listeners: make(map[chan string]bool), health: runtime.Health{RuntimeReady: true, NetworkReady: true},
	}
}

// AddImage puts an image on the node, by its whole reference.
func (r *Runtime) AddImage(ref string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.images[ref] = runtime.Image{ID: "sha256:" + ref, Tags: []string{ref}, Size: 1 << 20}
}

// Behave says how containers with a name behave that are started from now on.
func (r *Runtime) Behave(name string, p Program) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.programs[name] = p
}

// FailWith makes fn decide about every call that changes something: "verb
// name". An error is what the call returns, and nothing happens. Nil never fails.
// fn is called without locks held.
func (r *Runtime) FailWith(fn func(call string) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = fn
}

// FailReadsWith makes fn decide about every call that only reads, by its verb, and
// about ExecSync: an error is what the call returns. Nil never fails. fn is called
// without locks held.
func (r *Runtime) FailReadsWith(fn func(verb string) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failRead = fn
}

// look lets the test fail a call that only reads.
func (r *Runtime) look(verb string) error {
	r.mu.Lock()
	fn := r.failRead
	r.mu.Unlock()
	if fn == nil {
		return nil
	}
	return fn(verb)
}

// ExecWith makes fn answer commands; without it they succeed without output.
func (r *Runtime) ExecWith(fn func(c runtime.Container, cmd []string) (runtime.ExecResult, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.exec = fn
}

// SetHealth sets what Health answers.
func (r *Runtime) SetHealth(h runtime.Health) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.health = h
}

// Calls lists the calls that changed something, "verb name", in order.
func (r *Runtime) Calls() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

// Configs lists the configurations of the containers there are, oldest first.
func (r *Runtime) Configs() []runtime.ContainerConfig {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []runtime.ContainerConfig
	for _, id := range slices.Sorted(maps.Keys(r.containers)) {
		out = append(out, r.containers[id].cfg)
	}
	return out
}

// SandboxConfigs lists the configurations of the sandboxes there are, oldest first.
func (r *Runtime) SandboxConfigs() []runtime.SandboxConfig {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []runtime.SandboxConfig
	for _, id := range slices.Sorted(maps.Keys(r.configs)) {
		out = append(out, r.configs[id])
	}
	return out
}

// checkHandlerLocked refuses a sandbox whose handler is not among those that SetHealth
// named, or that wants a user namespace of a handler that has none, as runtimes do.
func (r *Runtime) checkHandlerLocked(cfg *runtime.SandboxConfig) error {
	i := slices.IndexFunc(r.health.Handlers, func(h runtime.Handler) bool { return h.Name == cfg.Handler })
	switch user := cfg.Security.Namespaces.User; {
	case i < 0 && (cfg.Handler != "" || user != nil):
		return fmt.Errorf("runtimetest: no runtime for %q is configured", cfg.Handler)
	case user != nil && !r.health.Handlers[i].UserNamespaces:
		return fmt.Errorf("runtimetest: the handler %q has no user namespaces", cfg.Handler)
	}
	return nil
}

// Exit makes the running containers of a name exit.
func (r *Runtime) Exit(name string, code int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.containers {
		if c.Name == name {
			r.exitLocked(c, code)
		}
	}
}

// Networks lists the names of the sandboxes whose network, with its address, is not
// released. Only StopSandbox releases it: one that died, or was removed after it
// died, keeps its address, which is all that CRI promises.
func (r *Runtime) Networks() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Values(r.networks))
}

// KillSandboxes makes all sandboxes and their containers stop, as a reboot does.
func (r *Runtime) KillSandboxes() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sandboxes {
		r.stopSandboxLocked(s)
	}
}

// gone is the error for what does not exist.
type gone string

func (e gone) Error() string { return "runtimetest: no such thing: " + string(e) }
func (gone) NotFound() bool  { return true }

// begin records a call and lets the test fail it.
func (r *Runtime) begin(ctx context.Context, verb, name string) error {
	call := verb + " " + name
	r.mu.Lock()
	fail := r.fail
	r.mu.Unlock()
	if fail != nil {
		if err := fail(call); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	r.calls = append(r.calls, call)
	r.mu.Unlock()
	return nil
}

// idLocked makes a new id.
func (r *Runtime) idLocked(kind string) string {
	r.serial++
	return fmt.Sprintf("%s-%04d", kind, r.serial)
}

// sendEventLocked sends an event of a pod to all who listen.
func (r *Runtime) sendEventLocked(uid string) {
	for ch := range r.listeners {
		select {
		case ch <- uid:
		default:
		}
	}
}

// RunSandbox makes a sandbox.
func (r *Runtime) RunSandbox(ctx context.Context, cfg *runtime.SandboxConfig) (string, error) {
	if err := r.begin(ctx, "RunSandbox", cfg.Name); err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.checkHandlerLocked(cfg); err != nil {
		return "", err
	}
	s := &runtime.Sandbox{
		ID: r.idLocked("sandbox"), Name: cfg.Name, Namespace: cfg.Namespace, PodUID: cfg.UID, Attempt: cfg.Attempt, Ready: true, Created: time.Now(),
		HostNetwork: cfg.Security.Namespaces.HostNetwork, Handler: cfg.Handler, Labels: maps.Clone(cfg.Labels), Annotations: maps.Clone(cfg.Annotations),
	}
	if !s.HostNetwork {
		s.IPs = []string{fmt.Sprintf("10.0.0.%d", r.serial%250+1)}
		r.networks[s.ID] = s.Name
	}
	r.sandboxes[s.ID], r.configs[s.ID] = s, *cfg
	r.sendEventLocked(s.PodUID)
	return s.ID, nil
}

// StopSandbox stops a sandbox.
func (r *Runtime) StopSandbox(ctx context.Context, id string) error {
	if err := r.begin(ctx, "StopSandbox", r.sandboxName(id)); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.networks, id)
	if s := r.sandboxes[id]; s != nil {
		r.stopSandboxLocked(s)
	}
	return nil
}

// stopSandboxLocked stops a sandbox and its containers.
func (r *Runtime) stopSandboxLocked(s *runtime.Sandbox) {
	s.Ready, s.IPs = false, nil
	for _, c := range r.containers {
		if c.SandboxID == s.ID {
			r.exitLocked(c, 137)
		}
	}
	r.sendEventLocked(s.PodUID)
}

// sandboxName is the name of a sandbox, "" if there is none.
func (r *Runtime) sandboxName(id string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sandboxes[id]; s != nil {
		return s.Name
	}
	return "?"
}

// RemoveSandbox removes a sandbox with its containers.
func (r *Runtime) RemoveSandbox(ctx context.Context, id string) error {
	if err := r.begin(ctx, "RemoveSandbox", r.sandboxName(id)); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[id]
	if s == nil {
		return nil
	}
	if s.Ready {
		delete(r.networks, id)
	}
	r.stopSandboxLocked(s)
	maps.DeleteFunc(r.containers, func(_ string, c *container) bool { return c.SandboxID == id })
	delete(r.sandboxes, id)
	delete(r.configs, id)
	return nil
}

// SandboxStatus reads a sandbox.
func (r *Runtime) SandboxStatus(_ context.Context, id string) (runtime.Sandbox, error) {
	if err := r.look("SandboxStatus"); err != nil {
		return runtime.Sandbox{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[id]
	if s == nil {
		return runtime.Sandbox{}, gone(id)
	}
	return *s, nil
}

// ListSandboxes lists sandboxes.
func (r *Runtime) ListSandboxes(_ context.Context, podUID string) ([]runtime.Sandbox, error) {
	if err := r.look("ListSandboxes"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []runtime.Sandbox
	for _, id := range slices.Sorted(maps.Keys(r.sandboxes)) {
		if s := *r.sandboxes[id]; podUID == "" || s.PodUID == podUID {
			s.IPs = nil
			out = append(out, s)
		}
	}
	return out, nil
}

// Version is "fake" and "1".
func (r *Runtime) Version(context.Context) (runtime.Version, error) {
	if err := r.look("Version"); err != nil {
		return runtime.Version{}, err
	}
	return runtime.Version{Name: "fake", Version: "1"}, nil
}

// Health is what SetHealth said.
func (r *Runtime) Health(context.Context) (runtime.Health, error) {
	if err := r.look("Health"); err != nil {
		return runtime.Health{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.health, nil
}

// CgroupDriver is "": no cgroups are made for what does not run.
func (r *Runtime) CgroupDriver(context.Context) (string, error) { return "", nil }

// Events sends changes to fn until ctx ends.
func (r *Runtime) Events(ctx context.Context, fn func(runtime.Event)) error {
	ch := make(chan string, 1024)
	r.mu.Lock()
	r.listeners[ch] = true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.listeners, ch)
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case uid := <-ch:
			fn(runtime.Event{PodUID: uid})
		}
	}
}

// ListImages lists the images.
func (r *Runtime) ListImages(context.Context) ([]runtime.Image, error) {
	if err := r.look("ListImages"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.images)), nil
}

// ImageStatus finds an image by reference or id.
func (r *Runtime) ImageStatus(_ context.Context, ref string) (runtime.Image, bool, error) {
	if err := r.look("ImageStatus"); err != nil {
		return runtime.Image{}, false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if i, ok := r.images[strings.TrimPrefix(ref, "sha256:")]; ok {
		return i, true, nil
	}
	for _, i := range r.images {
		if i.ID == ref || slices.Contains(i.Tags, ref) || slices.Contains(i.Digests, ref) {
			return i, true, nil
		}
	}
	return runtime.Image{}, false, nil
}

// PullImage puts an image on the node.
func (r *Runtime) PullImage(ctx context.Context, ref string, _ *runtime.ImageAuth, _ *runtime.SandboxConfig) (string, error) {
	if err := r.begin(ctx, "PullImage", ref); err != nil {
		return "", err
	}
	r.AddImage(ref)
	return "sha256:" + ref, nil
}

// RemoveImage removes an image.
func (r *Runtime) RemoveImage(ctx context.Context, id string) error {
	if err := r.begin(ctx, "RemoveImage", id); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.images, func(name string, i runtime.Image) bool {
		return i.ID == id || name == strings.TrimPrefix(id, "sha256:")
	})
	return nil
}
