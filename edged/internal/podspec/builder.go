package podspec

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/cgroup"
	"github.com/edgekit/edgekit/edged/internal/podlogs"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/static"
	"github.com/edgekit/edgekit/edged/volume"
)

// Config is what a Builder knows of its node. NodeName, Objects, LocalAPI and
// Volumes are required.
type Config struct {
	NodeName       string
	ClusterDomain  string
	ClusterDNS     []netip.Addr
	Root           string // the agent's folder; seccomp profiles lie below it
	LogRoot        string // folder of the pods' logs
	ResolvConf     string // resolver file for pods; "" chooses one of the host's
	AllowedSysctls []string
	Policy         Policy
	SeccompDefault bool // a container without a profile gets the runtime's own
	Objects        Objects
	LocalAPI       func(pod *corev1.Pod) []runtime.EnvVar
	Volumes        *volume.Manager
}

// Builder makes a runtime's configurations of sandboxes and containers from the
// specs of pods. It may be used by several goroutines.
type Builder struct {
	cfg      Config
	resolver resolver
}

// New makes a Builder. It does no I/O.
func New(cfg Config) *Builder { return &Builder{cfg: cfg} }

// Node is what of the node's state goes into the configuration of a container.
type Node struct {
	Capacity, Allocatable corev1.ResourceList
	Features              runtime.Features
	CgroupV2              bool
	SwapLimited           bool     // the kernel counts swap by group
	Swap                  int64    // bytes of swap that the machine has
	HugePageSizes         []string // those that the kernel counts by group
}

// ContainerRequest is one container to be made.
type ContainerRequest struct {
	Spec    *corev1.Container
	Attempt uint32 // the restart count
	Image   runtime.Image
	// VolumeImages are the images of those of the pod's volumes that are images and that
	// the container mounts, by the volume's name.
	VolumeImages map[string]runtime.Image
	BackOff      time.Duration // how long its successor waits after its exit
}

// podLabels are the labels by which a pod's sandbox and containers are found
// again.
func podLabels(pod *corev1.Pod) map[string]string {
	return map[string]string{runtime.LabelPodName: pod.Name, runtime.LabelPodNamespace: pod.Namespace, runtime.LabelPodUID: string(pod.UID)}
}

// sourceOf says where a pod came from, in the kubelet's words.
func sourceOf(pod *corev1.Pod) string {
	if static.Is(pod) {
		return static.SourceFile
	}
	return "api"
}

// SandboxConfig says how the pod's sandbox is made: its network, its host name and
// DNS, its cgroup, and what the agent must find again in it after a restart.
func (b *Builder) SandboxConfig(pod *corev1.Pod, attempt uint32, groups *cgroup.Groups) (*runtime.SandboxConfig, error) {
	if r := UnsupportedPod(pod); r != nil {
		return nil, r
	}
	kernel, err := Sysctls(pod, b.cfg.AllowedSysctls)
	if err != nil {
		return nil, err
	}
	dns, _, err := b.DNS(pod)
	if err != nil {
		return nil, err
	}
	// Runtimes and log collectors show the labels of the pod on its sandbox. The
	// kubelet's own come first: by these the sandbox is found again.
	labels := podLabels(pod)
	for k, v := range pod.Labels {
		if _, own := labels[k]; !own {
			labels[k] = v
		}
	}
	notes := map[string]string{
		runtime.AnnotationSeen: time.Now().Format(time.RFC3339Nano), runtime.AnnotationSource: sourceOf(pod), runtime.AnnotationNode: b.cfg.NodeName,
		runtime.AnnotationPodGrace: strconv.FormatInt(int64(SpecGracePeriod(pod)/time.Second), 10),
	}
	if pod.Spec.Resources != nil {
		addJSON(notes, runtime.AnnotationResources, pod.Spec.Resources)
	}
	// The annotations of the pod go to the runtime too: CNI plugins read theirs there.
	for k, v := range pod.Annotations {
		if _, own := notes[k]; !own {
			notes[k] = v
		}
	}
	cfg := &runtime.SandboxConfig{
		Name: pod.Name, Namespace: pod.Namespace, UID: string(pod.UID), Attempt: attempt,
		LogDirectory: podlogs.Dir(b.cfg.LogRoot, pod), DNS: dns, Labels: labels, Annotations: notes, Sysctls: kernel,
		CgroupParent: groups.Parent(QOSClass(pod), string(pod.UID)),
		Security:     sandboxSecurity(pod),
	}
	cfg.Security.SupplementalGroups = b.withVolumeGroups(pod, cfg.Security.SupplementalGroups)
	bare := *pod
	bare.Spec.Overhead = nil // the runtime adds it
	limits := b.PodLimits(&bare, Node{})
	cfg.Resources = &runtime.Resources{CPUShares: limits.CPUShares, CPUQuota: limits.CPUQuota, CPUPeriod: limits.CPUPeriod, Memory: limits.Memory}
	if len(pod.Spec.Overhead) > 0 {
		overhead := Overhead(pod)
		cfg.Overhead = &overhead
	}
	if !pod.Spec.HostNetwork {
		name, domain := hostname(pod, b.cfg.ClusterDomain)
		// KEP-1797. The kernel takes 64 characters; what is longer is an error, not cut, since
		// a cut name would be another host's.
		if pod.Spec.SetHostnameAsFQDN != nil && *pod.Spec.SetHostnameAsFQDN && domain != "" {
			if name += "." + domain; len(name) > maxHostname+1 {
				return nil, fmt.Errorf("failed to construct FQDN from pod hostname and cluster domain, FQDN %s is too long (64 characters is the max, %d characters requested)", name, len(name))
			}
		}
		cfg.Hostname = name
		cfg.Ports = portMappings(pod)
	}
	return cfg, nil
}

