package devices_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/edged/devices/devicestest"
	"github.com/edgekit/edgekit/edged/internal/metricstext"
	"github.com/edgekit/edgekit/edged/internal/podtest"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const widget = "vendor.example/widget"

// newManager is a Manager that has loaded what the store has.
func newManager(t *testing.T, store meta.Store) *devices.Manager {
	t.Helper()
	m, err := devices.New(devices.Config{Store: store})
	if err == nil {
		err = m.Load(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// connect connects a plugin of widgets that has the devices.
func connect(t *testing.T, m *devices.Manager, o devices.Options, ids ...string) (*devicestest.Plugin, *devices.Endpoint) {
	t.Helper()
	p := &devicestest.Plugin{}
	e, err := m.Connect(widget, p, o)
	if err == nil {
		err = e.SetDevices(devicestest.Devices(ids...))
	}
	if err != nil {
		t.Fatal(err)
	}
	return p, e
}

// pod makes a pod whose containers want widgets: "init:i=1", "side:s=1", "a=2".
func pod(uid string, containers ...string) *corev1.Pod {
	var names, counts []string
	for _, c := range containers {
		name, count, _ := strings.Cut(c, "=")
		names, counts = append(names, name), append(counts, count)
	}
	p := podtest.New("Always", names...)
	p.Name, p.UID = uid, types.UID(uid)
	inits := 0
	for i, name := range names {
		c := &p.Spec.Containers[max(i-inits, 0):][0]
		if strings.Contains(name, ":") {
			c = &p.Spec.InitContainers[inits]
			inits++
		}
		if counts[i] != "" {
			c.Resources.Limits = podtest.Resources(widget, counts[i])
			c.Resources.Requests = c.Resources.Limits
		}
	}
	return p
}

// admit reserves and prepares the devices of a pod.
func admit(t *testing.T, m *devices.Manager, p *corev1.Pod) error {
	t.Helper()
	if err := m.Reserve(p); err != nil {
		return err
	}
	return m.Prepare(t.Context(), p)
}

// has is what the containers of a pod have, such as "i:a s:b c:a".
func has(m *devices.Manager, p *corev1.Pod) string {
	var out []string
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		var ids []string
		for _, d := range m.Container(string(p.UID), c.Name) {
			ids = append(ids, d.ID)
		}
		if len(ids) > 0 {
			out = append(out, c.Name+":"+strings.Join(ids, ","))
		}
	}
	return strings.Join(out, " ")
}

// counts are the capacity and what is allocatable of widgets; "none" if there is no such resource.
func counts(m *devices.Manager) string {
	capacity, allocatable := m.Resources()
	c, ok := capacity[widget]
	if !ok {
		return "none"
	}
	a := allocatable[widget]
	return fmt.Sprintf("%d/%d", c.Value(), a.Value())
}

func TestAllocation(t *testing.T) {
	for name, tt := range map[string]struct {
		devices []string
		options devices.Options
		pods    []*corev1.Pod
		want    []string // of each pod: what it has, or the reason
		calls   string
	}{
		"one":      {[]string{"a", "b"}, devices.Options{}, []*corev1.Pod{pod("p", "c=1")}, []string{"c:a"}, "Allocate a"},
		"all":      {[]string{"a", "b"}, devices.Options{}, []*corev1.Pod{pod("p", "c=2")}, []string{"c:a,b"}, "Allocate a,b"},
		"none":     {[]string{"a"}, devices.Options{}, []*corev1.Pod{pod("p", "c")}, []string{""}, ""},
		"too many": {[]string{"a"}, devices.Options{}, []*corev1.Pod{pod("p", "c=2")}, []string{"requested number of devices unavailable for vendor.example/widget. Requested: 2, Available: 1"}, ""},
		"the next pod": {
			[]string{"a", "b"}, devices.Options{}, []*corev1.Pod{pod("p", "c=1"), pod("q", "c=1"), pod("r", "c=1")},
			[]string{"c:a", "c:b", "requested number of devices unavailable for vendor.example/widget. Requested: 1, Available: 0"}, "Allocate a|Allocate b",
		},
		"no healthy": {nil, devices.Options{}, []*corev1.Pod{pod("p", "c=1")}, []string{"no healthy devices present; cannot allocate unhealthy devices vendor.example/widget"}, ""},
		"an init container passes its devices on": {
			[]string{"a", "b", "d"}, devices.Options{}, []*corev1.Pod{pod("p", "init:i=2", "c=1", "e=1")}, []string{"i:a,b c:a e:b"}, "Allocate a,b|Allocate a|Allocate b",
		},
		"a sidecar keeps them": {
			[]string{"a", "b"}, devices.Options{}, []*corev1.Pod{pod("p", "init:i=1", "side:s=1", "c=1")}, []string{"i:a s:a c:b"}, "Allocate a|Allocate a|Allocate b",
		},
		"preferred": {
			[]string{"a", "b", "d"}, devices.Options{PreferredAllocation: true}, []*corev1.Pod{pod("p", "c=2")}, []string{"c:b,d"}, "Preferred a,b,d|Allocate b,d",
		},
		"preferred and passed on": {
			[]string{"a", "b", "d"}, devices.Options{PreferredAllocation: true}, []*corev1.Pod{pod("p", "init:i=1", "c=2")},
			// The other containers' share is not offered: another pod could take what they then lack.
			[]string{"i:d c:b,d"}, "Preferred a,d|Allocate d|Preferred a,b,d|Allocate b,d",
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t, memstore.New())
			p, _ := connect(t, m, tt.options, tt.devices...)
			for i, one := range tt.pods {
				var got string
				if err := admit(t, m, one); err != nil {
					got = err.Error()
				} else {
					got = has(m, one)
				}
				if got != tt.want[i] {
					t.Errorf("pod %s: %q, want %q", one.Name, got, tt.want[i])
				}
			}
			calls := p.Calls()
			for i, call := range calls {
				method, ids, _ := strings.Cut(call, " ")
				calls[i] = method + " " + strings.Join(slices.Sorted(strings.SplitSeq(ids, ",")), ",")
			}
			if got := strings.Join(calls, "|"); got != tt.calls {
				t.Errorf("calls %q, want %q", got, tt.calls)
			}
		})
	}
}

