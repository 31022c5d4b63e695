package cri

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

// CreateContainer makes a container in a sandbox.
func (c *Client) CreateContainer(ctx context.Context, sandboxID string, cfg *runtime.ContainerConfig, sandbox *runtime.SandboxConfig) (string, error) {
	ctx, cancel := c.slow(ctx)
	defer cancel()
	if len(cfg.CDIDevices) > 0 {
		if err := c.checkCDI(ctx); err != nil {
			return "", err
		}
	}
	r, err := c.run.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{
		PodSandboxId: sandboxID, Config: containerConfig(cfg), SandboxConfig: sandboxConfig(sandbox),
	})
	if err != nil {
		return "", failed("create container", err)
	}
	return r.ContainerId, nil
}

// StartContainer starts a created container.
func (c *Client) StartContainer(ctx context.Context, id string) error {
	ctx, cancel := c.slow(ctx)
	defer cancel()
	if _, err := c.run.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: id}); err != nil {
		return failed("start container", err)
	}
	return nil
}

// StopContainer stops a container. CRI has the grace in whole seconds: it is
// rounded up.
func (c *Client) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	seconds := int64((max(grace, 0) + time.Second - 1) / time.Second)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second+c.cfg.Timeout)
	defer cancel()
	if _, err := c.run.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: seconds}); err != nil && !missing(err) {
		return failed("stop container", err)
	}
	return nil
}

// RemoveContainer removes a container.
func (c *Client) RemoveContainer(ctx context.Context, id string) error {
	ctx, cancel := c.quick(ctx)
	defer cancel()
	if _, err := c.run.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: id}); err != nil && !missing(err) {
		return failed("remove container", err)
	}
	return nil
}

// ListContainers lists the containers of a pod, or of all.
func (c *Client) ListContainers(ctx context.Context, podUID string) ([]runtime.Container, error) {
	ctx, cancel := c.quick(ctx)
	defer cancel()
	req := &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{}}
	if podUID != "" {
		req.Filter.LabelSelector = map[string]string{runtime.LabelPodUID: podUID}
	}
	r, err := c.run.ListContainers(ctx, req)
	if err != nil {
		return nil, failed("list containers", err)
	}
	var out []runtime.Container
	for _, k := range r.Containers {
		if k.GetLabels()[runtime.LabelPodUID] == "" {
			continue
		}
		out = append(out, runtime.Container{
			ID: k.Id, SandboxID: k.PodSandboxId, PodUID: k.Labels[runtime.LabelPodUID], Name: k.Labels[runtime.LabelContainerName],
			Attempt: k.GetMetadata().GetAttempt(), State: state(k.State), Created: moment(k.CreatedAt),
			Image: k.GetImage().GetImage(), ImageID: k.ImageRef, Labels: k.Labels, Annotations: k.Annotations,
		})
	}
	return out, nil
}

// ContainerStatus reads a container. CRI does not repeat the sandbox's id
// there: SandboxID stays empty.
func (c *Client) ContainerStatus(ctx context.Context, id string) (runtime.Container, error) {
	ctx, cancel := c.quick(ctx)
	defer cancel()
	r, err := c.run.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		return runtime.Container{}, failed("container status", err)
	}
	s := r.GetStatus()
	out := runtime.Container{
		ID: s.GetId(), PodUID: s.GetLabels()[runtime.LabelPodUID], Name: s.GetLabels()[runtime.LabelContainerName],
		Attempt: s.GetMetadata().GetAttempt(), State: state(s.GetState()), Created: moment(s.GetCreatedAt()),
		Started: moment(s.GetStartedAt()), Finished: moment(s.GetFinishedAt()), ExitCode: s.GetExitCode(), Reason: s.GetReason(), Message: s.GetMessage(),
		Image: s.GetImage().GetImage(), ImageID: s.GetImageRef(), Labels: s.GetLabels(), Annotations: s.GetAnnotations(),
	}
	if name := s.GetImage().GetUserSpecifiedImage(); name != "" {
		out.Image = name
	}
	if l := s.GetResources().GetLinux(); l != nil {
		out.Resources = &runtime.Resources{
			CPUPeriod: l.CpuPeriod, CPUQuota: l.CpuQuota, CPUShares: l.CpuShares, Memory: l.MemoryLimitInBytes,
			MemorySwap: l.MemorySwapLimitInBytes, OOMScoreAdj: l.OomScoreAdj,
		}
	}
	// What the runtime really mounted goes into the pod's status (KEP-3857).
	for _, m := range s.GetMounts() {
		if m.GetRecursiveReadOnly() {
			out.RecursiveReadOnly = append(out.RecursiveReadOnly, m.GetContainerPath())
		}
	}
	if u := s.GetUser().GetLinux(); u != nil {
		out.User = &runtime.User{UID: u.Uid, GID: u.Gid, SupplementalGroups: u.SupplementalGroups}
	}
	return out, nil
}

// ExecSync runs a command in a container.
func (c *Client) ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (runtime.ExecResult, error) {
	call := ctx
	if timeout > 0 {
		// The runtime ends the command; the deadline here is for a runtime that hangs.
		var cancel context.CancelFunc
		call, cancel = context.WithTimeout(ctx, timeout+c.cfg.Timeout)
		defer cancel()
	}
	// CRI counts in whole seconds; zero would mean no timeout at all.
	seconds := int64((timeout + time.Second - 1) / time.Second)
	r, err := c.run.ExecSync(call, &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: cmd, Timeout: seconds})
	if err != nil {
		if call.Err() != nil && ctx.Err() == nil {
			// It is the runtime that is late, not the command.
			return runtime.ExecResult{}, &callError{verb: "exec", code: codes.Unavailable, text: "the container runtime did not answer"}
		}
		return runtime.ExecResult{}, failed("exec", err)
	}
	return runtime.ExecResult{Stdout: r.Stdout, Stderr: r.Stderr, ExitCode: r.ExitCode}, nil
}