// seccompDir is where localhost seccomp profiles lie: the kubelet's
// <root>/seccomp.
func (b *Builder) seccompDir() string { return filepath.Join(b.cfg.Root, "seccomp") }

// portMappings are the ports of the host that the runtime forwards to the pod.
func portMappings(pod *corev1.Pod) []runtime.PortMapping {
	var out []runtime.PortMapping
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range list {
			for _, p := range c.Ports {
				if p.HostPort > 0 {
					out = append(out, runtime.PortMapping{Protocol: string(p.Protocol), ContainerPort: p.ContainerPort, HostPort: p.HostPort, HostIP: p.HostIP})
				}
			}
		}
	}
	return out
}

// ContainerConfig says how a container is made. The status of pod must have its
// addresses filled in, since environment variables and the hosts file show them.
func (b *Builder) ContainerConfig(ctx context.Context, pod *corev1.Pod, c ContainerRequest, node Node) (*runtime.ContainerConfig, error) {
	if err := unsupportedContainer(c.Spec); err != nil {
		return nil, err
	}
	security, err := containerSecurity(pod, c.Spec, c.Image, b.seccompDir())
	if err != nil {
		return nil, err
	}
	if b.cfg.SeccompDefault && !namesSeccomp(pod, c.Spec) {
		security.Seccomp = &runtime.Profile{RuntimeDefault: true}
	}
	// From the weakest to the strongest: Services, the node's own API, then the pod's
	// variables, which environmentOf adds.
	given, err := serviceVariables(ctx, b.cfg.Objects, pod)
	if err != nil {
		return nil, err
	}
	given = append(given, b.cfg.LocalAPI(pod)...) // the node's own is nearer
	env, err := environmentOf(ctx, b.cfg.Objects, b.cfg.Volumes.ReadFile, pod, c.Spec, ContainerAllocatable(pod, node.Allocatable), given...)
	if err != nil {
		return nil, err
	}
	cfg := &runtime.ContainerConfig{
		Name: c.Spec.Name, Attempt: c.Attempt, Image: c.Image.ID, ImageName: c.Spec.Image, WorkingDir: c.Spec.WorkingDir, Env: env.list,
		LogPath: filepath.Join(c.Spec.Name, fmt.Sprintf("%d.log", c.Attempt)), Stdin: c.Spec.Stdin, StdinOnce: c.Spec.StdinOnce, TTY: c.Spec.TTY,
		Resources: b.ContainerResources(pod, c.Spec, node), Security: security,
	}
	// Only command and args are expanded; what is in the image stays as it is.
	for _, s := range c.Spec.Command {
		cfg.Command = append(cfg.Command, expand(s, env.lookup))
	}
	for _, s := range c.Spec.Args {
		cfg.Args = append(cfg.Args, expand(s, env.lookup))
	}
	// KEP-4960: the pod may replace the stop signal of the image.
	if c.Spec.Lifecycle != nil && c.Spec.Lifecycle.StopSignal != nil {
		cfg.StopSignal = string(*c.Spec.Lifecycle.StopSignal)
	}
	cfg.Security.SupplementalGroups = b.withVolumeGroups(pod, cfg.Security.SupplementalGroups)
	if cfg.Devices, err = b.devices(pod, c.Spec); err != nil {
		return nil, err
	}
	if cfg.Mounts, err = b.mounts(pod, c, env, node.Features); err != nil {
		return nil, err
	}
	message, err := b.terminationFile(pod, c.Spec, c.Attempt)
	if err != nil {
		return nil, err
	}
	cfg.Mounts = append(cfg.Mounts, runtime.Mount{ContainerPath: terminationPath(c.Spec), HostPath: message, Relabel: true})
	// A container carries no labels of the pod: they may change while it runs.
	cfg.Labels = podLabels(pod)
	cfg.Labels[runtime.LabelContainerName] = c.Spec.Name
	cfg.Annotations = containerNotes(pod, c)
	cfg.Annotations[runtime.AnnotationTerminationMessage] = message
	cfg.Annotations[runtime.AnnotationNode] = b.cfg.NodeName
	return cfg, nil
}

