package edged_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

// withClasses is a cloud that has runtime classes: handlers by name.
type withClasses struct {
	*cloud
	handlers map[string]string
}

func (c withClasses) RuntimeHandler(_ context.Context, name string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	handler, ok := c.handlers[name]
	if !ok {
		return "", fmt.Errorf("cloud: %w", missing("runtime class "+name))
	}
	return handler, nil
}

// setClass makes or changes a class.
func (c withClasses) setClass(name, handler string) {
	c.mu.Lock()
	c.handlers[name] = handler
	c.mu.Unlock()
	c.setConfigMap("default", "any", nil) // says that something has changed
}

// startClasses starts an Agent whose runtime has the handlers "" and "runc", and "runc2",
// which has user namespaces.
func (b *bench) startClasses(store meta.Store) withClasses {
	b.t.Helper()
	b.rt.SetHealth(runtime.Health{RuntimeReady: true, NetworkReady: true, Handlers: []runtime.Handler{
		{Name: "runc"}, {Name: ""}, {Name: "runc2", UserNamespaces: true, RecursiveReadOnlyMounts: true},
	}})
	classes := withClasses{b.cloud, map[string]string{"second": "runc2"}}
	cfg := b.config()
	cfg.Objects, cfg.Store = classes, store
	b.startAgent(cfg)
	return classes
}

// classPod is a pod with a runtime class.
func classPod(name, class string) *corev1.Pod {
	p := newPod(name, busybox("serve"))
	p.Spec.RuntimeClassName = &class
	return p
}

// waits reports whether the pod waits for its sandbox with the words in the status and in
// an event, and still is Pending.
func (b *bench) waits(uid types.UID, words string) error {
	st := b.container(uid)
	event := slices.ContainsFunc(b.seen(), func(e string) bool {
		return strings.HasPrefix(e, "FailedCreatePodSandBox: Failed to create pod sandbox: ") && strings.Contains(e, words)
	})
	if w := st.State.Waiting; w == nil || w.Reason != "FailedCreatePodSandBox" || !strings.Contains(w.Message, words) || !event || b.phase(uid) != corev1.PodPending {
		return fmt.Errorf("want %q; state %+v, phase %s, events %q", words, st.State, b.phase(uid), b.seen())
	}
	return nil
}

// TestRuntimeClass gives the runtime the handler of the pod's class. A class or a handler
// that is not there keeps the pod Pending, with what to do, and it starts when that is
// mended. What runs keeps its handler.
func TestRuntimeClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		classes := b.startClasses(nil)
		defer func() { b.stop() }()
		p := classPod("web", "second")
		p.Spec.Overhead = corev1.ResourceList{"cpu": resource.MustParse("250m"), "memory": resource.MustParse("64Mi")}
		p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("1"), "memory": resource.MustParse("32Mi")}
		b.put(p)
		settle(time.Second)
		got := b.rt.SandboxConfigs()
		if len(got) != 1 || got[0].Handler != "runc2" {
			t.Fatalf("sandboxes %+v", got)
		}
		if o, r := got[0].Overhead, got[0].Resources; o == nil || o.Memory != 64<<20 || o.CPUShares != 256 || r.Memory != 32<<20 {
			t.Errorf("overhead %+v beside %+v", o, r)
		}
		classes.setClass("second", "runc")
		b.rt.Exit("main", 1)
		settle(time.Minute)
		if got := b.rt.SandboxConfigs(); b.container(p.UID).State.Running == nil || b.container(p.UID).RestartCount != 1 || len(got) != 1 || got[0].Handler != "runc2" {
			t.Errorf("after the class has changed: %+v in %+v", b.container(p.UID).State, got)
		}
		late := classPod("late", "third")
		b.put(late)
		settle(time.Second)
		if err := b.waits(late.UID, `the RuntimeClass "third" (spec.runtimeClassName) does not exist: create it`); err != nil {
			t.Error(err)
		}
		classes.setClass("third", "kata")
		settle(time.Second)
		if err := b.waits(late.UID, `the container runtime has no handler "kata" of the RuntimeClass "third", it has runc, runc2: add it`); err != nil {
			t.Error(err)
		}
		classes.setClass("third", "runc2")
		settle(time.Second)
		if b.container(late.UID).State.Running == nil {
			t.Errorf("when the class is right: %+v", b.container(late.UID).State)
		}
	})
}

// TestRuntimeClassOfTheRuntime: a runtime that does not say which handlers it has is asked
// for the one, and an Objects without classes has none.
func TestRuntimeClassOfTheRuntime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		cfg := b.config()
		cfg.Objects = withClasses{b.cloud, map[string]string{"c": "kata"}}
		b.startAgent(cfg)
		p := classPod("p", "c")
		b.put(p)
		settle(time.Minute)
		if !slices.ContainsFunc(b.seen(), func(e string) bool {
			return strings.Contains(e, `no runtime for "kata" is configured (handler "kata" of the RuntimeClass "c")`)
		}) {
			t.Errorf("events %q", b.seen())
		}
		b.stop()
		b.start()
		defer func() { b.stop() }()
		settle(time.Minute)
		if err := b.waits(p.UID, "runtime classes (spec.runtimeClassName: c) are not supported on this node"); err != nil {
			t.Error(err)
		}
		if n := len(b.rt.Calls()); n > 12 {
			t.Errorf("%d calls in two minutes", n)
		}
	})
}

