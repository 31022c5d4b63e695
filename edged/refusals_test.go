package edged_test

import (
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// refused changes a valid pod into one that is refused.
type refused struct {
	edit  func(*corev1.Pod)
	later bool // the pod runs before that
}

// refusals has a pod for each refused row of testdata/fields.txt.
func refusals() map[string]refused {
	seven, text := int64(7), "x"
	mode := int32(0o700)
	main := func(edit func(*corev1.Container)) refused {
		return refused{edit: func(p *corev1.Pod) { edit(&p.Spec.Containers[0]) }}
	}
	volume := func(src corev1.VolumeSource) refused {
		return refused{edit: func(p *corev1.Pod) {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "v", VolumeSource: src})
		}}
	}
	projected := func(src corev1.VolumeProjection) refused {
		return volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{src}}})
	}
	spec := func(edit func(*corev1.PodSpec)) refused {
		return refused{edit: func(p *corev1.Pod) { edit(&p.Spec) }}
	}
	probe := func(h corev1.ProbeHandler) refused {
		return main(func(c *corev1.Container) { c.LivenessProbe = &corev1.Probe{ProbeHandler: h} })
	}
	mount := func(edit func(*corev1.VolumeMount)) refused {
		return main(func(c *corev1.Container) { edit(&c.VolumeMounts[0]) })
	}
	h2, tls, recursive := corev1.HTTPProtocolHTTP2, corev1.GRPCProbeModeTLS, corev1.RecursiveReadOnlyEnabled
	strict, runtimeDefault := corev1.SupplementalGroupsPolicyStrict, &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	resources := func(name, q string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceName(name): resource.MustParse(q)}
	}
	zone := corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "gpu", Operator: corev1.NodeSelectorOpExists}}}
	out := map[string]refused{
		"PodSpec.NodeSelector": spec(func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"gpu": "yes"} }),
		"PodSpec.Tolerations":  spec(func(s *corev1.PodSpec) { s.Tolerations = nil }),
		"PodSpec.OS":           spec(func(s *corev1.PodSpec) { s.OS = &corev1.PodOS{Name: corev1.Windows} }),
		"PodSpec.ResourceClaims": spec(func(s *corev1.PodSpec) {
			s.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: &text}}
		}),
		"PodSpec.Resources": spec(func(s *corev1.PodSpec) {
			s.Resources = &corev1.ResourceRequirements{Limits: resources("memory", "40Mi")}
		}),
		"EmptyDirVolumeSource.Mode":      volume(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Mode: &mode}}),
		"SecretVolumeSource.DefaultUser": volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s", Optional: new(true), DefaultUser: &seven}}),
		"ConfigMapVolumeSource.DefaultUser": volume(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "m"}, Optional: new(true), DefaultUser: &seven,
		}}),
		"DownwardAPIVolumeSource.DefaultUser": volume(corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{DefaultUser: &seven}}),
		"ProjectedVolumeSource.DefaultUser":   volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{DefaultUser: &seven}}),
		"KeyToPath.User": projected(corev1.VolumeProjection{Secret: &corev1.SecretProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Optional: new(true), Items: []corev1.KeyToPath{{Key: "k", Path: "k", User: &seven}},
		}}),
		"DownwardAPIVolumeFile.User": volume(corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "name", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}, User: &seven},
		}}}),
		"ServiceAccountTokenProjection.User": projected(corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "t", User: &seven}}),
		"ClusterTrustBundleProjection.User":  projected(corev1.VolumeProjection{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{Path: "b", User: &seven}}),
		"PodCertificateProjection.User":      projected(corev1.VolumeProjection{PodCertificate: &corev1.PodCertificateProjection{SignerName: "s/s", User: &seven}}),
		"ContainerPort.HostPort":             main(func(c *corev1.Container) { c.Ports = []corev1.ContainerPort{{ContainerPort: 1, HostPort: 80}} }),
		"ResourceRequirements.Requests": main(func(c *corev1.Container) {
			c.Resources = corev1.ResourceRequirements{Requests: resources("nvidia.com/gpu", "1"), Limits: resources("nvidia.com/gpu", "1")}
		}),
		"ContainerRestartRule.Action": main(func(c *corev1.Container) {
			c.RestartPolicyRules = []corev1.ContainerRestartRule{{Action: "Explode"}}
		}),
		"VolumeMount.RecursiveReadOnly": mount(func(m *corev1.VolumeMount) { m.RecursiveReadOnly = &recursive }),
		"VolumeMount.BindMountOptions":  mount(func(m *corev1.VolumeMount) { m.BindMountOptions = []string{"noexec"} }),
		"HTTPGetAction.Protocol":        probe(corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Protocol: &h2}}),
		"GRPCAction.Mode":               probe(corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 1, Mode: &tls}}),
		"SecurityContext.AppArmorProfile": main(func(c *corev1.Container) {
			c.SecurityContext = &corev1.SecurityContext{AppArmorProfile: runtimeDefault}
		}),
		"PodSecurityContext.AppArmorProfile": spec(func(s *corev1.PodSpec) {
			s.SecurityContext = &corev1.PodSecurityContext{AppArmorProfile: runtimeDefault}
		}),
		"PodSecurityContext.SupplementalGroupsPolicy": spec(func(s *corev1.PodSpec) {
			s.SecurityContext = &corev1.PodSecurityContext{SupplementalGroupsPolicy: &strict}
		}),
		"PodSecurityContext.Sysctls": spec(func(s *corev1.PodSpec) {
			s.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "kernel.msgmax", Value: "1"}}}
		}),
		"NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution": spec(func(s *corev1.PodSpec) {
			s.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{zone}}}}
		}),
	}
	sources := reflect.TypeFor[corev1.VolumeSource]()
	for i := range sources.NumField() {
		var src corev1.VolumeSource
		if slices.Contains([]string{"HostPath", "EmptyDir", "Secret", "ConfigMap", "DownwardAPI", "Projected", "NFS", "PersistentVolumeClaim", "Ephemeral", "CSI", "Image"}, sources.Field(i).Name) {
			continue
		}
		reflect.ValueOf(&src).Elem().Field(i).Set(reflect.New(sources.Field(i).Type.Elem()))
		out["VolumeSource."+sources.Field(i).Name] = volume(src)
	}
	for value, field := range map[string]string{
		"RecursiveReadOnlyMode=Enabled":   "VolumeMount.RecursiveReadOnly",
		"HTTPProtocol=HTTP2":              "HTTPGetAction.Protocol",
		"GRPCProbeMode=TLS":               "GRPCAction.Mode",
		"SupplementalGroupsPolicy=Strict": "PodSecurityContext.SupplementalGroupsPolicy",
		"OSName=windows":                  "PodSpec.OS",
		"PodOS.Name":                      "PodSpec.OS",
	} {
		out[value] = out[field]
	}
	return out
}
