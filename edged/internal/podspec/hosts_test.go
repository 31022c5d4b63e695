package podspec

import (
	"strings"
	"testing"

	"github.com/edgekit/edgekit/edged/internal/podtest"
)

func TestHostsFile(t *testing.T) {
	pod := podtest.New("Always")
	pod.Spec.Subdomain = "sub"
	name, domain := hostname(pod, "cluster.local")
	text := string(hostsFile(pod, []string{"10.1.1.1"}, name, domain, nil))
	if !strings.Contains(text, "10.1.1.1\tpod.sub.ns.svc.cluster.local\tpod\n") {
		t.Error(text)
	}
	pod.Name = strings.Repeat("x", 62) + "-abc"
	if name, _ := hostname(pod, ""); name != strings.Repeat("x", 62) {
		t.Error(name)
	}
}
