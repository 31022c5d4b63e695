package pluginregistry_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/edgekit/edgekit/edged/pluginregistry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plugin serves a registration socket.
type plugin struct {
	registration.UnimplementedRegistrationServer
	info     *registration.PluginInfo
	hang     bool
	answered chan *registration.RegistrationStatus
}

func (p *plugin) GetInfo(ctx context.Context, _ *registration.InfoRequest) (*registration.PluginInfo, error) {
	if p.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return p.info, nil
}

func (p *plugin) NotifyRegistrationStatus(_ context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	select {
	case <-p.answered:
	default:
	}
	p.answered <- s
	return &registration.RegistrationStatusResponse{}, nil
}

// serve serves p on a socket until the function that it gives is called.
func serve(t *testing.T, socket string, p *plugin) (stop func()) {
	t.Helper()
	p.answered = make(chan *registration.RegistrationStatus, 1)
	if err := os.MkdirAll(filepath.Dir(socket), 0o750); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	registration.RegisterRegistrationServer(s, p)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	return func() {
		s.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	}
}

// handler notes what it is called for.
type handler struct {
	mu    sync.Mutex
	fail  error
	known map[*pluginregistry.Plugin]bool
	calls []string
	woken chan struct{} // holds a value after a call of Changed
}

func newHandler() *handler {
	return &handler{known: make(map[*pluginregistry.Plugin]bool), woken: make(chan struct{}, 1)}
}

func (h *handler) Register(_ context.Context, p *pluginregistry.Plugin) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fail != nil {
		return h.fail
	}
	h.known[p] = true
	h.calls = append(h.calls, "register "+p.Name)
	return nil
}

func (h *handler) Deregister(p *pluginregistry.Plugin) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.known[p] {
		h.calls = append(h.calls, "unknown "+p.Name)
	}
	delete(h.known, p)
	h.calls = append(h.calls, "deregister "+p.Name)
}

func (h *handler) Changed(context.Context) {
	h.mu.Lock()
	h.calls = append(h.calls, "changed")
	h.mu.Unlock()
	select {
	case h.woken <- struct{}{}:
	default:
	}
}

func (h *handler) take() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	text := fmt.Sprint(h.calls)
	h.calls = nil
	return text
}

func (h *handler) setFail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fail = err
}

// start runs a Registry on a new folder.
func start(t *testing.T, handlers map[string]pluginregistry.Handler) (folder string, stop func()) {
	t.Helper()
	folder, err := os.MkdirTemp("", "plugins") // the name of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	r, err := pluginregistry.New(pluginregistry.Config{Folder: folder, Interval: 5 * time.Millisecond, Handlers: handlers})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // ends in stop
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return folder, stop
}

// TestTypes: each type of plugin goes to its handler; one without is left alone; all are
// deregistered at the end, without a call of Changed.
func TestTypes(t *testing.T) {
	csi, dra := newHandler(), newHandler()
	folder, stop := start(t, map[string]pluginregistry.Handler{pluginregistry.CSIPlugin: csi, pluginregistry.DRAPlugin: dra})
	device := &plugin{info: &registration.PluginInfo{Type: pluginregistry.DevicePlugin, Name: "example.com/device", Endpoint: "/e", SupportedVersions: []string{"v1"}}}
	defer serve(t, filepath.Join(folder, "a-device.sock"), device)()
	defer serve(t, filepath.Join(folder, "csi.sock"), &plugin{info: &registration.PluginInfo{Type: pluginregistry.CSIPlugin, Name: "csi.example.com"}})()
	<-csi.woken
	if got := csi.take(); got != "[register csi.example.com changed]" {
		t.Errorf("CSI: %s", got)
	}
	stopDRA := serve(t, filepath.Join(folder, "deep", "dra.sock"), &plugin{info: &registration.PluginInfo{Type: pluginregistry.DRAPlugin, Name: "dra.example.com"}})
	<-dra.woken
	stopDRA() // removes the socket
	<-dra.woken
	if got := dra.take(); got != "[register dra.example.com changed deregister dra.example.com changed]" {
		t.Errorf("DRA: %s", got)
	}
	stop()
	if got := csi.take(); got != "[deregister csi.example.com]" {
		t.Errorf("CSI at the end: %s", got)
	}
	if len(device.answered) > 0 {
		t.Error("a plugin without a handler was answered")
	}
}

// TestRefused: a plugin that is refused gets the reason, and is tried again.
func TestRefused(t *testing.T) {
	h := newHandler()
	h.setFail(errors.New("no such version"))
	folder, _ := start(t, map[string]pluginregistry.Handler{pluginregistry.DRAPlugin: h})
	p := &plugin{info: &registration.PluginInfo{Type: pluginregistry.DRAPlugin, Name: "dra.example.com"}}
	defer serve(t, filepath.Join(folder, "dra.sock"), p)()
	if s := <-p.answered; s.PluginRegistered || s.Error != "no such version" {
		t.Errorf("%v", s)
	}
	h.setFail(nil)
	<-h.woken
	bad := &plugin{info: &registration.PluginInfo{Type: pluginregistry.DRAPlugin, Name: "../dra"}}
	defer serve(t, filepath.Join(folder, "bad.sock"), bad)()
	if s := <-bad.answered; s.PluginRegistered || s.Error != `pluginregistry: "../dra" is no name of a plugin` {
		t.Errorf("%v", s)
	}
}

// TestHang: a plugin that does not answer keeps the next from registering for one call only.
func TestHang(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a call to time out")
	}
	h := newHandler()
	folder, _ := start(t, map[string]pluginregistry.Handler{pluginregistry.DRAPlugin: h})
	defer serve(t, filepath.Join(folder, "a.sock"), &plugin{hang: true})()
	defer serve(t, filepath.Join(folder, "b.sock"), &plugin{info: &registration.PluginInfo{Type: pluginregistry.DRAPlugin, Name: "b.example.com"}})()
	<-h.woken
	if got := h.take(); got != "[register b.example.com changed]" {
		t.Error(got)
	}
}

// TestNew refuses a folder that is relative.
func TestNew(t *testing.T) {
	if _, err := pluginregistry.New(pluginregistry.Config{Folder: "plugins"}); err == nil {
		t.Error("a relative folder is taken")
	}
}
