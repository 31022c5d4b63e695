package podspec

import (
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
