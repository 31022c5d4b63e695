package critest

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

func (s *server) CreateContainer(ctx context.Context, r *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	c := r.Config
	cfg := &runtime.ContainerConfig{
		Name: c.GetMetadata().GetName(), Attempt: c.GetMetadata().GetAttempt(), Image: c.GetImage().GetImage(), ImageName: c.GetImage().GetUserSpecifiedImage(),
		Command: c.GetCommand(), Args: c.GetArgs(), Labels: c.GetLabels(), Annotations: c.GetAnnotations(), LogPath: c.GetLogPath(),
		Resources: resourcesOf(c.GetLinux().GetResources()),
	}
	id, err := s.runtime.CreateContainer(ctx, r.PodSandboxId, cfg, &runtime.SandboxConfig{UID: r.GetSandboxConfig().GetMetadata().GetUid()})
	return &runtimeapi.CreateContainerResponse{ContainerId: id}, failed(err)
}

func (s *server) UpdateContainerResources(ctx context.Context, r *runtimeapi.UpdateContainerResourcesRequest) (*runtimeapi.UpdateContainerResourcesResponse, error) {
	resizer, ok := s.runtime.(runtime.Resizer)
	if !ok {
		return nil, status.Error(codes.Unimplemented, "the runtime does not resize containers")
	}
	return &runtimeapi.UpdateContainerResourcesResponse{}, failed(resizer.UpdateContainerResources(ctx, r.ContainerId, resourcesOf(r.Linux)))
}

func (s *server) UpdatePodSandboxResources(ctx context.Context, r *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	resizer, ok := s.runtime.(runtime.Resizer)
	if !ok {
		return nil, status.Error(codes.Unimplemented, "the runtime does not resize sandboxes")
	}
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, failed(resizer.UpdateSandboxResources(ctx, r.PodSandboxId, resourcesOf(r.Overhead), resourcesOf(r.Resources)))
}

// resourcesOf are resources that came over CRI.
func resourcesOf(l *runtimeapi.LinuxContainerResources) runtime.Resources {
	return runtime.Resources{
		CPUPeriod: l.GetCpuPeriod(), CPUQuota: l.GetCpuQuota(), CPUShares: l.GetCpuShares(), Memory: l.GetMemoryLimitInBytes(),
		MemorySwap: l.GetMemorySwapLimitInBytes(), OOMScoreAdj: l.GetOomScoreAdj(), Unified: l.GetUnified(),
		CPUSetCPUs: l.GetCpusetCpus(), CPUSetMems: l.GetCpusetMems(),
	}
}

// shownResources are the resources that a container's status shows.
func shownResources(r *runtime.Resources) *runtimeapi.ContainerResources {
	if r == nil {
		return nil
	}
	return &runtimeapi.ContainerResources{Linux: &runtimeapi.LinuxContainerResources{
		CpuPeriod: r.CPUPeriod, CpuQuota: r.CPUQuota, CpuShares: r.CPUShares, MemoryLimitInBytes: r.Memory, MemorySwapLimitInBytes: r.MemorySwap, OomScoreAdj: r.OOMScoreAdj,
		CpusetCpus: r.CPUSetCPUs, CpusetMems: r.CPUSetMems,
	}}
}

func (s *server) StartContainer(ctx context.Context, r *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	return &runtimeapi.StartContainerResponse{}, failed(s.runtime.StartContainer(ctx, r.ContainerId))
}

func (s *server) StopContainer(ctx context.Context, r *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	return &runtimeapi.StopContainerResponse{}, failed(s.runtime.StopContainer(ctx, r.ContainerId, time.Duration(r.Timeout)*time.Second))
}

func (s *server) RemoveContainer(ctx context.Context, r *runtimeapi.RemoveContainerRequest) (*runtimeapi.RemoveContainerResponse, error) {
	return &runtimeapi.RemoveContainerResponse{}, failed(s.runtime.RemoveContainer(ctx, r.ContainerId))
}