// TestUnknown refuses a resource that no plugin has, and what is no extended resource.
func TestUnknown(t *testing.T) {
	m := newManager(t, nil)
	if err := m.Reserve(pod("p", "c=1")); err == nil || err.Error() != "cannot allocate unregistered device "+widget {
		t.Errorf("%v", err)
	}
	for _, name := range []string{"", "widget", "kubernetes.io/widget", "x.kubernetes.io/widget", "requests.vendor.example/widget", "vendor.example/", "/widget", "vendor.example/a/b", "vendor example/a", "cpu", "hugepages-2Mi", "vendor.example/" + strings.Repeat("a", 64)} {
		if _, err := m.Connect(name, &devicestest.Plugin{}, devices.Options{}); err == nil || !strings.Contains(err.Error(), "extended resource") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if capacity, _ := m.Resources(); len(capacity) > 0 {
		t.Errorf("%v", capacity)
	}
}

// TestRestart gives nothing twice and takes nothing away over restarts of the agent; what
// is only reserved is lost.
func TestRestart(t *testing.T) {
	store := memstore.New()
	m := newManager(t, store)
	plugin, _ := connect(t, m, devices.Options{PreStartRequired: true}, "a", "b", "d")
	plugin.Answer(devices.Edits{Env: map[string]string{"K": "v"}, CDIDevices: []string{"vendor.example/widget=a"}})
	p, q := pod("p", "c=1"), pod("q", "c=1")
	if err := errors.Join(admit(t, m, p), m.Reserve(q), m.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}

	m = newManager(t, store)
	if got := has(m, p) + "," + has(m, q) + "," + counts(m); got != "c:a,,0/0" {
		t.Errorf("after the restart %s", got)
	}
	c := &p.Spec.Containers[0]
	if _, err := m.Edits(t.Context(), p, c); err == nil || !strings.Contains(err.Error(), "has not registered since") {
		t.Errorf("a container starts before the plugin is there: %v", err)
	}
	if err := m.Reserve(p); err != nil {
		t.Errorf("the pod has what it wants: %v", err)
	}
	plugin, e := connect(t, m, devices.Options{PreStartRequired: true}, "a", "b", "d")
	sick := devicestest.Devices("a", "b", "d")
	sick[0].Healthy = false
	if err := e.SetDevices(sick); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Edits(t.Context(), p, c); err == nil || !strings.Contains(err.Error(), "no longer healthy") {
		t.Errorf("a container starts with an unhealthy device: %v", err)
	}
	if err := e.SetDevices(devicestest.Devices("a", "b", "d")); err != nil {
		t.Fatal(err)
	}
	edits, err := m.Edits(t.Context(), p, c)
	if err != nil || edits.Env["K"] != "v" || !slices.Equal(edits.CDIDevices, []string{"vendor.example/widget=a"}) {
		t.Errorf("%+v, %v", edits, err)
	}
	if err := admit(t, m, q); err != nil || has(m, q) != "c:b" {
		t.Errorf("%s, %v", has(m, q), err)
	}
	if got := plugin.Calls(); !slices.Equal(got, []string{"PreStart a", "Allocate b"}) {
		t.Errorf("calls %q", got)
	}
	// What is released is free, and stays so.
	m.Release(func(uid string) bool { return uid == "q" })
	if err := m.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	m = newManager(t, store)
	if got := has(m, p) + "," + has(m, q); got != ",c:b" {
		t.Errorf("after the release %s", got)
	}
}

// TestSpoiltRecord counts the devices of a pod whose record cannot be read as free.
func TestSpoiltRecord(t *testing.T) {
	store := memstore.New()
	m := newManager(t, store)
	connect(t, m, devices.Options{}, "a")
	p := pod("p", "c=1")
	if err := admit(t, m, p); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Apply(t.Context(), meta.Op{Key: meta.Local + "devices/pods/p", Value: []byte("nonsense")}); err != nil {
		t.Fatal(err)
	}
	m = newManager(t, store)
	connect(t, m, devices.Options{}, "a")
	if err := admit(t, m, pod("q", "c=1")); err != nil || has(m, p) != "" {
		t.Errorf("%v, %s", err, has(m, p))
	}
}

// full is a store that takes no writes.
type full struct {
	meta.Store
	is bool
}

func (f *full) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	if f.is {
		return 0, syscall.ENOSPC
	}
	return f.Store.Apply(ctx, ops...)
}

