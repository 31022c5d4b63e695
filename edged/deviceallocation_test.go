package edged_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/edged/devices/devicestest"
	"github.com/edgekit/edgekit/edged/internal/podtest"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/meta/memstore"
)

const widget = "vendor.example/widget"

// deviceBench is a bench with devices. Each start of the agent has a Manager of its own on
// one store, and m is the newest.
type deviceBench struct {
	*bench
	store *memstore.Store
	m     *devices.Manager
}

func newDeviceBench(t *testing.T) *deviceBench {
	b := &deviceBench{bench: newBench(t), store: memstore.New()}
	b.edit = func(cfg *edged.Config) {
		m, err := devices.New(devices.Config{Store: b.store})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Devices, b.m = m, m
	}
	return b
}

// connect has a plugin register that has the devices.
func (b *deviceBench) connect(o devices.Options, ids ...string) (*devicestest.Plugin, *devices.Endpoint) {
	b.t.Helper()
	p := &devicestest.Plugin{}
	e, err := b.m.Connect(widget, p, o)
	if err == nil {
		err = e.SetDevices(devicestest.Devices(ids...))
	}
	if err != nil {
		b.t.Fatal(err)
	}
	settle(time.Second)
	return p, e
}

// wants is a pod with one container that wants widgets.
func wants(name, count string) *corev1.Pod {
	p := newPod(name, busybox("serve"))
	p.Spec.Containers[0].Name = name
	p.Spec.Containers[0].Resources.Limits = podtest.Resources(widget, count)
	p.Spec.Containers[0].Resources.Requests = p.Spec.Containers[0].Resources.Limits
	return p
}

// configOf is the configuration of the newest container of a name; nil if none was made.
func (b *deviceBench) configOf(name string) *runtime.ContainerConfig {
	var out *runtime.ContainerConfig
	for _, c := range b.rt.Configs() {
		if c.Name == name {
			out = &c
		}
	}
	return out
}

// health is the health of the first container's devices in the pod's status, such as "a:Healthy".
func (b *deviceBench) health(p *corev1.Pod) string {
	var out []string
	for _, s := range b.container(p.UID).AllocatedResourcesStatus {
		for _, r := range s.Resources {
			out = append(out, fmt.Sprintf("%s:%s", r.ResourceID, r.Health))
		}
	}
	return strings.Join(out, " ")
}

// reason is why the pod is as it is.
func (b *deviceBench) reason(p *corev1.Pod) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	st := b.status[p.UID]
	return fmt.Sprintf("%s %s %s", st.Phase, st.Reason, st.Message)
}

// onNode is the Node's capacity and allocatable.
func (b *deviceBench) onNode() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, ok := b.node.Status.Capacity[widget]
	if !ok {
		return "none"
	}
	a := b.node.Status.Allocatable[widget]
	return fmt.Sprintf("%d/%d", c.Value(), a.Value())
}

