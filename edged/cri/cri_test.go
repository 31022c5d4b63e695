package cri_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edgekit/edgekit/edged/cri"
	"github.com/edgekit/edgekit/edged/runtime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a runtime at the other end of a socket.
type server struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	runtimeapi.UnimplementedImageServiceServer
	sandbox *runtimeapi.PodSandboxConfig
	config  *runtimeapi.ContainerConfig
	stop    int64
	status  *runtimeapi.StatusResponse // nil has Status make one
	old     bool                       // whether it is older than RuntimeConfig
	info    map[string]string          // of its verbose status
	refuse  error                      // of RunPodSandbox
	resize  error                      // of UpdatePodSandboxResources
}

func (s *server) UpdatePodSandboxResources(context.Context, *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	return nil, s.resize
}

func (s *server) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{RuntimeName: "test", RuntimeVersion: "3"}, nil
}

func (s *server) RuntimeConfig(context.Context, *runtimeapi.RuntimeConfigRequest) (*runtimeapi.RuntimeConfigResponse, error) {
	if s.old {
		return nil, status.Error(codes.Unimplemented, "unknown method RuntimeConfig")
	}
	return &runtimeapi.RuntimeConfigResponse{Linux: &runtimeapi.LinuxRuntimeConfiguration{CgroupDriver: runtimeapi.CgroupDriver_SYSTEMD}}, nil
}

func (s *server) Status(_ context.Context, r *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	if s.status != nil {
		return s.status, nil
	}
	if !r.Verbose {
		return &runtimeapi.StatusResponse{}, nil
	}
	return &runtimeapi.StatusResponse{Info: s.info}, nil
}

func (s *server) RunPodSandbox(context.Context, *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: "s"}, s.refuse
}

func (s *server) CreateContainer(_ context.Context, r *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	s.config, s.sandbox = r.Config, r.SandboxConfig
	return &runtimeapi.CreateContainerResponse{ContainerId: "c"}, nil
}

func (s *server) StopContainer(_ context.Context, r *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	s.stop = r.Timeout
	return nil, status.Error(codes.NotFound, "no such container")
}

func (s *server) ContainerStatus(_ context.Context, r *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	if r.ContainerId != "c" {
		return nil, status.Error(codes.NotFound, "no such container")
	}
	return &runtimeapi.ContainerStatusResponse{Status: &runtimeapi.ContainerStatus{
		Id: "c", State: runtimeapi.ContainerState_CONTAINER_EXITED, StartedAt: 1, FinishedAt: 2, ExitCode: 3, Labels: map[string]string{runtime.LabelContainerName: "main"},
	}}, nil
}

func (s *server) ListPodSandbox(context.Context, *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	return &runtimeapi.ListPodSandboxResponse{Items: []*runtimeapi.PodSandbox{
		{Id: "ours", Metadata: &runtimeapi.PodSandboxMetadata{Name: "p"}, Labels: map[string]string{runtime.LabelPodUID: "u"}}, {Id: "foreign"},
	}}, nil
}

func serve(t *testing.T) (*server, *cri.Client) { return serveWith(t, cri.Config{}) }

func serveWith(t *testing.T, cfg cri.Config) (*server, *cri.Client) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s, g := &server{}, grpc.NewServer()
	runtimeapi.RegisterRuntimeServiceServer(g, s)
	runtimeapi.RegisterImageServiceServer(g, s)
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	cfg.Socket = "unix://" + path
	c, err := cri.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		g.Stop()
		<-done
	})
	return s, c
}

func TestClient(t *testing.T) {
	s, c := serve(t)
	ctx := t.Context()
	if err := c.Check(ctx); err != nil {
		t.Fatal(err)
	}
	if d, err := c.CgroupDriver(ctx); d != "systemd" || err != nil {
		t.Error(d, err)
	}
	uid := int64(5)
	_, err := c.CreateContainer(ctx, "s", &runtime.ContainerConfig{
		Name: "main", StopSignal: "SIGRTMIN+3", Env: []runtime.EnvVar{{Name: "A", Value: "b"}}, Mounts: []runtime.Mount{{ContainerPath: "/x", HostPath: "/y", Propagation: "Bidirectional"}},
		Security: runtime.Security{RunAsUser: &uid, Seccomp: &runtime.Profile{Localhost: "/p"}},
	}, &runtime.SandboxConfig{Name: "p", Ports: []runtime.PortMapping{{Protocol: "UDP", HostPort: 53}}, Security: runtime.Security{Namespaces: runtime.Namespaces{HostNetwork: true, SharePID: true}}})
	if err != nil {
		t.Fatal(err)
	}
	sec := s.config.Linux.SecurityContext
	if s.config.StopSignal != runtimeapi.Signal_SIGNAL_SIGRTMINPLUS3 || string(s.config.Envs[0].Value) != "b" || sec.RunAsUser.Value != 5 || sec.Seccomp.LocalhostRef != "/p" ||
		s.config.Mounts[0].Propagation != runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL {
		t.Errorf("%v", s.config)
	}
	ns := s.sandbox.Linux.SecurityContext.NamespaceOptions
	if ns.Network != runtimeapi.NamespaceMode_NODE || ns.Pid != runtimeapi.NamespaceMode_POD || s.sandbox.PortMappings[0].Protocol != runtimeapi.Protocol_UDP {
		t.Errorf("%v", s.sandbox)
	}
	if err := c.StopContainer(ctx, "c", 1500*time.Millisecond); err != nil || s.stop != 2 {
		t.Error(err, s.stop)
	}
	if k, err := c.ContainerStatus(ctx, "c"); err != nil || k.State != runtime.ContainerExited || k.ExitCode != 3 || k.Name != "main" {
		t.Errorf("%+v %v", k, err)
	}
	var e interface{ NotFound() bool }
	if _, err := c.ContainerStatus(ctx, "x"); !errors.As(err, &e) || !e.NotFound() {
		t.Errorf("%v", err)
	}
	if l, err := c.ListSandboxes(ctx, ""); err != nil || len(l) != 1 || l[0].ID != "ours" {
		t.Errorf("%+v %v", l, err)
	}
	if err := c.Events(ctx, nil); !errors.Is(err, runtime.ErrNoEvents) {
		t.Errorf("%v", err)
	}
}