// TestFullDisk does not let a pod start before what it has is durable, asks the plugin
// once, and goes on when the disk does.
func TestFullDisk(t *testing.T) {
	store := &full{Store: memstore.New(), is: true}
	m := newManager(t, store)
	plugin, _ := connect(t, m, devices.Options{}, "a")
	p := pod("p", "c=1")
	err := admit(t, m, p)
	var refused *devices.Error
	if !errors.Is(err, syscall.ENOSPC) || errors.As(err, &refused) {
		t.Fatalf("%v", err)
	}
	if err := m.Flush(t.Context()); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
	store.is = false
	if err := errors.Join(m.Prepare(t.Context(), p), m.Flush(t.Context())); err != nil {
		t.Error(err)
	}
	if calls := plugin.Calls(); len(calls) != 1 {
		t.Errorf("%q", calls)
	}
	if again := newManager(t, store); has(again, p) != "c:a" || counts(again) != "0/0" {
		t.Errorf("%s, %s", has(again, p), counts(again))
	}
}

// TestPluginFails has calls of a plugin fail or hang: the pod is refused in bounded time,
// and its devices are free for another.
func TestPluginFails(t *testing.T) {
	boom := errors.New("boom")
	for name, tt := range map[string]struct {
		method string
		hang   bool
		within time.Duration
		want   string
	}{
		"Allocate fails":  {"Allocate", false, 0, "boom"},
		"Allocate hangs":  {"Allocate", true, 2 * time.Minute, "context deadline exceeded"},
		"Preferred fails": {"Preferred", false, 0, "device plugin GetPreferredAllocation rpc failed with err: boom"},
		"Preferred hangs": {"Preferred", true, 10 * time.Second, "device plugin GetPreferredAllocation rpc failed with err: context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newManager(t, memstore.New())
				plugin, _ := connect(t, m, devices.Options{PreferredAllocation: true}, "a", "b")
				if plugin.Hang(tt.method, tt.hang); !tt.hang {
					plugin.Fail(tt.method, boom)
				}
				start := time.Now()
				p := pod("p", "c=1")
				err := admit(t, m, p)
				var refused *devices.Error
				if !errors.As(err, &refused) || err.Error() != tt.want || time.Since(start) != tt.within {
					t.Errorf("%v after %s, want %s after %s", err, time.Since(start), tt.want, tt.within)
				}
				plugin.Hang(tt.method, false)
				plugin.Fail(tt.method, nil)
				m.Release(func(string) bool { return false })
				if err := admit(t, m, pod("q", "c=2")); err != nil {
					t.Errorf("the devices are not free: %v", err)
				}
			})
		})
	}
}

