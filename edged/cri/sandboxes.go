package cri

import (
	"context"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

// RunSandbox makes and starts a sandbox.
func (c *Client) RunSandbox(ctx context.Context, cfg *runtime.SandboxConfig) (string, error) {
	ctx, cancel := c.slow(ctx)
	defer cancel()
	r, err := c.run.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: sandboxConfig(cfg), RuntimeHandler: cfg.Handler})
	if err != nil {
		return "", withRemedy(failed("run sandbox", err))
	}
	return r.PodSandboxId, nil
}

// StopSandbox stops a sandbox and what runs in it.
func (c *Client) StopSandbox(ctx context.Context, id string) error {
	ctx, cancel := c.slow(ctx)
	defer cancel()
	if _, err := c.run.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id}); err != nil && !missing(err) {
		return failed("stop sandbox", err)
	}
	return nil
}

// RemoveSandbox removes a sandbox and its containers.
func (c *Client) RemoveSandbox(ctx context.Context, id string) error {
	ctx, cancel := c.slow(ctx)
	defer cancel()
	if _, err := c.run.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id}); err != nil && !missing(err) {
		return failed("remove sandbox", err)
	}
	return nil
}

// SandboxStatus reads a sandbox.
func (c *Client) SandboxStatus(ctx context.Context, id string) (runtime.Sandbox, error) {
	ctx, cancel := c.quick(ctx)
	defer cancel()
	r, err := c.run.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id})
	if err != nil {
		return runtime.Sandbox{}, failed("sandbox status", err)
	}
	s := r.GetStatus()
	out := runtime.Sandbox{
		ID: s.GetId(), Name: s.GetMetadata().GetName(), Namespace: s.GetMetadata().GetNamespace(), PodUID: s.GetMetadata().GetUid(),
		Attempt: s.GetMetadata().GetAttempt(), Ready: s.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY, Created: moment(s.GetCreatedAt()),
		HostNetwork: s.GetLinux().GetNamespaces().GetOptions().GetNetwork() == runtimeapi.NamespaceMode_NODE, Handler: s.GetRuntimeHandler(),
		Labels: s.GetLabels(), Annotations: s.GetAnnotations(),
	}
	if ip := s.GetNetwork().GetIp(); ip != "" {
		out.IPs = append(out.IPs, ip)
		for _, more := range s.GetNetwork().GetAdditionalIps() {
			out.IPs = append(out.IPs, more.GetIp())
		}
	}
	return out, nil
}

// ListSandboxes lists the sandboxes of a pod, or of all.
func (c *Client) ListSandboxes(ctx context.Context, podUID string) ([]runtime.Sandbox, error) {
	ctx, cancel := c.quick(ctx)
	defer cancel()
	req := &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{}}
	if podUID != "" {
		req.Filter.LabelSelector = map[string]string{runtime.LabelPodUID: podUID}
	}
	r, err := c.run.ListPodSandbox(ctx, req)
	if err != nil {
		return nil, failed("list sandboxes", err)
	}
	var out []runtime.Sandbox
	for _, s := range r.Items {
		if s.GetLabels()[runtime.LabelPodUID] == "" {
			continue // not a pod's: somebody else's use of CRI
		}
		out = append(out, runtime.Sandbox{
			ID: s.Id, Name: s.GetMetadata().GetName(), Namespace: s.GetMetadata().GetNamespace(), PodUID: s.Labels[runtime.LabelPodUID],
			Attempt: s.GetMetadata().GetAttempt(), Ready: s.State == runtimeapi.PodSandboxState_SANDBOX_READY, Created: moment(s.CreatedAt),
			Labels: s.Labels, Annotations: s.Annotations, Handler: s.RuntimeHandler,
		})
	}
	return out, nil
}

