package deviceplugin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/edgekit/edgekit/edged/deviceplugin"
	"github.com/edgekit/edgekit/edged/deviceplugin/deviceplugintest"
	"github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/edged/internal/podtest"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/meta/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const widget = "vendor.example/widget"

// limit is how long a test waits for what must come.
const limit = 2 * time.Minute

// log is a logger's text.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

// bench is a server on a folder of its own.
type bench struct {
	t    *testing.T
	dir  string
	m    *devices.Manager
	log  *log
	stop func()
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir, err := os.MkdirTemp("", "dp") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &bench{t: t, dir: dir, log: &log{}}
	if b.m, err = devices.New(devices.Config{Store: memstore.New()}); err != nil {
		t.Fatal(err)
	}
	b.start()
	t.Cleanup(func() { b.stop() })
	return b
}

// start starts a server, which stop stops.
func (b *bench) start() {
	b.t.Helper()
	s, err := deviceplugin.New(deviceplugin.Config{Dir: b.dir, Devices: b.m, Logger: slog.New(slog.NewTextHandler(b.log, nil))})
	if err != nil {
		b.t.Fatal(err)
	}
	b.stop = background(b.t, s.Run)
	select {
	case <-s.Ready():
	case <-time.After(limit):
		b.t.Fatal("the server is not ready")
	}
}