// TestPreStartFails keeps a container from starting, and no longer than that.
func TestPreStartFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, nil)
		plugin, _ := connect(t, m, devices.Options{PreStartRequired: true}, "a")
		p := pod("p", "c=1")
		if err := admit(t, m, p); err != nil {
			t.Fatal(err)
		}
		plugin.Hang("PreStart", true)
		start := time.Now()
		_, err := m.Edits(t.Context(), p, &p.Spec.Containers[0])
		if err == nil || !strings.Contains(err.Error(), "PreStartContainer rpc failed") || time.Since(start) != 30*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		plugin.Hang("PreStart", false)
		if edits, err := m.Edits(t.Context(), p, &p.Spec.Containers[0]); err != nil || edits.Env["DEVICES"] != "a" {
			t.Errorf("%+v, %v", edits, err)
		}
	})
}

// TestPreStartWithoutPlugin keeps a container from starting while the plugin that wants to
// know of it is gone.
func TestPreStartWithoutPlugin(t *testing.T) {
	m := newManager(t, nil)
	_, e := connect(t, m, devices.Options{PreStartRequired: true}, "a")
	p := pod("p", "c=1")
	if err := admit(t, m, p); err != nil {
		t.Fatal(err)
	}
	e.Close()
	if _, err := m.Edits(t.Context(), p, &p.Spec.Containers[0]); err == nil || !strings.Contains(err.Error(), "the device plugin of vendor.example/widget is gone") {
		t.Errorf("without the plugin: %v", err)
	}
	plugin, _ := connect(t, m, devices.Options{PreStartRequired: true}, "a")
	if _, err := m.Edits(t.Context(), p, &p.Spec.Containers[0]); err != nil || strings.Join(plugin.Calls(), "|") != "PreStart a" {
		t.Errorf("%v, %q", err, plugin.Calls())
	}
}