// containerNotes is what the agent must find again in a container after a restart,
// as annotations.
func containerNotes(pod *corev1.Pod, r ContainerRequest) map[string]string {
	c := r.Spec
	notes := map[string]string{
		runtime.AnnotationHash:              ContainerHash(c),
		runtime.AnnotationRestartCount:      strconv.FormatUint(uint64(r.Attempt), 10),
		runtime.AnnotationTerminationPath:   terminationPath(c),
		runtime.AnnotationTerminationPolicy: string(c.TerminationMessagePolicy),
		runtime.AnnotationPodGrace:          strconv.FormatInt(int64(SpecGracePeriod(pod)/time.Second), 10),
	}
	// The back-off is that of the next container: it is known when this one exits, and
	// must be known after a crash of the agent.
	if r.BackOff > 0 {
		notes[runtime.AnnotationBackOff] = r.BackOff.String()
	}
	addJSON(notes, runtime.AnnotationResources, c.Resources)
	// The hook that the container was made with runs at its end, whatever the spec says
	// by then, and also when the API object is gone.
	if c.Lifecycle != nil && c.Lifecycle.PreStop != nil {
		addJSON(notes, runtime.AnnotationPreStop, c.Lifecycle.PreStop)
	}
	if len(c.Ports) > 0 {
		addJSON(notes, runtime.AnnotationPorts, c.Ports)
	}
	return notes
}

// addJSON notes a value as JSON. What cannot be marshalled is left out: it costs
// what the note is for, and no pod.
func addJSON(notes map[string]string, key string, value any) {
	if body, err := json.Marshal(value); err == nil {
		notes[key] = string(body)
	}
}

// terminationPath is where the container finds the file for its termination
// message.
func terminationPath(c *corev1.Container) string {
	if c.TerminationMessagePath != "" {
		return c.TerminationMessagePath
	}
	return corev1.TerminationMessagePathDefault
}

// terminationFile makes the file that a container may write its termination
// message to:
// https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
func (b *Builder) terminationFile(pod *corev1.Pod, c *corev1.Container, attempt uint32) (string, error) {
	dir := filepath.Join(b.cfg.Volumes.PodDir(string(pod.UID)), "containers", c.Name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", err
	}
	file := filepath.Join(dir, strconv.FormatUint(uint64(attempt), 10))
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		return "", err
	}
	return file, os.Chmod(file, 0o666) // any user of the container may write it
}

// devices gives a container the block volumes that it asks for, as makeBlockVolumes of
// a kubelet does.
func (b *Builder) devices(pod *corev1.Pod, c *corev1.Container) ([]runtime.Device, error) {
	var out []runtime.Device
	for _, d := range c.VolumeDevices {
		if !path.IsAbs(d.DevicePath) {
			return nil, fmt.Errorf("error DevicePath `%s` must be an absolute path", d.DevicePath)
		}
		v, err := b.cfg.Volumes.Lookup(pod, d.Name)
		if err != nil {
			return nil, err
		}
		if !v.Device {
			return nil, fmt.Errorf("cannot find volume %q to pass into container %q", d.Name, c.Name)
		}
		permissions := "mrw"
		if v.ReadOnly {
			permissions = "r"
		}
		out = append(out, runtime.Device{ContainerPath: d.DevicePath, HostPath: v.Path, Permissions: permissions})
	}
	return out, nil
}

// withVolumeGroups adds the groups that the pod's volumes need to those of its spec.
func (b *Builder) withVolumeGroups(pod *corev1.Pod, list []int64) []int64 {
	for _, text := range b.cfg.Volumes.Groups(string(pod.UID)) {
		if gid, err := strconv.ParseInt(text, 10, 64); err == nil && !slices.Contains(list, gid) {
			list = append(list, gid)
		}
	}
	return list
}