func (s *server) ListContainers(ctx context.Context, r *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	all, err := s.runtime.ListContainers(ctx, r.GetFilter().GetLabelSelector()[runtime.LabelPodUID])
	if err != nil {
		return nil, failed(err)
	}
	out := &runtimeapi.ListContainersResponse{}
	for _, c := range all {
		out.Containers = append(out.Containers, &runtimeapi.Container{
			Id: c.ID, PodSandboxId: c.SandboxID, Metadata: &runtimeapi.ContainerMetadata{Name: c.Name, Attempt: c.Attempt}, State: containerState(c.State),
			CreatedAt: nanos(c.Created), Image: &runtimeapi.ImageSpec{Image: c.Image}, ImageRef: c.ImageID, Labels: c.Labels, Annotations: c.Annotations,
		})
	}
	return out, nil
}

func (s *server) ContainerStatus(ctx context.Context, r *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	c, err := s.runtime.ContainerStatus(ctx, r.ContainerId)
	if err != nil {
		return nil, failed(err)
	}
	var mounts []*runtimeapi.Mount
	for _, path := range c.RecursiveReadOnly {
		mounts = append(mounts, &runtimeapi.Mount{ContainerPath: path, Readonly: true, RecursiveReadOnly: true})
	}
	return &runtimeapi.ContainerStatusResponse{Status: &runtimeapi.ContainerStatus{
		Id: c.ID, Mounts: mounts, Metadata: &runtimeapi.ContainerMetadata{Name: c.Name, Attempt: c.Attempt}, State: containerState(c.State), CreatedAt: nanos(c.Created),
		StartedAt: nanos(c.Started), FinishedAt: nanos(c.Finished), ExitCode: c.ExitCode, Reason: c.Reason, Message: c.Message,
		Image: &runtimeapi.ImageSpec{Image: c.Image}, ImageRef: c.ImageID, Labels: c.Labels, Annotations: c.Annotations, Resources: shownResources(c.Resources),
	}}, nil
}

func containerState(s runtime.ContainerState) runtimeapi.ContainerState {
	switch s {
	case runtime.ContainerCreated:
		return runtimeapi.ContainerState_CONTAINER_CREATED
	case runtime.ContainerRunning:
		return runtimeapi.ContainerState_CONTAINER_RUNNING
	case runtime.ContainerExited:
		return runtimeapi.ContainerState_CONTAINER_EXITED
	}
	return runtimeapi.ContainerState_CONTAINER_UNKNOWN
}

func (s *server) ExecSync(ctx context.Context, r *runtimeapi.ExecSyncRequest) (*runtimeapi.ExecSyncResponse, error) {
	res, err := s.runtime.ExecSync(ctx, r.ContainerId, r.Cmd, time.Duration(r.Timeout)*time.Second)
	return &runtimeapi.ExecSyncResponse{Stdout: res.Stdout, Stderr: res.Stderr, ExitCode: res.ExitCode}, failed(err)
}

func (s *server) ListImages(ctx context.Context, _ *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	all, err := s.runtime.ListImages(ctx)
	out := &runtimeapi.ListImagesResponse{}
	for _, i := range all {
		out.Images = append(out.Images, image(i))
	}
	return out, failed(err)
}

func (s *server) ImageStatus(ctx context.Context, r *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	i, ok, err := s.runtime.ImageStatus(ctx, r.GetImage().GetImage())
	if err != nil || !ok {
		return &runtimeapi.ImageStatusResponse{}, failed(err)
	}
	return &runtimeapi.ImageStatusResponse{Image: image(i)}, nil
}

func image(i runtime.Image) *runtimeapi.Image {
	return &runtimeapi.Image{Id: i.ID, RepoTags: i.Tags, RepoDigests: i.Digests, Size: i.Size, Pinned: i.Pinned}
}

func (s *server) PullImage(ctx context.Context, r *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	ref, err := s.runtime.PullImage(ctx, r.GetImage().GetImage(), nil, nil)
	return &runtimeapi.PullImageResponse{ImageRef: ref}, failed(err)
}

func (s *server) RemoveImage(ctx context.Context, r *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	return &runtimeapi.RemoveImageResponse{}, failed(s.runtime.RemoveImage(ctx, r.GetImage().GetImage()))
}
