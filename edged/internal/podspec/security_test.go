package podspec

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/podtest"
	"github.com/edgekit/edgekit/edged/runtime"
)

func TestSecurity(t *testing.T) {
	yes, no, root, user := true, false, int64(0), int64(7)
	pod := podtest.New("Always", "a")
	c := &pod.Spec.Containers[0]
	s, err := containerSecurity(pod, c, runtime.Image{Username: "www"}, "/sec")
	if err != nil || s.RunAsUsername != "www" || !s.Seccomp.Unconfined || len(s.MaskedPaths) == 0 || s.NoNewPrivileges {
		t.Errorf("%+v %v", s, err)
	}
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: &yes, FSGroup: &user, SeccompProfile: &corev1.SeccompProfile{Type: "RuntimeDefault"}}
	for want, img := range map[string]runtime.Image{"image will run as root": {}, "image will run as root ": {UID: &root}, "non-numeric user (www)": {Username: "www"}, "": {UID: &user}} {
		_, err := containerSecurity(pod, c, img, "/sec")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", img, err)
		}
	}
	local, unmasked := "../p.json", corev1.UnmaskedProcMount
	c.SecurityContext = &corev1.SecurityContext{
		RunAsUser: &user, AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, ProcMount: &unmasked,
		SeccompProfile: &corev1.SeccompProfile{Type: "Localhost", LocalhostProfile: &local}, Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN"}},
	}
	s, err = containerSecurity(pod, c, runtime.Image{}, "/sec")
	if err != nil || *s.RunAsUser != 7 || !s.NoNewPrivileges || !s.ReadOnlyRoot || s.MaskedPaths != nil || s.Seccomp.Localhost != "/sec/p.json" || !slices.Equal(s.SupplementalGroups, []int64{7}) || s.AddCapabilities[0] != "NET_ADMIN" {
		t.Errorf("%+v %v", s, err)
	}
	pod.Spec.SecurityContext.Sysctls = []corev1.Sysctl{{Name: "kernel.shm_rmid_forced", Value: "1"}, {Name: "net.core.somaxconn", Value: "9"}}
	if _, err := Sysctls(pod, nil); err == nil {
		t.Error("an unsafe sysctl passes")
	}
	if m, err := Sysctls(pod, []string{"net.core.*"}); err != nil || len(m) != 2 {
		t.Errorf("%v %v", m, err)
	}
}

// TestProfiles: a container has the profiles that it names, or is refused; the pod's
// sandbox has the runtime's own seccomp profile.
func TestProfiles(t *testing.T) {
	local := func(name *string) *corev1.SecurityContext {
		return &corev1.SecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: "Localhost", LocalhostProfile: name}}
	}
	armor := func(kind corev1.AppArmorProfileType) *corev1.AppArmorProfile {
		return &corev1.AppArmorProfile{Type: kind}
	}
	const note = corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix
	for name, tt := range map[string]struct {
		edit func(*corev1.Pod)
		want runtime.Security
		err  string
	}{
		"a file":        {func(p *corev1.Pod) { p.Spec.Containers[0].SecurityContext = local(new("a/b.json")) }, runtime.Security{Seccomp: &runtime.Profile{Localhost: "/sec/a/b.json"}}, ""},
		"no file":       {func(p *corev1.Pod) { p.Spec.Containers[0].SecurityContext = local(nil) }, runtime.Security{}, "localhostProfile must be set"},
		"an empty name": {func(p *corev1.Pod) { p.Spec.Containers[0].SecurityContext = local(new("")) }, runtime.Security{}, "localhostProfile must be set"},
		"the pod's": {func(p *corev1.Pod) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{SeccompProfile: local(new("p.json")).SeccompProfile, AppArmorProfile: armor("RuntimeDefault")}
		}, runtime.Security{Seccomp: &runtime.Profile{Localhost: "/sec/p.json"}, AppArmor: &runtime.Profile{RuntimeDefault: true}}, ""},
		"the old annotation before the pod's": {func(p *corev1.Pod) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{AppArmorProfile: armor("RuntimeDefault")}
			p.Annotations = map[string]string{note + "a": "localhost/web", note + "b": "unconfined"}
		}, runtime.Security{Seccomp: &runtime.Profile{Unconfined: true}, AppArmor: &runtime.Profile{Localhost: "web"}}, ""},
		"the field before the old annotation": {func(p *corev1.Pod) {
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{AppArmorProfile: armor("Unconfined")}
			p.Annotations = map[string]string{note + "a": "runtime/default"}
		}, runtime.Security{Seccomp: &runtime.Profile{Unconfined: true}, AppArmor: &runtime.Profile{Unconfined: true}}, ""},
	} {
		p := podtest.New("Always", "a")
		tt.edit(p)
		got, err := containerSecurity(p, &p.Spec.Containers[0], runtime.Image{}, "/sec")
		switch {
		case tt.err != "":
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v", name, err)
			}
		case err != nil || !reflect.DeepEqual(got.Seccomp, tt.want.Seccomp) || !reflect.DeepEqual(got.AppArmor, tt.want.AppArmor):
			t.Errorf("%s: %+v, %+v, %v", name, got.Seccomp, got.AppArmor, err)
		}
		if s := sandboxSecurity(p); !s.Seccomp.RuntimeDefault {
			t.Errorf("%s: the sandbox has %+v", name, s.Seccomp)
		}
	}
}
