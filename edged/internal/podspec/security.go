package podspec

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

// defaultMasked are the paths under /proc and /sys that containers do not see,
// unless their procMount is Unmasked. Kubernetes leaves the list to the agent;
// this one is in common use.
func defaultMasked() []string {
	return []string{
		"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
	}
}

// defaultReadOnly are the paths under /proc that containers cannot write, unless
// their procMount is Unmasked.
func defaultReadOnly() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// namespacesOf says which namespaces of the host the pod shares.
func namespacesOf(pod *corev1.Pod) runtime.Namespaces {
	return runtime.Namespaces{
		HostNetwork: pod.Spec.HostNetwork, HostPID: pod.Spec.HostPID, HostIPC: pod.Spec.HostIPC,
		SharePID: pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace,
	}
}

// sandboxSecurity is the security context of a pod's sandbox. The sandbox is
// privileged if one of its containers is, since a runtime refuses the container
// otherwise. It runs the pause program alone, under the runtime's own seccomp profile
// whatever the pod's is, as with a kubelet: a profile that allows less would not let it run.
func sandboxSecurity(pod *corev1.Pod) runtime.Security {
	s := runtime.Security{Namespaces: namespacesOf(pod), Seccomp: &runtime.Profile{RuntimeDefault: true}}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged {
			s.Privileged = true
		}
	}
	ps := pod.Spec.SecurityContext
	if ps == nil {
		return s
	}
	s.RunAsUser, s.RunAsGroup = ps.RunAsUser, ps.RunAsGroup
	s.SupplementalGroups, s.SupplementalGroupsStrict = groups(ps)
	s.SELinux = selinux(ps.SELinuxOptions)
	return s
}

// groups are the supplemental groups of a pod, with fsGroup, and whether those of
// the image are left out (KEP-3619).
func groups(ps *corev1.PodSecurityContext) (list []int64, strict bool) {
	list = slices.Clone(ps.SupplementalGroups)
	if ps.FSGroup != nil {
		list = append(list, *ps.FSGroup)
	}
	return list, ps.SupplementalGroupsPolicy != nil && *ps.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict
}

// containerSecurity merges a container's security context over its pod's. image is
// what the container runs; its user counts where the spec names none.
// https://kubernetes.io/docs/tasks/configure-pod-container/security-context/
func containerSecurity(pod *corev1.Pod, c *corev1.Container, image runtime.Image, seccompDir string) (runtime.Security, error) {
	s := runtime.Security{Namespaces: namespacesOf(pod), MaskedPaths: defaultMasked(), ReadOnlyPaths: defaultReadOnly()}
	nonRoot := false
	profile := (*corev1.SeccompProfile)(nil)
	if ps := pod.Spec.SecurityContext; ps != nil {
		s.RunAsUser, s.RunAsGroup = ps.RunAsUser, ps.RunAsGroup
		nonRoot = ps.RunAsNonRoot != nil && *ps.RunAsNonRoot
		s.SupplementalGroups, s.SupplementalGroupsStrict = groups(ps)
		s.SELinux = selinux(ps.SELinuxOptions)
		profile = ps.SeccompProfile
	}
	if cs := c.SecurityContext; cs != nil {
		if cs.RunAsUser != nil {
			s.RunAsUser = cs.RunAsUser
		}
		if cs.RunAsGroup != nil {
			s.RunAsGroup = cs.RunAsGroup
		}
		if cs.RunAsNonRoot != nil {
			nonRoot = *cs.RunAsNonRoot
		}
		if cs.SELinuxOptions != nil {
			s.SELinux = selinux(cs.SELinuxOptions)
		}
		if cs.SeccompProfile != nil {
			profile = cs.SeccompProfile
		}
		applyOwn(&s, cs)
	}
	if profile != nil && profile.Type == corev1.SeccompProfileTypeLocalhost && (profile.LocalhostProfile == nil || *profile.LocalhostProfile == "") {
		return s, errors.New("localhostProfile must be set if seccompProfile type is Localhost")
	}
	s.Seccomp, s.AppArmor = seccomp(profile, seccompDir), appArmor(AppArmorProfile(pod, c))
	if nonRoot {
		if err := checkNonRoot(pod, c, s.RunAsUser, image); err != nil {
			return s, err
		}
	}
	// The image's user counts last.
	if s.RunAsUser == nil {
		s.RunAsUser, s.RunAsUsername = image.UID, image.Username
	}
	return s, nil
}

// applyOwn takes over what only a container has in its security context.
func applyOwn(s *runtime.Security, cs *corev1.SecurityContext) {
	is := func(b *bool) bool { return b != nil && *b }
	s.Privileged = is(cs.Privileged)
	s.ReadOnlyRoot = is(cs.ReadOnlyRootFilesystem)
	s.NoNewPrivileges = cs.AllowPrivilegeEscalation != nil && !*cs.AllowPrivilegeEscalation
	if cs.Capabilities != nil {
		for _, c := range cs.Capabilities.Add {
			s.AddCapabilities = append(s.AddCapabilities, string(c))
		}
		for _, c := range cs.Capabilities.Drop {
			s.DropCapabilities = append(s.DropCapabilities, string(c))
		}
	}
	// KEP-4265.
	if cs.ProcMount != nil && *cs.ProcMount == corev1.UnmaskedProcMount {
		s.MaskedPaths, s.ReadOnlyPaths = nil, nil
	}
}

