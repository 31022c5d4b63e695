package critest

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

// Serve serves a runtime on a socket of its own until the test's end, and gives
// the socket's URL.
func Serve(t testing.TB, rt runtime.Runtime) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cri.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{runtime: rt}
	g := grpc.NewServer()
	runtimeapi.RegisterRuntimeServiceServer(g, s)
	runtimeapi.RegisterImageServiceServer(g, s)
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "unix://" + path
}

// server is CRI in terms of a runtime.Runtime.
type server struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	runtimeapi.UnimplementedImageServiceServer
	runtime runtime.Runtime
}

// failed gives an error the code that a runtime gives it.
func failed(err error) error {
	var missing interface{ NotFound() bool }
	switch {
	case err == nil:
		return nil
	case errors.As(err, &missing) && missing.NotFound():
		return status.Error(codes.NotFound, err.Error())
	}
	return status.Error(codes.Unknown, err.Error())
}

func (s *server) Version(ctx context.Context, _ *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	v, err := s.runtime.Version(ctx)
	return &runtimeapi.VersionResponse{Version: "0.1.0", RuntimeName: v.Name, RuntimeVersion: v.Version, RuntimeApiVersion: "v1"}, failed(err)
}

func (s *server) Status(ctx context.Context, r *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	h, err := s.runtime.Health(ctx)
	var info map[string]string
	if r.GetVerbose() && err == nil {
		info, err = s.verbose(ctx)
	}
	return &runtimeapi.StatusResponse{Info: info, Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
		{Type: runtimeapi.RuntimeReady, Status: h.RuntimeReady, Message: h.RuntimeMessage},
		{Type: runtimeapi.NetworkReady, Status: h.NetworkReady, Message: h.NetworkMessage},
	}}, Features: &runtimeapi.RuntimeFeatures{SupplementalGroupsPolicy: h.Features.SupplementalGroupsPolicy}, RuntimeHandlers: handlers(h)}, failed(err)
}

// handlers are a runtime's handlers; one that says nothing of them has two.
func handlers(h runtime.Health) []*runtimeapi.RuntimeHandler {
	all := h.Handlers
	if len(all) == 0 {
		can := h.Features.RecursiveReadOnlyMounts
		all = []runtime.Handler{{Name: "other", RecursiveReadOnlyMounts: !can}, {Name: "", RecursiveReadOnlyMounts: can}}
	}
	var out []*runtimeapi.RuntimeHandler
	for _, one := range all {
		out = append(out, &runtimeapi.RuntimeHandler{Name: one.Name, Features: &runtimeapi.RuntimeHandlerFeatures{
			RecursiveReadOnlyMounts: one.RecursiveReadOnlyMounts, UserNamespaces: one.UserNamespaces,
		}})
	}
	return out
}

func (s *server) RuntimeConfig(ctx context.Context, _ *runtimeapi.RuntimeConfigRequest) (*runtimeapi.RuntimeConfigResponse, error) {
	name, err := s.runtime.CgroupDriver(ctx)
	if name == "" && err == nil { // CRI cannot say that there are none
		return &runtimeapi.RuntimeConfigResponse{}, nil
	}
	driver := runtimeapi.CgroupDriver_CGROUPFS
	if name == "systemd" {
		driver = runtimeapi.CgroupDriver_SYSTEMD
	}
	return &runtimeapi.RuntimeConfigResponse{Linux: &runtimeapi.LinuxRuntimeConfiguration{CgroupDriver: driver}}, failed(err)
}

func (s *server) GetContainerEvents(_ *runtimeapi.GetEventsRequest, to grpc.ServerStreamingServer[runtimeapi.ContainerEventResponse]) error {
	ctx, cancel := context.WithCancel(to.Context())
	defer cancel()
	err := s.runtime.Events(ctx, func(e runtime.Event) {
		if to.Send(&runtimeapi.ContainerEventResponse{PodSandboxStatus: &runtimeapi.PodSandboxStatus{
			Metadata: &runtimeapi.PodSandboxMetadata{Uid: e.PodUID},
		}}) != nil {
			cancel() // the client is gone
		}
	})
	if errors.Is(err, runtime.ErrNoEvents) {
		return status.Error(codes.Unimplemented, err.Error())
	}
	return failed(err)
}