// background runs something until the function that it returns is called, or the test ends.
func background(t *testing.T, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background()) // ends in stop, also after the test's own context
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// plugin starts a plugin, which die ends.
func (b *bench) plugin(cfg deviceplugintest.Config) (p *deviceplugintest.Plugin, die func()) {
	b.t.Helper()
	cfg.Dir = b.dir
	if cfg.Resource == "" {
		cfg.Resource = widget
	}
	p, err := deviceplugintest.New(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	return p, background(b.t, p.Run)
}

// counts are the capacity of a resource, and what is allocatable.
func (b *bench) counts(name string) string {
	capacity, allocatable := b.m.Resources()
	c, a := capacity[corev1.ResourceName(name)], allocatable[corev1.ResourceName(name)]
	return fmt.Sprintf("%d/%d", c.Value(), a.Value())
}

func (b *bench) waitCounts(name, want string) {
	b.t.Helper()
	hubtest.Until(b.t, name+" "+want, func() bool { return b.counts(name) == want })
}

// pod is a pod with one container that wants widgets.
func pod(uid, count string) *corev1.Pod {
	p := podtest.New("Always", "c")
	p.Name, p.UID = uid, types.UID(uid)
	p.Spec.Containers[0].Resources.Limits = podtest.Resources(widget, count)
	return p
}

// allocate gives a pod its devices.
func (b *bench) allocate(p *corev1.Pod) (*devices.Edits, error) {
	if err := errors.Join(b.m.Reserve(p)); err != nil {
		return nil, err
	}
	if err := b.m.Prepare(b.t.Context(), p); err != nil {
		return nil, err
	}
	return b.m.Edits(b.t.Context(), p, &p.Spec.Containers[0])
}

// TestPlugin takes a plugin from its registration to its end, with all calls.
func TestPlugin(t *testing.T) {
	b := newBench(t)
	p, die := b.plugin(deviceplugintest.Config{
		Devices: []string{"a", "b", "c"}, Nodes: map[string][]int64{"a": {0, 1}}, PreStart: true, Preferred: true,
		Answer: func(ids []string) *api.ContainerAllocateResponse {
			return &api.ContainerAllocateResponse{
				Envs: map[string]string{"IDS": strings.Join(ids, ",")}, Mounts: []*api.Mount{{ContainerPath: "/c", HostPath: "/h", ReadOnly: true}},
				Devices: []*api.DeviceSpec{{ContainerPath: "/dev/w", HostPath: "/dev/null", Permissions: "rw"}}, Annotations: map[string]string{"k": "v"}, CdiDevices: []*api.CDIDevice{{Name: "vendor.example/widget=a"}},
			}
		},
	})
	b.waitCounts(widget, "3/3")
	if all := b.m.Allocatable(); len(all) != 3 || all[0].Nodes != 3 {
		t.Errorf("%+v", all)
	}
	edits, err := b.allocate(pod("p", "1"))
	if err != nil || edits.Env["IDS"] != "c" || len(edits.Mounts) != 1 || !edits.Mounts[0].ReadOnly || edits.Devices[0].HostPath != "/dev/null" || edits.Annotations["k"] != "v" || edits.CDIDevices[0] != "vendor.example/widget=a" {
		t.Errorf("%+v, %v", edits, err)
	}
	want := []string{"GetDevicePluginOptions", "ListAndWatch", "GetPreferredAllocation a b c", "Allocate c", "PreStartContainer c"}
	if got := p.Calls(); !slices.Equal(got, want) {
		t.Errorf("calls %q, want %q", got, want)
	}
	p.SetHealth("c", false)
	b.waitCounts(widget, "3/2")
	if d := b.m.Container("p", "c"); len(d) != 1 || d[0].Healthy {
		t.Errorf("%+v", d)
	}
	p.SetDevices("a")
	b.waitCounts(widget, "1/1")
	die()
	b.waitCounts(widget, "1/0")
	hubtest.Until(t, "the log", func() bool { return b.log.has("device plugin is gone") })
}

// TestRegistersAnew has the agent restart: plugins that watch the folder register again.
func TestRegistersAnew(t *testing.T) {
	b := newBench(t)
	p, _ := b.plugin(deviceplugintest.Config{Devices: []string{"a"}})
	b.waitCounts(widget, "1/1")
	for restart := range 3 {
		b.stop()
		b.waitCounts(widget, "1/0")
		b.start()
		b.waitCounts(widget, "1/1")
		hubtest.Until(t, "registered", func() bool { n, err := p.Registered(); return n > restart && err == nil })
	}
}

func TestRefused(t *testing.T) {
	b := newBench(t)
	p, _ := b.plugin(deviceplugintest.Config{Resource: "vendor.example/fine", Devices: []string{"a"}})
	b.waitCounts("vendor.example/fine", "1/1")
	if err := os.WriteFile(filepath.Join(b.dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		version, endpoint, resource string
		want                        string
	}{
		"another version":     {"v1alpha1", "x.sock", widget, "v1alpha1"},
		"no version":          {"", "x.sock", widget, "API version"},
		"no extended name":    {"v1beta1", "x.sock", "widget", "extended resource"},
		"Kubernetes' domain":  {"v1beta1", "x.sock", "kubernetes.io/widget", "extended resource"},
		"a native resource":   {"v1beta1", "x.sock", "cpu", "extended resource"},
		"a name that is long": {"v1beta1", "x.sock", "vendor.example/" + strings.Repeat("x", 100), "extended resource"},
		"above the folder":    {"v1beta1", "../x.sock", widget, "name of a socket"},
		"a path":              {"v1beta1", "/run/x.sock", widget, "name of a socket"},
		"no endpoint":         {"v1beta1", "", widget, "name of a socket"},
		"the node's own":      {"v1beta1", "kubelet.sock", widget, "name of a socket"},
	} {
		err := deviceplugintest.Register(t.Context(), filepath.Join(b.dir, deviceplugin.SocketName), &api.RegisterRequest{Version: tt.version, Endpoint: tt.endpoint, ResourceName: tt.resource})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	hubtest.Until(t, "registered", func() bool { n, _ := p.Registered(); return n > 0 })
	if n, err := p.Registered(); n != 1 || err != nil || b.counts("vendor.example/fine") != "1/1" || b.counts(widget) != "0/0" {
		t.Errorf("the other plugin: %d, %v, %s", n, err, b.counts("vendor.example/fine"))
	}
}

// TestSilent has plugins that do not answer, or never say what they have: no other plugin
// waits for them.
func TestSilent(t *testing.T) {
	b := newBench(t)
	l, err := net.Listen("unix", filepath.Join(b.dir, "silent.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	refused := make(chan error, 1)
	go func() {
		refused <- deviceplugintest.Register(ctx, filepath.Join(b.dir, deviceplugin.SocketName), &api.RegisterRequest{Version: "v1beta1", Endpoint: "silent.sock", ResourceName: "vendor.example/silent"})
	}()
	mute, err := deviceplugintest.New(deviceplugintest.Config{Resource: "vendor.example/mute", Dir: b.dir, Devices: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	mute.Hang("ListAndWatch", true)
	background(t, mute.Run)
	hubtest.Until(t, "the mute plugin registers", func() bool { n, _ := mute.Registered(); return n == 1 })
	b.plugin(deviceplugintest.Config{Devices: []string{"a"}})
	b.waitCounts(widget, "1/1")
	if got := b.counts("vendor.example/mute"); got != "0/0" {
		t.Errorf("the mute plugin has %s", got)
	}
	cancel()
	if err := <-refused; err == nil {
		t.Error("the silent plugin is registered")
	}
}

// TestLies sends lists that no honest plugin sends: the plugin is gone, or what is wrong is
// left out. Another plugin is undisturbed.
func TestLies(t *testing.T) {
	many := func(n, length int) *api.ListAndWatchResponse {
		out := &api.ListAndWatchResponse{Devices: make([]*api.Device, n)}
		for i := range out.Devices {
			out.Devices[i] = &api.Device{ID: fmt.Sprintf("%0*d", length, i), Health: api.Healthy}
		}
		return out
	}
	for name, tt := range map[string]struct {
		list *api.ListAndWatchResponse
		want string
		log  string
	}{
		"an ID twice":     {&api.ListAndWatchResponse{Devices: []*api.Device{{ID: "a", Health: "Healthy"}, {ID: "a"}, {ID: "b", Health: "Healthy"}}}, "2/1", ""},
		"an unknown word": {&api.ListAndWatchResponse{Devices: []*api.Device{{ID: "a", Health: "splendid"}}}, "1/0", ""},
		"no ID":           {&api.ListAndWatchResponse{Devices: []*api.Device{{}, {ID: strings.Repeat("x", 300)}, {ID: "b", Health: "Healthy"}, {ID: "c", Health: "Healthy"}}}, "2/2", "left out"},
		"20,000 devices":  {many(20000, 6), "20000/20000", ""},
		"20,001 devices":  {many(20001, 6), "1/0", "may have 20000 devices"},
		"1e6 devices":     {many(1e6, 7), "1/0", "ResourceExhausted"},
		"a huge message":  {&api.ListAndWatchResponse{Devices: []*api.Device{{ID: strings.Repeat("x", 8<<20)}}}, "1/0", "ResourceExhausted"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.plugin(deviceplugintest.Config{Resource: "vendor.example/fine", Devices: []string{"a"}})
			p, _ := b.plugin(deviceplugintest.Config{Devices: []string{"first"}})
			b.waitCounts("vendor.example/fine", "1/1")
			b.waitCounts(widget, "1/1")
			p.Send(tt.list)
			b.waitCounts(widget, tt.want)
			if tt.log != "" {
				hubtest.Until(t, "the log says "+tt.log, func() bool { return b.log.has(tt.log) })
			}
			if got := b.counts("vendor.example/fine"); got != "1/1" {
				t.Errorf("the other plugin has %s", got)
			}
		})
	}
}

// TestDiesInAllocate ends a plugin in the middle of an allocation: the pod is refused at
// once, and gets its device when the plugin is back.
func TestDiesInAllocate(t *testing.T) {
	b := newBench(t)
	p, die := b.plugin(deviceplugintest.Config{Devices: []string{"a"}})
	b.waitCounts(widget, "1/1")
	p.Hang("Allocate", true)
	refused := make(chan error, 1)
	go func() { _, err := b.allocate(pod("p", "1")); refused <- err }()
	hubtest.Until(t, "the call", func() bool { return slices.Contains(p.Calls(), "Allocate a") })
	die()
	var own *devices.Error
	if err := <-refused; !errors.As(err, &own) || status.Code(own.Err) == codes.OK {
		t.Errorf("%v", err)
	}
	b.m.Release(func(string) bool { return false })
	b.waitCounts(widget, "1/0")
	if _, err := b.allocate(pod("q", "1")); err == nil || !strings.Contains(err.Error(), "no healthy devices present") {
		t.Errorf("%v", err)
	}
	b.plugin(deviceplugintest.Config{Devices: []string{"a"}})
	b.waitCounts(widget, "1/1")
	if _, err := b.allocate(pod("r", "1")); err != nil {
		t.Error(err)
	}
}

// TestAnswers has a plugin fail, or answer what cannot be used.
func TestAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		fail   error
		answer *api.ContainerAllocateResponse
		want   string
	}{
		"it fails":     {status.Error(codes.Internal, "no such widget"), nil, "rpc error: code = Internal desc = no such widget"},
		"too much":     {nil, &api.ContainerAllocateResponse{Envs: map[string]string{"A": strings.Repeat("x", 300<<10)}}, "too large"},
		"a huge one":   {nil, &api.ContainerAllocateResponse{Envs: map[string]string{"A": strings.Repeat("x", 5<<20)}}, "ResourceExhausted"},
		"nothing":      {nil, &api.ContainerAllocateResponse{}, ""},
		"empty things": {nil, &api.ContainerAllocateResponse{Devices: []*api.DeviceSpec{{}}, Mounts: []*api.Mount{{}}, CdiDevices: []*api.CDIDevice{{}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			p, _ := b.plugin(deviceplugintest.Config{Devices: []string{"a"}, Answer: func([]string) *api.ContainerAllocateResponse { return tt.answer }})
			p.Fail("Allocate", tt.fail)
			b.waitCounts(widget, "1/1")
			edits, err := b.allocate(pod("p", "1"))
			if tt.want == "" && (err != nil || len(edits.Devices)+len(edits.Mounts)+len(edits.CDIDevices) > 0) || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%+v, %v; want %q", edits, err, tt.want)
			}
			if got := b.counts(widget); got != "1/1" {
				t.Errorf("the plugin has %s", got)
			}
		})
	}
}

// TestPreferredLies has a plugin prefer devices that are not there or not free.
func TestPreferredLies(t *testing.T) {
	b := newBench(t)
	b.plugin(deviceplugintest.Config{Devices: []string{"a", "b", "c"}, Preferred: true, Prefer: func([]string, []string, int) []string {
		return []string{"none", "c", "c", "a", "b", "b"}
	}})
	b.waitCounts(widget, "3/3")
	for uid, want := range map[string]string{"p": "1", "q": "2"} {
		if _, err := b.allocate(pod(uid, want)); err != nil {
			t.Error(err)
		}
	}
	seen := make(map[string]bool)
	for _, uid := range []string{"p", "q"} {
		for _, d := range b.m.Container(uid, "c") {
			if seen[d.ID] {
				t.Errorf("%s is given twice", d.ID)
			}
			seen[d.ID] = true
		}
	}
	if len(seen) != 3 {
		t.Errorf("%v", seen)
	}
}

// TestTwice registers plugins of one resource twice: on two sockets the newer one counts
// and the older one takes over when that dies; on one socket the newer one replaces it.
func TestTwice(t *testing.T) {
	b := newBench(t)
	b.plugin(deviceplugintest.Config{Devices: []string{"a"}, Socket: "one.sock"})
	b.waitCounts(widget, "1/1")
	_, die := b.plugin(deviceplugintest.Config{Devices: []string{"x", "y"}, Socket: "two.sock"})
	b.waitCounts(widget, "2/2")
	die()
	b.waitCounts(widget, "1/1")
	err := deviceplugintest.Register(t.Context(), filepath.Join(b.dir, deviceplugin.SocketName), &api.RegisterRequest{Version: "v1beta1", Endpoint: "one.sock", ResourceName: widget})
	if err != nil {
		t.Error(err)
	}
	b.waitCounts(widget, "1/1")
}

// TestFolder removes old sockets and nothing else, and gives its own the rights of the owner
// alone.
func TestFolder(t *testing.T) {
	b := newBench(t)
	b.stop()
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(b.dir, "old.sock")})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	old.Close()
	if err := errors.Join(os.WriteFile(filepath.Join(b.dir, "kubelet_internal_checkpoint"), []byte("{}"), 0o600), os.Mkdir(filepath.Join(b.dir, "folder"), 0o700)); err != nil {
		t.Fatal(err)
	}
	b.start()
	entries, err := os.ReadDir(b.dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{"folder", "kubelet.sock", "kubelet_internal_checkpoint"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("%q, %v; want %q", names, err, want)
	}
	if info, err := os.Stat(filepath.Join(b.dir, "kubelet.sock")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestInUse leaves a folder alone that another program serves.
func TestInUse(t *testing.T) {
	b := newBench(t)
	p, _ := b.plugin(deviceplugintest.Config{Devices: []string{"a"}})
	b.waitCounts(widget, "1/1")
	text := &log{}
	second, err := deviceplugin.New(deviceplugin.Config{Dir: b.dir, Devices: b.m, Logger: slog.New(slog.NewTextHandler(text, nil))})
	if err != nil {
		t.Fatal(err)
	}
	stop := background(t, second.Run)
	hubtest.Until(t, "the log", func() bool { return text.has("another program serves the socket") })
	select {
	case <-second.Ready():
		t.Error("the second one serves the folder")
	default:
	}
	stop()
	hubtest.Until(t, "registered", func() bool { n, _ := p.Registered(); return n == 1 })
	if n, err := p.Registered(); n != 1 || err != nil || b.counts(widget) != "1/1" {
		t.Errorf("%d, %v, %s", n, err, b.counts(widget))
	}
}

// TestConnect is how a watcher of plugins_registry makes plugins known: with any path.
func TestConnect(t *testing.T) {
	b := newBench(t)
	p, err := deviceplugintest.New(deviceplugintest.Config{Resource: widget, Dir: b.dir, Devices: []string{"a"}, Version: "v0"})
	if err != nil {
		t.Fatal(err)
	}
	background(t, p.Run)
	hubtest.Until(t, "refused", func() bool { _, err := p.Registered(); return err != nil })
	b.stop()
	s, err := deviceplugin.New(deviceplugin.Config{Dir: filepath.Join(b.dir, "other"), Devices: b.m})
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(b.dir, "vendor.example_widget.sock")
	if err := s.Connect(t.Context(), "cpu", socket); err == nil {
		t.Error("no extended resource")
	}
	background(t, s.Run)
	<-s.Ready()
	b.start() // the plugin makes its socket anew
	hubtest.Until(t, "connected", func() bool { return s.Connect(t.Context(), widget, socket) == nil })
	b.waitCounts(widget, "1/1")
	s.Disconnect(widget, socket)
	s.Disconnect(widget, socket)
	if got := b.counts(widget); got != "1/0" {
		t.Errorf("%s", got)
	}
}

func TestNonsense(t *testing.T) {
	m, err := devices.New(devices.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]deviceplugin.Config{"Config.Dir": {Dir: "relative", Devices: m}, "Config.Devices": {}} {
		if _, err := deviceplugin.New(cfg); err == nil || !strings.HasPrefix(err.Error(), "deviceplugin: "+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