// moment is a time in nanoseconds; zero where the runtime sets none.
func moment(ns int64) time.Time {
	if ns <= 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// sandboxConfig is a sandbox's configuration in CRI's form.
func sandboxConfig(s *runtime.SandboxConfig) *runtimeapi.PodSandboxConfig {
	// A pull may come without a sandbox.
	if s == nil {
		return nil
	}
	cfg := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: s.Name, Namespace: s.Namespace, Uid: s.UID, Attempt: s.Attempt},
		Hostname: s.Hostname, LogDirectory: s.LogDirectory, Labels: s.Labels, Annotations: s.Annotations,
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			CgroupParent: s.CgroupParent, Sysctls: s.Sysctls,
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
				NamespaceOptions: namespaces(s.Security.Namespaces), SelinuxOptions: selinux(s.Security.SELinux),
				RunAsUser: int64Value(s.Security.RunAsUser), RunAsGroup: int64Value(s.Security.RunAsGroup),
				ReadonlyRootfs: s.Security.ReadOnlyRoot, SupplementalGroups: s.Security.SupplementalGroups,
				SupplementalGroupsPolicy: groupsPolicy(s.Security), Privileged: s.Security.Privileged,
				Seccomp: profile(s.Security.Seccomp), Apparmor: profile(s.Security.AppArmor),
			},
		},
	}
	if s.Resources != nil {
		cfg.Linux.Resources = resources(*s.Resources)
	}
	if s.Overhead != nil {
		cfg.Linux.Overhead = resources(*s.Overhead)
	}
	if s.DNS != nil {
		cfg.DnsConfig = &runtimeapi.DNSConfig{Servers: s.DNS.Servers, Searches: s.DNS.Searches, Options: s.DNS.Options}
	}
	for _, p := range s.Ports {
		cfg.PortMappings = append(cfg.PortMappings, &runtimeapi.PortMapping{
			Protocol: protocol(p.Protocol), ContainerPort: p.ContainerPort, HostPort: p.HostPort, HostIp: p.HostIP,
		})
	}
	return cfg
}

// protocol is a port's protocol; TCP where none is set.
func protocol(name string) runtimeapi.Protocol {
	switch name {
	case "UDP":
		return runtimeapi.Protocol_UDP
	case "SCTP":
		return runtimeapi.Protocol_SCTP
	}
	return runtimeapi.Protocol_TCP
}

// namespaces says which namespaces of the host, of the pod or of another container
// are used.
func namespaces(n runtime.Namespaces) *runtimeapi.NamespaceOption {
	// CRI's zero value is POD; the kubelet's default for processes is one namespace for each
	// container.
	o := &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}
	if n.HostNetwork {
		o.Network = runtimeapi.NamespaceMode_NODE
	}
	if n.HostIPC {
		o.Ipc = runtimeapi.NamespaceMode_NODE
	}
	switch {
	// An ephemeral container that looks at another one (KEP-277).
	case n.TargetPID != "":
		o.Pid, o.TargetId = runtimeapi.NamespaceMode_TARGET, n.TargetPID
	case n.HostPID:
		o.Pid = runtimeapi.NamespaceMode_NODE
	case n.SharePID:
		o.Pid = runtimeapi.NamespaceMode_POD
	}
	if n.User != nil {
		o.UsernsOptions = &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD, Uids: idMappings(n.User), Gids: idMappings(n.User)}
	}
	return o
}

// idMappings is the mapping of a user namespace; none without one.
func idMappings(u *runtime.UserNamespace) []*runtimeapi.IDMapping {
	if u == nil {
		return nil
	}
	return []*runtimeapi.IDMapping{{HostId: u.First, ContainerId: 0, Length: u.Length}}
}

// groupsPolicy says whether groups that the image defines count (KEP-3619).
func groupsPolicy(s runtime.Security) runtimeapi.SupplementalGroupsPolicy {
	if s.SupplementalGroupsStrict {
		return runtimeapi.SupplementalGroupsPolicy_Strict
	}
	return runtimeapi.SupplementalGroupsPolicy_Merge
}

// selinux is an SELinux label; nil for none.
func selinux(s *runtime.SELinux) *runtimeapi.SELinuxOption {
	if s == nil {
		return nil
	}
	return &runtimeapi.SELinuxOption{User: s.User, Role: s.Role, Type: s.Type, Level: s.Level}
}

// profile is a seccomp or AppArmor profile; nil leaves the choice to the runtime.
func profile(p *runtime.Profile) *runtimeapi.SecurityProfile {
	switch {
	case p == nil:
		return nil
	case p.Localhost != "":
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: p.Localhost}
	case p.Unconfined:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}
	}
	return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
}

// int64Value is a number that may be missing.
func int64Value(v *int64) *runtimeapi.Int64Value {
	if v == nil {
		return nil
	}
	return &runtimeapi.Int64Value{Value: *v}
}