// TestDevices gives a container what its plugin says, over restarts of the container and of
// the agent, and gives it to another pod when the first is gone.
func TestDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDeviceBench(t)
		b.start()
		defer func() { b.stop() }()
		settle(time.Second)
		if got := b.onNode(); got != "none" {
			t.Errorf("without a plugin the node has %s", got)
		}
		plugin, e := b.connect(devices.Options{PreStartRequired: true}, "a", "b")
		plugin.Answer(devices.Edits{
			Env: map[string]string{"WIDGET": "a", "OWN": "no"}, Mounts: []runtime.Mount{{ContainerPath: "/w", HostPath: "/h"}}, Devices: []runtime.Device{{ContainerPath: "/dev/w", HostPath: "/dev/null", Permissions: "rw"}},
			Annotations: map[string]string{"vendor.example/k": "v", runtime.AnnotationTerminationMessage: "/etc/passwd"}, CDIDevices: []string{"vendor.example/widget=a"},
		})
		if got := b.onNode(); got != "2/2" {
			t.Errorf("the node has %s", got)
		}
		p := wants("p", "2")
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "OWN", Value: "yes"}}
		b.put(p)
		settle(5 * time.Second)
		c := b.configOf("p")
		if c == nil || !slices.Equal(c.CDIDevices, []string{"vendor.example/widget=a"}) || len(c.Devices) != 1 || c.Devices[0].HostPath != "/dev/null" || c.Annotations["vendor.example/k"] != "v" || c.Annotations[runtime.AnnotationTerminationMessage] == "/etc/passwd" {
			t.Fatalf("%+v", c)
		}
		env := make(map[string]string)
		for _, v := range c.Env { // of two the later one counts
			env[v.Name] = v.Value
		}
		if env["WIDGET"] != "a" || env["OWN"] != "yes" || !slices.ContainsFunc(c.Mounts, func(m runtime.Mount) bool { return m.ContainerPath == "/w" && m.HostPath == "/h" }) {
			t.Errorf("%v, %+v", env, c.Mounts)
		}
		if got := b.health(p); got != "a:Healthy b:Healthy" {
			t.Errorf("health %q", got)
		}
		sick := devicestest.Devices("a", "b")
		sick[1].Healthy = false
		if err := e.SetDevices(sick); err != nil {
			t.Fatal(err)
		}
		settle(2 * time.Second)
		if got := b.health(p) + ", " + b.onNode(); got != "a:Healthy b:Unhealthy, 2/1" {
			t.Errorf("health %q", got)
		}
		b.restartAgent(p.UID) // the status stays as it was, though no plugin is there yet
		if got := b.onNode(); got != "0/0" {
			t.Errorf("before the plugin is back the node has %s", got)
		}
		plugin, _ = b.connect(devices.Options{}, "a", "b")
		if got := b.health(p) + ", " + b.onNode(); got != "a:Healthy b:Healthy, 2/2" {
			t.Errorf("health %q", got)
		}
		b.rt.Exit("p", 1)
		settle(20 * time.Second)
		if st := b.container(p.UID); st.RestartCount != 1 || st.State.Running == nil || len(plugin.Calls()) > 0 {
			t.Errorf("%+v, %q", st, plugin.Calls())
		}
		q := wants("q", "1")
		b.put(q)
		settle(5 * time.Second)
		if got := b.reason(q); got != "Failed OutOfvendor.example/widget Pod was rejected: Node didn't have enough resource: vendor.example/widget, requested: 1, used: 2, capacity: 2" {
			t.Errorf("a pod too many: %s", got)
		}
		b.del(p, 0)
		settle(30 * time.Second)
		r := wants("r", "2")
		b.put(r)
		settle(5 * time.Second)
		if b.configOf("r") == nil || !slices.Equal(plugin.Calls(), []string{"Allocate a,b"}) {
			t.Errorf("%s, %q", b.reason(r), plugin.Calls())
		}
	})
}

// TestDevicesReboot starts the machine anew: the pod keeps its devices, and waits for the
// plugin. It is not rejected: nobody would replace it while the node is offline.
func TestDevicesReboot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDeviceBench(t)
		b.start()
		defer func() { b.stop() }()
		b.connect(devices.Options{}, "a")
		p := wants("p", "1")
		b.put(p)
		settle(5 * time.Second)
		b.stop()
		b.rt.KillSandboxes()
		b.start()
		settle(10 * time.Second)
		st := b.container(p.UID)
		if w := st.State.Waiting; w == nil || w.Reason != "CreateContainerConfigError" || !strings.Contains(w.Message, "cannot allocate unregistered device "+widget) {
			t.Errorf("%s: %+v", b.reason(p), st)
		}
		b.connect(devices.Options{}, "a")
		settle(2 * time.Second)
		if st := b.container(p.UID); st.State.Running == nil {
			t.Errorf("%s: %+v", b.reason(p), st)
		}
	})
}