// TestHangDisturbsNobody has a plugin hang while other pods want devices of another, or of
// the same one.
func TestHangDisturbsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, memstore.New())
		plugin, _ := connect(t, m, devices.Options{}, "a", "b")
		other, err := m.Connect("other.example/thing", &devicestest.Plugin{}, devices.Options{})
		if err == nil {
			err = other.SetDevices(devicestest.Devices("x"))
		}
		p, q, r := pod("p", "c=1"), pod("q", "c=1"), podtest.New("Always", "c")
		r.UID, r.Spec.Containers[0].Resources.Limits = "r", podtest.Resources("other.example/thing", "1")
		if err := errors.Join(err, m.Reserve(p), m.Reserve(q), m.Reserve(r)); err != nil {
			t.Fatal(err)
		}
		plugin.Hang("Allocate", true)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		go func() { ended <- m.Prepare(ctx, p) }()
		synctest.Wait()
		go func() { ended <- m.Prepare(ctx, q) }() // the plugin has one call at a time
		synctest.Wait()
		start := time.Now()
		if err := m.Prepare(t.Context(), r); err != nil || time.Since(start) != 0 || has(m, r) != "c:x" {
			t.Errorf("another plugin's device: %v after %s, %q", err, time.Since(start), has(m, r))
		}
		if calls := plugin.Calls(); len(calls) != 1 {
			t.Errorf("calls at once: %q", calls)
		}
		cancel() // the pods are deleted
		for range 2 {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		}
	})
}

// TestPluginGoes follows the kubelet: nothing is allocatable at once, the capacity stays
// for five minutes, then it is zero. A plugin that comes back has all again, and a
// container that has devices keeps them.
func TestPluginGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		m := newManager(t, store)
		_, e := connect(t, m, devices.Options{}, "a", "b")
		p := pod("p", "c=1")
		if err := admit(t, m, p); err != nil || counts(m) != "2/2" {
			t.Fatalf("%v, %s", err, counts(m))
		}
		e.Close()
		e.Close()
		if got := counts(m); got != "2/0" {
			t.Errorf("just gone: %s", got)
		}
		if err := e.SetDevices(nil); err == nil {
			t.Error("a plugin that is gone has devices")
		}
		list := make(corev1.ResourceList)
		m.RaiseFor(pod("q", "c=1"), list)
		m.RaiseFor(p, list)
		if q := list[widget]; q.Value() != 1 {
			t.Errorf("the pod that has a device: %v", list)
		}
		settle(5*time.Minute + time.Second)
		if got := counts(m); got != "0/0" || has(m, p) != "c:a" {
			t.Errorf("gone for long: %s, %s", got, has(m, p))
		}
		if err := m.Flush(t.Context()); err != nil || counts(newManager(t, store)) != "none" {
			t.Errorf("after a restart: %v, %s", err, counts(newManager(t, store)))
		}
		connect(t, m, devices.Options{}, "a", "b", "d")
		if got := counts(m); got != "3/3" {
			t.Errorf("back again: %s", got)
		}
		if err := m.Flush(t.Context()); err != nil || counts(newManager(t, store)) != "0/0" {
			t.Errorf("after a restart: %v, %s", err, counts(newManager(t, store)))
		}
		if edits, err := m.Edits(t.Context(), p, &p.Spec.Containers[0]); err != nil || edits.Env["DEVICES"] != "a" {
			t.Errorf("%+v, %v", edits, err)
		}
	})
}

func settle(d time.Duration) { <-time.After(d); synctest.Wait() }