// checkNonRoot gives an error for a container with runAsNonRoot that would run as
// root, or whose user cannot be proved to be another.
func checkNonRoot(pod *corev1.Pod, c *corev1.Container, user *int64, image runtime.Image) error {
	where := fmt.Sprintf("(pod: %q, container: %s)", Title(pod), c.Name)
	switch {
	case user != nil && *user == 0:
		return fmt.Errorf("container's runAsUser breaks non-root policy %s", where)
	case user != nil:
		return nil
	case image.UID != nil && *image.UID == 0, image.UID == nil && image.Username == "":
		return fmt.Errorf("container has runAsNonRoot and image will run as root %s", where)
	case image.UID == nil:
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root %s", image.Username, where)
	}
	return nil
}

// selinux is an SELinux label; nil for none.
func selinux(o *corev1.SELinuxOptions) *runtime.SELinux {
	if o == nil {
		return nil
	}
	return &runtime.SELinux{User: o.User, Role: o.Role, Type: o.Type, Level: o.Level}
}

// namesSeccomp reports whether the pod or the container names a seccomp profile.
func namesSeccomp(pod *corev1.Pod, c *corev1.Container) bool {
	return pod.Spec.SecurityContext != nil && pod.Spec.SecurityContext.SeccompProfile != nil ||
		c.SecurityContext != nil && c.SecurityContext.SeccompProfile != nil
}

// seccomp is a seccomp profile. Without one a container is unconfined: the
// kubelet's default while its setting seccompDefault is off. A localhost profile
// cannot lead out of dir.
func seccomp(p *corev1.SeccompProfile, dir string) *runtime.Profile {
	switch {
	case p == nil, p.Type == corev1.SeccompProfileTypeUnconfined:
		return &runtime.Profile{Unconfined: true}
	case p.Type == corev1.SeccompProfileTypeLocalhost && p.LocalhostProfile != nil:
		return &runtime.Profile{Localhost: filepath.Join(dir, filepath.Clean("/"+*p.LocalhostProfile))}
	}
	return &runtime.Profile{RuntimeDefault: true}
}

// AppArmorProfile is the profile that a container asks for; nil leaves the choice to the
// runtime. The annotation is older than the field, and stronger than the pod's: the API
// server copies it into the container's field, but a static pod has not passed that.
func AppArmorProfile(pod *corev1.Pod, c *corev1.Container) *corev1.AppArmorProfile {
	if c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
		return c.SecurityContext.AppArmorProfile
	}
	text := pod.Annotations[corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+c.Name]
	name, localhost := strings.CutPrefix(text, corev1.DeprecatedAppArmorBetaProfileNamePrefix)
	switch {
	case text == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	case text == corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	case localhost:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
	}
	if ps := pod.Spec.SecurityContext; ps != nil {
		return ps.AppArmorProfile
	}
	return nil
}

// appArmor is an AppArmor profile (KEP-24); nil leaves the choice to the runtime.
func appArmor(p *corev1.AppArmorProfile) *runtime.Profile {
	switch {
	case p == nil:
		return nil
	case p.Type == corev1.AppArmorProfileTypeUnconfined:
		return &runtime.Profile{Unconfined: true}
	case p.Type == corev1.AppArmorProfileTypeLocalhost && p.LocalhostProfile != nil:
		return &runtime.Profile{Localhost: *p.LocalhostProfile}
	}
	return &runtime.Profile{RuntimeDefault: true}
}

// safeSysctls act on the pod's namespaces alone and cannot harm other pods. The
// list is Kubernetes':
// https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/#safe-and-unsafe-sysctls
func safeSysctls() []string {
	return []string{
		"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
		"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout",
		"net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
	}
}

// Sysctls reads the sysctls of a pod. One that is neither safe nor in allowed is
// an error.
func Sysctls(pod *corev1.Pod, allowed []string) (map[string]string, error) {
	if pod.Spec.SecurityContext == nil {
		return nil, nil
	}
	out := make(map[string]string)
	for _, s := range pod.Spec.SecurityContext.Sysctls {
		name := strings.ReplaceAll(s.Name, "/", ".")
		ok := slices.ContainsFunc(slices.Concat(safeSysctls(), allowed), func(a string) bool {
			prefix, glob := strings.CutSuffix(a, "*")
			return a == name || glob && strings.HasPrefix(name, prefix)
		})
		if !ok {
			return nil, fmt.Errorf("forbidden sysctl: %q not allowlisted", s.Name)
		}
		out[name] = s.Value
	}
	return out, nil
}