// TestCgroupDriver asks runtimes of several releases for their cgroup driver.
func TestCgroupDriver(t *testing.T) {
	assumed := cri.DriverCgroupfs
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		assumed = cri.DriverSystemd
	}
	runc := func(options string) map[string]string {
		return map[string]string{"config": `{"containerd":{"defaultRuntimeName":"runc","runtimes":{"runc":{"runtimeType":"io.containerd.runc.v2","options":` + options + `}}}}`}
	}
	for _, tt := range []struct {
		name, set string
		old       bool
		info      map[string]string
		want      string
		warns     bool
	}{
		{name: "it says", want: cri.DriverSystemd},
		{name: "its configuration says systemd", old: true, info: runc(`{"SystemdCgroup":true}`), want: cri.DriverSystemd},
		{name: "its configuration says cgroupfs", old: true, info: runc(`{}`), want: cri.DriverCgroupfs},
		{name: "nothing says", old: true, want: assumed, warns: true},
		{name: "auto", set: "auto", old: true, info: runc(`{"SystemdCgroup":true}`), want: cri.DriverSystemd},
		{name: "it is set", set: cri.DriverCgroupfs, want: cri.DriverCgroupfs},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			s, c := serveWith(t, cri.Config{CgroupDriver: tt.set, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			s.old, s.info = tt.old, tt.info
			got, err := c.CgroupDriver(t.Context())
			if err != nil || got != tt.want {
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
			if warns := strings.Contains(log.String(), "--cgroup-driver"); warns != tt.warns {
				t.Errorf("log: %q", log.String())
			}
		})
	}
	if _, err := cri.New(cri.Config{CgroupDriver: "none"}); err == nil || !strings.Contains(err.Error(), "want systemd, cgroupfs or auto") {
		t.Errorf("driver none: %v", err)
	}
}

// TestSandboxNamesTheRemedy: runc's error about a cgroup of the wrong driver names no
// remedy, so ours does.
func TestSandboxNamesTheRemedy(t *testing.T) {
	s, c := serve(t)
	for text, want := range map[string]bool{
		`runc create failed: expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "/kubepods/podx/y" instead: unknown`: true,
		"no space left on device": false,
	} {
		s.refuse = status.Error(codes.Unknown, text)
		_, err := c.RunSandbox(t.Context(), &runtime.SandboxConfig{Name: "p"})
		if err == nil || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "--cgroup-driver systemd") != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSocketErrors(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{plain, plain + "-none"} {
		c, err := cri.New(cri.Config{Socket: path})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var se *cri.SocketError
		if err := c.Check(t.Context()); !errors.As(err, &se) || se.Path != path || se.Temporary {
			t.Errorf("%s: %v", path, err)
		}
	}
	// The socket of a runtime that was killed: the runtime may come back.
	left := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: left, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	c, err := cri.New(cri.Config{Socket: left})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var se *cri.SocketError
	if err := c.Check(t.Context()); !errors.As(err, &se) || !se.Temporary {
		t.Errorf("a socket that nobody serves: %v", err)
	}
	if _, err := cri.New(cri.Config{Socket: "tcp://x"}); err == nil {
		t.Error("tcp://x is taken")
	}
}

func ExampleClient_Check() {
	c, err := cri.New(cri.Config{Socket: "/nowhere/containerd.sock"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	fmt.Println(c.Check(context.Background()))
	// Output: cri: no container runtime at /nowhere/containerd.sock: start containerd, or give the path of its socket
}

// TestSandboxResize: the error of a runtime without this call, which are most, is
// ignored, and no other.
func TestSandboxResize(t *testing.T) {
	s, c := serve(t)
	for want, errs := range map[bool][]error{
		true:  {status.Error(codes.Unimplemented, "unknown method"), status.Error(codes.Unknown, "not implemented yet")},
		false: {status.Error(codes.Unknown, "no room"), status.Error(codes.NotFound, "no such sandbox")},
	} {
		for _, err := range errs {
			s.resize = err
			if got := c.UpdateSandboxResources(t.Context(), "s", runtime.Resources{}, runtime.Resources{}); (got == nil) != want {
				t.Errorf("%v: %v", err, got)
			}
		}
	}
}