// TestTwoPlugins has two plugins of one resource: the newer one counts, and the older one
// stands by. One that never says what it has does not count.
func TestTwoPlugins(t *testing.T) {
	m := newManager(t, nil)
	first, e1 := connect(t, m, devices.Options{}, "a")
	second, e2 := connect(t, m, devices.Options{}, "x", "y")
	if _, err := m.Connect(widget, &devicestest.Plugin{}, devices.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := e1.SetDevices(devicestest.Devices("a", "b", "d")); err != nil || counts(m) != "2/2" {
		t.Errorf("%v, %s", err, counts(m))
	}
	if err := admit(t, m, pod("p", "c=1")); err != nil || len(second.Calls()) != 1 || len(first.Calls()) != 0 {
		t.Errorf("%v, %q, %q", err, first.Calls(), second.Calls())
	}
	e2.Close()
	if got := counts(m); got != "3/3" {
		t.Errorf("the older one: %s", got)
	}
	for range 2 {
		if _, err := m.Connect(widget, &devicestest.Plugin{}, devices.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.Connect(widget, &devicestest.Plugin{}, devices.Options{}); err == nil || !strings.Contains(err.Error(), "4 plugins already") {
		t.Errorf("%v", err)
	}
}

// TestBounds bounds resources and devices.
func TestBounds(t *testing.T) {
	m := newManager(t, nil)
	list := make([]devices.Device, 20000)
	for i := range list {
		list[i] = devices.Device{ID: fmt.Sprint(i), Healthy: true}
	}
	var last error
	for i := range 65 {
		e, err := m.Connect(fmt.Sprintf("vendor.example/w%d", i), &devicestest.Plugin{}, devices.Options{})
		if i == 64 {
			last = err
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := e.SetDevices(list); i < 2 && err != nil || i >= 2 && (err == nil || !strings.Contains(err.Error(), "50000 in all")) {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if last == nil || !strings.Contains(last.Error(), "64 resources") {
		t.Errorf("%v", last)
	}
}

// TestChanged says when something changed, and not when it did not.
func TestChanged(t *testing.T) {
	m := newManager(t, nil)
	_, e := connect(t, m, devices.Options{}, "a")
	changed := func() bool {
		select {
		case <-m.Changed():
			return true
		default:
			return false
		}
	}
	if !changed() || changed() {
		t.Error("one list, one change")
	}
	if err := e.SetDevices(devicestest.Devices("a")); err != nil || changed() {
		t.Errorf("the same list: %v", err)
	}
	sick := []devices.Device{{ID: "a"}}
	if err := e.SetDevices(sick); err != nil || !changed() {
		t.Errorf("another health: %v", err)
	}
	if e.Close(); !changed() {
		t.Error("the plugin is gone")
	}
	var text strings.Builder
	if err := metricstext.Write(&text, m); err != nil || !strings.Contains(text.String(), `kubelet_device_plugin_registration_total{resource_name="vendor.example/widget"} 1`) {
		t.Errorf("%s, %v", text.String(), err)
	}
	if all := m.Allocatable(); len(all) > 0 {
		t.Errorf("%v", all)
	}
}

// TestMerged merges what two plugins answer for one container: the first one counts.
func TestMerged(t *testing.T) {
	m := newManager(t, nil)
	a, _ := connect(t, m, devices.Options{}, "a")
	b := &devicestest.Plugin{}
	e, err := m.Connect("zz.example/thing", b, devices.Options{})
	if err == nil {
		err = e.SetDevices(devicestest.Devices("x"))
	}
	if err != nil {
		t.Fatal(err)
	}
	a.Answer(devices.Edits{Env: map[string]string{"A": "1"}, Annotations: map[string]string{"k": "1"}, CDIDevices: []string{"v/w=a"}})
	b.Answer(devices.Edits{Env: map[string]string{"A": "2", "B": "2"}, Annotations: map[string]string{"k": "2"}, CDIDevices: []string{"v/w=a", "v/w=b"}})
	p := pod("p", "c=1")
	maps.Copy(p.Spec.Containers[0].Resources.Limits, podtest.Resources("zz.example/thing", "1"))
	if err := admit(t, m, p); err != nil {
		t.Fatal(err)
	}
	edits, err := m.Edits(t.Context(), p, &p.Spec.Containers[0])
	if err != nil || edits.Env["A"] != "1" || edits.Env["B"] != "2" || edits.Annotations["k"] != "1" || len(edits.CDIDevices) != 2 {
		t.Errorf("%+v, %v", edits, err)
	}
	if none, err := m.Edits(t.Context(), p, &corev1.Container{Name: "other"}); none != nil || err != nil {
		t.Errorf("%+v, %v", none, err)
	}
}