func (s *server) RunPodSandbox(ctx context.Context, r *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	c := r.Config
	cfg := &runtime.SandboxConfig{
		Name: c.GetMetadata().GetName(), Namespace: c.GetMetadata().GetNamespace(), UID: c.GetMetadata().GetUid(), Attempt: c.GetMetadata().GetAttempt(),
		LogDirectory: c.GetLogDirectory(), Hostname: c.GetHostname(), Labels: c.GetLabels(), Annotations: c.GetAnnotations(), Handler: r.RuntimeHandler,
	}
	cfg.Security.Namespaces.HostNetwork = c.GetLinux().GetSecurityContext().GetNamespaceOptions().GetNetwork() == runtimeapi.NamespaceMode_NODE
	cfg.Security.Namespaces.User = userNamespace(c.GetLinux().GetSecurityContext().GetNamespaceOptions())
	if c.GetLinux().GetOverhead() != nil {
		over := resourcesOf(c.GetLinux().GetOverhead())
		cfg.Overhead = &over
	}
	id, err := s.runtime.RunSandbox(ctx, cfg)
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: id}, failed(err)
}

// userNamespace is the user namespace that came over CRI; nil for the host's.
func userNamespace(o *runtimeapi.NamespaceOption) *runtime.UserNamespace {
	uids := o.GetUsernsOptions().GetUids()
	if o.GetUsernsOptions().GetMode() != runtimeapi.NamespaceMode_POD || len(uids) != 1 {
		return nil
	}
	return &runtime.UserNamespace{First: uids[0].GetHostId(), Length: uids[0].GetLength()}
}

func (s *server) StopPodSandbox(ctx context.Context, r *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error) {
	return &runtimeapi.StopPodSandboxResponse{}, failed(s.runtime.StopSandbox(ctx, r.PodSandboxId))
}

func (s *server) RemovePodSandbox(ctx context.Context, r *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	return &runtimeapi.RemovePodSandboxResponse{}, failed(s.runtime.RemoveSandbox(ctx, r.PodSandboxId))
}

func (s *server) PodSandboxStatus(ctx context.Context, r *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	b, err := s.runtime.SandboxStatus(ctx, r.PodSandboxId)
	if err != nil {
		return nil, failed(err)
	}
	st := &runtimeapi.PodSandboxStatus{
		Id: b.ID, Metadata: sandboxName(b), State: sandboxState(b), CreatedAt: nanos(b.Created), Labels: b.Labels, Annotations: b.Annotations, RuntimeHandler: b.Handler,
		Network: &runtimeapi.PodSandboxNetworkStatus{}, Linux: &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{Options: &runtimeapi.NamespaceOption{}}},
	}
	if b.HostNetwork {
		st.Linux.Namespaces.Options.Network = runtimeapi.NamespaceMode_NODE
	}
	for i, ip := range b.IPs {
		if i == 0 {
			st.Network.Ip = ip
			continue
		}
		st.Network.AdditionalIps = append(st.Network.AdditionalIps, &runtimeapi.PodIP{Ip: ip})
	}
	return &runtimeapi.PodSandboxStatusResponse{Status: st}, nil
}

func (s *server) ListPodSandbox(ctx context.Context, r *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	all, err := s.runtime.ListSandboxes(ctx, r.GetFilter().GetLabelSelector()[runtime.LabelPodUID])
	if err != nil {
		return nil, failed(err)
	}
	out := &runtimeapi.ListPodSandboxResponse{}
	for _, b := range all {
		out.Items = append(out.Items, &runtimeapi.PodSandbox{
			Id: b.ID, Metadata: sandboxName(b), State: sandboxState(b), CreatedAt: nanos(b.Created), Labels: b.Labels, Annotations: b.Annotations,
			RuntimeHandler: b.Handler,
		})
	}
	return out, nil
}

func sandboxName(b runtime.Sandbox) *runtimeapi.PodSandboxMetadata {
	return &runtimeapi.PodSandboxMetadata{Name: b.Name, Namespace: b.Namespace, Uid: b.PodUID, Attempt: b.Attempt}
}

func sandboxState(b runtime.Sandbox) runtimeapi.PodSandboxState {
	if b.Ready {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