// userPod is a pod in a user namespace of its own, with a runtime class that has some.
func userPod(name string) *corev1.Pod {
	p := classPod(name, "second")
	p.Spec.HostUsers = new(false)
	return p
}

// TestUserNamespace gives pods ids that no other has, to the sandbox and the containers.
// They stay over a restart, also where the store was lost, and are free again when the pod
// is gone.
func TestUserNamespace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		store := memstore.New()
		b.startClasses(store)
		one, two := userPod("one"), userPod("two")
		b.put(one)
		b.put(two)
		settle(time.Second)
		ids := func() map[string]runtime.UserNamespace {
			out := make(map[string]runtime.UserNamespace)
			for _, s := range b.rt.SandboxConfigs() {
				if s.Security.Namespaces.User == nil {
					t.Fatalf("%s has the host's users", s.Name)
				}
				out[s.Name] = *s.Security.Namespaces.User
			}
			return out
		}
		first := ids()
		if len(first) != 2 || first["one"] == first["two"] || first["one"].Length != 65536 || first["one"].First%65536 != 0 || first["one"].First == 0 {
			t.Fatalf("%+v", first)
		}
		for _, c := range b.rt.Configs() {
			if u := c.Security.Namespaces.User; u == nil || *u != first["one"] && *u != first["two"] {
				t.Errorf("a container has %+v", u)
			}
		}
		records, _, err := store.List(t.Context(), meta.Local+"edged/userns/")
		if err != nil || len(records) != 2 {
			t.Errorf("stored: %+v, %v", records, err)
		}
		b.stop()
		b.startClasses(memstore.New()) // the store was lost
		b.rt.Exit("main", 1)
		b.put(userPod("three"))
		settle(time.Minute)
		again := ids()
		if again["one"] != first["one"] || again["two"] != first["two"] || again["three"] == first["one"] || again["three"] == first["two"] {
			t.Errorf("%+v, before %+v", again, first)
		}
		if b.container(one.UID).RestartCount != 1 || b.container(one.UID).State.Running == nil {
			t.Errorf("%+v", b.container(one.UID))
		}
		for _, c := range b.rt.Configs() {
			if c.Security.Namespaces.User == nil {
				t.Errorf("a container that was restarted has the host's users: %+v", c.Name)
			}
		}
		b.stop()
		b.startClasses(store) // its records of one and two are older than three
		b.del(one, 0)
		settle(time.Minute)
		b.put(userPod("four"))
		settle(time.Minute)
		if last := ids(); last["four"] != first["one"] {
			t.Errorf("%+v: the ids of a pod that is gone are not free", last)
		}
		b.stop()
		for _, p := range []string{"two", "three", "four"} {
			b.remove(types.UID(p + "-uid"))
		}
		b.startClasses(store)
		defer func() { b.stop() }()
		settle(5 * time.Minute)
		if records, _, err := store.List(t.Context(), meta.Local+"edged/userns/"); err != nil || len(records) != 0 {
			t.Errorf("ids of pods that are gone are stored: %+v, %v", records, err)
		}
	})
}

// TestUserNamespaceRefused: a pod that asks for a user namespace never runs without one.
func TestUserNamespaceRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		edit func(*corev1.Pod)
		want string
	}{
		"default handler":    {func(p *corev1.Pod) { p.Spec.RuntimeClassName = nil }, "can't set `spec.hostUsers: false`, runtime does not support user namespaces: it needs"},
		"another handler":    {func(p *corev1.Pod) { p.Spec.RuntimeClassName = new("plain") }, "RuntimeClass handler \"runc\" does not support user namespaces: it needs"},
		"the host's PIDs":    {func(p *corev1.Pod) { p.Spec.HostPID = true }, "hostUsers: false and hostPID exclude each other"},
		"the host's IPC":     {func(p *corev1.Pod) { p.Spec.HostIPC = true }, "hostUsers: false and hostIPC exclude each other"},
		"the host's network": {func(p *corev1.Pod) { p.Spec.HostNetwork = true }, "hostUsers: false and hostNetwork exclude each other"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.startClasses(nil).setClass("plain", "runc")
				defer func() { b.stop() }()
				p := userPod("p")
				tt.edit(p)
				b.put(p)
				settle(time.Minute)
				if err := b.waits(p.UID, tt.want); err != nil {
					t.Error(err)
				}
				if slices.Contains(b.rt.Calls(), "StartContainer main") {
					t.Error("it runs")
				}
			})
		})
	}
}

// TestUserNamespacesPerPod refuses a wrong size at the start.
func TestUserNamespacesPerPod(t *testing.T) {
	for _, n := range []int64{-65536, 1, 65535, 1 << 32} {
		cfg := newBench(t).config()
		cfg.UserNamespacesIDsPerPod = n
		if _, err := edged.New(cfg); err == nil || !strings.Contains(err.Error(), "UserNamespacesIDsPerPod (--user-namespaces-ids-per-pod)") {
			t.Errorf("%d: %v", n, err)
		}
	}
}