// TestDevicesRefused has a plugin refuse an allocation, and one that hangs: the pod fails with
// the kubelet's reason, nothing of it stays, and other pods start meanwhile.
func TestDevicesRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDeviceBench(t)
		b.start()
		defer func() { b.stop() }()
		plugin, _ := b.connect(devices.Options{}, "a")
		plugin.Fail("Allocate", errors.New("rpc error: code = Unknown desc = the widget is broken"))
		p := wants("p", "1")
		b.put(p)
		settle(5 * time.Second)
		const want = "Failed UnexpectedAdmissionError Pod was rejected: Allocate failed due to rpc error: code = Unknown desc = the widget is broken, which is unexpected"
		if got := b.reason(p); got != want || b.happened("UnexpectedAdmissionError") != 1 {
			t.Errorf("%s, events %q", got, b.events)
		}
		plugin.Fail("Allocate", nil)
		plugin.Hang("Allocate", true)
		q, other := wants("q", "1"), newPod("other", busybox("serve"))
		b.put(q)
		b.put(other)
		settle(5 * time.Second)
		b.mu.Lock()
		ready := b.isReady(other.UID)
		b.mu.Unlock()
		if !ready || b.phase(q.UID) != corev1.PodPending {
			t.Errorf("while a plugin hangs: %s, %s", b.reason(other), b.reason(q))
		}
		settle(2 * time.Minute)
		if got := b.reason(q); !strings.Contains(got, "Failed UnexpectedAdmissionError") || !strings.Contains(got, "deadline exceeded") {
			t.Errorf("%s", got)
		}
		plugin.Hang("Allocate", false)
		r := wants("r", "1")
		b.put(r)
		settle(5 * time.Second)
		if got := b.reason(r); b.phase(r.UID) != corev1.PodRunning {
			t.Errorf("the device is not free: %s", got)
		}
		for _, name := range []string{"p", "q"} {
			if b.configOf(name) != nil {
				t.Errorf("container %s was made", name)
			}
		}
		// A pod that is deleted does not wait for the plugin.
		plugin.Hang("Allocate", true)
		b.del(r, 0)
		settle(30 * time.Second)
		s := wants("s", "1")
		b.put(s)
		settle(time.Second)
		b.del(s, 0)
		settle(5 * time.Second)
		if b.mu.Lock(); !b.gone[s.UID] {
			t.Error("a pod whose plugin hangs is not gone")
		}
		b.mu.Unlock()
	})
}

// TestDevicesAligned has devices take part in the topology manager.
func TestDevicesAligned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDeviceBench(t)
		withDevices := b.edit
		b.edit = func(cfg *edged.Config) {
			withDevices(cfg)
			cfg.Topology = edged.Topology{TopologyManagerPolicy: "restricted", Sys: fourCPUs(1)}
		}
		b.start()
		defer func() { b.stop() }()
		plugin, _ := b.connect(devices.Options{}, "a@0", "b@0")
		p := wants("p", "1")
		b.put(p)
		settle(5 * time.Second)
		if got := b.reason(p); b.phase(p.UID) != corev1.PodRunning || !slices.Equal(plugin.Calls(), []string{"Allocate a"}) {
			t.Errorf("%s, %q", got, plugin.Calls())
		}
		b.restartAgent(p.UID)
		plugin, _ = b.connect(devices.Options{}, "a@0", "b@0")
		q := wants("q", "1")
		b.put(q)
		settle(5 * time.Second)
		if got := b.reason(q); b.phase(q.UID) != corev1.PodRunning || !slices.Equal(plugin.Calls(), []string{"Allocate b"}) {
			t.Errorf("%s, %q", got, plugin.Calls())
		}
	})
}

// TestLateList restarts the agent while the runtime does not answer for a while: what
// containers have alone stays theirs, though no pod is known yet.
func TestLateList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDeviceBench(t)
		withDevices := b.edit
		b.edit = func(cfg *edged.Config) {
			withDevices(cfg)
			pinning(1, nil)(cfg)
		}
		b.start()
		defer func() { b.stop() }()
		b.connect(devices.Options{}, "a", "b")
		p := guaranteed("own", "1", "16Mi")
		p.Spec.Containers[0].Resources.Limits[widget] = podtest.Resources(widget, "1")[widget]
		b.put(p)
		settle(5 * time.Second)
		if got := b.runsOn("own") + " " + b.health(p); got != "1 a:Healthy" {
			t.Fatalf("the pod has %s: %s", got, b.reason(p))
		}
		b.stop()
		away := true
		b.rt.FailReadsWith(func(verb string) error {
			if verb == "ListSandboxes" && away {
				return errors.New("not yet")
			}
			return nil
		})
		cfg := b.config()
		b.edit(&cfg)
		agent := b.startAgent(cfg)
		plugin, _ := b.connect(devices.Options{}, "a", "b")
		settle(30 * time.Second)
		if state, err := os.ReadFile(filepath.Join(b.root, "root", "cpu_manager_state")); err != nil || !strings.Contains(string(state), string(p.UID)) || !b.m.Has(string(p.UID)) {
			t.Errorf("before the pods are known: %s, %v; devices: %t", state, err, b.m.Has(string(p.UID)))
		}
		away = false
		b.rt.FailReadsWith(nil)
		settle(30 * time.Second)
		if cpus, _ := agent.OwnResources(string(p.UID), "own"); !slices.Equal(cpus, []int{1}) || len(plugin.Calls()) > 0 || b.health(p) != "a:Healthy" {
			t.Errorf("after the restart the pod has CPUs %v, devices %s, calls %q", cpus, b.health(p), plugin.Calls())
		}
	})
}