// state is a container's state; one that CRI adds later is unknown.
func state(s runtimeapi.ContainerState) runtime.ContainerState {
	switch s {
	case runtimeapi.ContainerState_CONTAINER_CREATED:
		return runtime.ContainerCreated
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
		return runtime.ContainerRunning
	case runtimeapi.ContainerState_CONTAINER_EXITED:
		return runtime.ContainerExited
	}
	return runtime.ContainerUnknown
}

// containerConfig is a container's configuration in CRI's form.
func containerConfig(k *runtime.ContainerConfig) *runtimeapi.ContainerConfig {
	cfg := &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: k.Name, Attempt: k.Attempt},
		Image:    &runtimeapi.ImageSpec{Image: k.Image, UserSpecifiedImage: k.ImageName},
		Command:  k.Command, Args: k.Args, WorkingDir: k.WorkingDir, Labels: k.Labels, Annotations: k.Annotations,
		LogPath: k.LogPath, Stdin: k.Stdin, StdinOnce: k.StdinOnce, Tty: k.TTY,
		Linux: &runtimeapi.LinuxContainerConfig{Resources: resources(k.Resources), SecurityContext: security(k.Security)},
		// CRI names signals SIGNAL_SIGRTMINPLUS1 where the API says SIGRTMIN+1.
		StopSignal: runtimeapi.Signal(runtimeapi.Signal_value["SIGNAL_"+strings.ReplaceAll(strings.ReplaceAll(k.StopSignal, "+", "PLUS"), "-", "MINUS")]),
	}
	for _, e := range k.Env {
		cfg.Envs = append(cfg.Envs, &runtimeapi.KeyValue{Key: e.Name, Value: []byte(e.Value)})
	}
	for _, m := range k.Mounts {
		mount := &runtimeapi.Mount{
			ContainerPath: m.ContainerPath, HostPath: m.HostPath, Readonly: m.ReadOnly, RecursiveReadOnly: m.RecursiveReadOnly,
			SelinuxRelabel: m.Relabel, Propagation: propagation(m.Propagation), ImageSubPath: m.ImageSubPath,
			UidMappings: idMappings(k.Security.Namespaces.User), GidMappings: idMappings(k.Security.Namespaces.User),
		}
		if m.Image != "" {
			mount.Image = &runtimeapi.ImageSpec{Image: m.Image}
		}
		cfg.Mounts = append(cfg.Mounts, mount)
	}
	for _, d := range k.Devices {
		cfg.Devices = append(cfg.Devices, &runtimeapi.Device{ContainerPath: d.ContainerPath, HostPath: d.HostPath, Permissions: d.Permissions})
	}
	for _, name := range k.CDIDevices {
		cfg.CDIDevices = append(cfg.CDIDevices, &runtimeapi.CDIDevice{Name: name})
	}
	return cfg
}

// propagation is a mount propagation; private where none is asked for.
func propagation(p string) runtimeapi.MountPropagation {
	switch p {
	case "HostToContainer":
		return runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
	case "Bidirectional":
		return runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL
	}
	return runtimeapi.MountPropagation_PROPAGATION_PRIVATE
}

// resources are Linux resource limits in CRI's form.
func resources(r runtime.Resources) *runtimeapi.LinuxContainerResources {
	out := &runtimeapi.LinuxContainerResources{
		CpuPeriod: r.CPUPeriod, CpuQuota: r.CPUQuota, CpuShares: r.CPUShares, MemoryLimitInBytes: r.Memory,
		MemorySwapLimitInBytes: r.MemorySwap, OomScoreAdj: r.OOMScoreAdj, Unified: r.Unified,
		CpusetCpus: r.CPUSetCPUs, CpusetMems: r.CPUSetMems,
	}
	for size, limit := range r.HugePages {
		out.HugepageLimits = append(out.HugepageLimits, &runtimeapi.HugepageLimit{PageSize: size, Limit: limit})
	}
	return out
}

// security is a container's security context in CRI's form.
func security(s runtime.Security) *runtimeapi.LinuxContainerSecurityContext {
	return &runtimeapi.LinuxContainerSecurityContext{
		Capabilities: &runtimeapi.Capability{AddCapabilities: s.AddCapabilities, DropCapabilities: s.DropCapabilities},
		Privileged:   s.Privileged, NamespaceOptions: namespaces(s.Namespaces), SelinuxOptions: selinux(s.SELinux),
		RunAsUser: int64Value(s.RunAsUser), RunAsGroup: int64Value(s.RunAsGroup), RunAsUsername: s.RunAsUsername,
		ReadonlyRootfs: s.ReadOnlyRoot, SupplementalGroups: s.SupplementalGroups, SupplementalGroupsPolicy: groupsPolicy(s),
		NoNewPrivs: s.NoNewPrivileges, MaskedPaths: s.MaskedPaths, ReadonlyPaths: s.ReadOnlyPaths,
		Seccomp: profile(s.Seccomp), Apparmor: profile(s.AppArmor),
	}
}
