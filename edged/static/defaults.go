package static

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// setDefaults fills in what the API server would, as far as a node acts upon it:
// https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
func setDefaults(spec *corev1.PodSpec) {
	def(&spec.RestartPolicy, corev1.RestartPolicyAlways)
	def(&spec.DNSPolicy, corev1.DNSClusterFirst)
	if spec.TerminationGracePeriodSeconds == nil {
		seconds := int64(corev1.DefaultTerminationGracePeriodSeconds)
		spec.TerminationGracePeriodSeconds = &seconds
	}
	if spec.SecurityContext == nil {
		spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			container(&list[i], spec.HostNetwork)
		}
	}
	for i := range spec.Volumes {
		volume(&spec.Volumes[i].VolumeSource)
	}
}

// def sets a field that has no value.
func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// container fills in a container. In the host's network a port of the container is
// one of the host.
func container(c *corev1.Container, hostNetwork bool) {
	policy := corev1.PullIfNotPresent
	if base := c.Image[strings.LastIndex(c.Image, "/")+1:]; !strings.Contains(base, "@") && (!strings.Contains(base, ":") || strings.HasSuffix(base, ":latest")) {
		policy = corev1.PullAlways
	}
	def(&c.ImagePullPolicy, policy)
	def(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	def(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		def(&c.Ports[i].Protocol, corev1.ProtocolTCP)
		if hostNetwork {
			def(&c.Ports[i].HostPort, c.Ports[i].ContainerPort)
		}
	}
	for name, limit := range c.Resources.Limits {
		if _, asked := c.Resources.Requests[name]; !asked {
			if c.Resources.Requests == nil {
				c.Resources.Requests = make(corev1.ResourceList)
			}
			c.Resources.Requests[name] = limit
		}
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil && from.FieldRef != nil {
			def(&from.FieldRef.APIVersion, "v1")
		}
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p != nil {
			def(&p.TimeoutSeconds, 1)
			def(&p.PeriodSeconds, 10)
			def(&p.SuccessThreshold, 1)
			def(&p.FailureThreshold, 3)
			handler(&p.ProbeHandler)
		}
	}
}

// handler fills in how a probe or hook is made.
func handler(h *corev1.ProbeHandler) {
	if h.HTTPGet != nil {
		def(&h.HTTPGet.Path, "/")
		def(&h.HTTPGet.Scheme, corev1.URISchemeHTTP)
	}
	if h.GRPC != nil && h.GRPC.Service == nil {
		h.GRPC.Service = new(string)
	}
}

// volume fills in the file modes of a volume.
func volume(v *corev1.VolumeSource) {
	if *v == (corev1.VolumeSource{}) {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	mode := func(field **int32) {
		if *field == nil {
			m := int32(0o644)
			*field = &m
		}
	}
	switch {
	case v.HostPath != nil && v.HostPath.Type == nil:
		v.HostPath.Type = new(corev1.HostPathType)
	case v.DownwardAPI != nil:
		mode(&v.DownwardAPI.DefaultMode)
	case v.Projected != nil:
		mode(&v.Projected.DefaultMode)
	}
}
