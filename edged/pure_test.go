package edged

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/edged/runtime"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestExpand(t *testing.T) {
	lookup := func(n string) (string, bool) {
		v, ok := map[string]string{"A": "1", "B": "$(A)", "": "empty"}[n]
		return v, ok
	}
	for text, want := range map[string]string{
		"": "", "plain": "plain", "$(A)": "1", "x$(A)y$(A)": "x1y1", "$(B)": "$(A)", "$(C)": "$(C)", "$$(A)": "$(A)", "$$$(A)": "$1",
		"$(A": "$(A", "$": "$", "a$b": "a$b", "$$": "$", "$()": "empty", "$(A))": "1)", "$($(A))": "$($(A))",
	} {
		if got := expand(text, lookup); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"$(A)", "$$(A", "$($(", "$"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := expand(text, func(string) (string, bool) { return "", false })
		if !strings.Contains(text, "$") && got != text {
			t.Errorf("%q became %q", text, got)
		}
	})
}

func FuzzHostFiles(f *testing.F) {
	f.Add([]byte("nameserver 1.1.1.1\nsearch a. b .\noptions ndots:2 # x\n"))
	f.Add([]byte("PRETTY_NAME=\"Debian\"\n"))
	f.Add([]byte("MemTotal: 12 kB\n"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		parseResolvConf(b)
		osName(b)
		parseMemInfo(b)
	})
}

func TestDNS(t *testing.T) {
	host := parseResolvConf([]byte("# a\nnameserver 9.9.9.9\nsearch home. corp\noptions ndots:2 rotate\n"))
	cluster := []netip.Addr{netip.MustParseAddr("10.96.0.10")}
	two := "2"
	for _, tt := range []struct {
		name  string
		edit  func(*corev1.PodSpec)
		addrs []netip.Addr
		want  string
	}{
		{"cluster first", func(s *corev1.PodSpec) { s.DNSPolicy = "ClusterFirst" }, cluster, "10.96.0.10|ns.svc.cluster.local svc.cluster.local cluster.local home corp|ndots:5"},
		{"no cluster", func(s *corev1.PodSpec) { s.DNSPolicy = "ClusterFirst" }, nil, "9.9.9.9|home corp|ndots:2 rotate!MissingClusterDNS"},
		{"host network", func(s *corev1.PodSpec) { s.DNSPolicy, s.HostNetwork = "ClusterFirst", true }, cluster, "9.9.9.9|home corp|ndots:2 rotate"},
		{"with host network", func(s *corev1.PodSpec) { s.DNSPolicy, s.HostNetwork = "ClusterFirstWithHostNet", true }, cluster, "10.96.0.10|ns.svc.cluster.local svc.cluster.local cluster.local home corp|ndots:5"},
		{"none", func(s *corev1.PodSpec) {
			s.DNSPolicy = "None"
			s.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"1.1.1.1", "1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"}, Searches: []string{"x"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &two}, {Name: "debug"}}}
		}, cluster, "1.1.1.1 2.2.2.2 3.3.3.3|x|ndots:2 debug!DNSConfigForming"},
	} {
		pod := spec("Always")
		tt.edit(&pod.Spec)
		d, complaints, _ := dnsConfig(pod, host, tt.addrs, "cluster.local")
		got := strings.Join([]string{strings.Join(d.Servers, " "), strings.Join(d.Searches, " "), strings.Join(d.Options, " ")}, "|")
		for _, c := range complaints {
			got += "!" + c.reason
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func requests(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse(memory)}
}

func TestResources(t *testing.T) {
	pod := spec("Always", "a")
	c := &pod.Spec.Containers[0]
	if r := containerResources(pod, c, 1<<30, false); qosClass(pod) != "BestEffort" || r.OOMScoreAdj != 1000 || r.CPUShares != 2 || r.CPUQuota != 0 {
		t.Errorf("%+v", r)
	}
	c.Resources.Requests = requests("250m", "256Mi")
	if r := containerResources(pod, c, 1<<30, false); qosClass(pod) != "Burstable" || r.OOMScoreAdj != 750 || r.CPUShares != 256 || r.Memory != 0 {
		t.Errorf("%+v", r)
	}
	c.Resources.Limits = requests("250m", "256Mi")
	c.Resources.Limits["hugepages-2Mi"] = resource.MustParse("4Mi")
	if r := containerResources(pod, c, 1<<30, true); qosClass(pod) != "Guaranteed" || r.OOMScoreAdj != -997 || r.CPUQuota != 25000 || r.Memory != 256<<20 || r.MemorySwap != r.Memory || r.HugePages["2MB"] != 4<<20 {
		t.Errorf("%+v", r)
	}
	init := spec("Always", "init:i", "side:s", "init:j", "a")
	for i, cpu := range []string{"2", "1", "5"} {
		init.Spec.InitContainers[i].Resources.Requests = requests(cpu, "0")
	}
	init.Spec.Containers[0].Resources.Requests = requests("3", "0")
	if q := podRequest(init, "cpu"); q.Value() != 6 { // the second init container beside the sidecar
		t.Errorf("pod asks for %s", q.String())
	}
}

func TestAdmit(t *testing.T) {
	node := corev1.ResourceList{"cpu": resource.MustParse("2"), "memory": resource.MustParse("1Gi"), "pods": resource.MustParse("2")}
	with := func(edit func(*corev1.Pod)) *corev1.Pod {
		p := spec("Always", "a")
		edit(p)
		return p
	}
	one := with(func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = requests("1500m", "1Mi")
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80}}
	})
	for want, p := range map[string]*corev1.Pod{
		"":            spec("Always", "a"),
		"OutOfcpu":    with(func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = requests("501m", "1Mi") }),
		"OutOfmemory": with(func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = requests("1m", "2Gi") }),
		"NodePorts": with(func(p *corev1.Pod) {
			p.Spec.HostNetwork = true
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, Protocol: "TCP"}}
		}),
		"NodeAffinity": with(func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{corev1.LabelArchStable: "s390x"} }),
		"SysctlForbidden": with(func(p *corev1.Pod) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "kernel.msgmax", Value: "1"}}}
		}),
		"PodOSNotSupported": with(func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }),
	} {
		got := ""
		if r := (admission{pod: p, others: []*corev1.Pod{one}, allocatable: node, labels: ownLabels(Config{})}).decide(); r != nil {
			got = r.reason
		}
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if r := (admission{pod: spec("Always", "a"), others: []*corev1.Pod{one, one}, allocatable: node}).decide(); r == nil || r.reason != "OutOfpods" {
		t.Errorf("%+v", r)
	}
}

func TestSecurity(t *testing.T) {
	yes, no, root, user := true, false, int64(0), int64(7)
	pod := spec("Always", "a")
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
	if _, err := sysctls(pod, nil); err == nil {
		t.Error("an unsafe sysctl passes")
	}
	if m, err := sysctls(pod, []string{"net.core.*"}); err != nil || len(m) != 2 {
		t.Errorf("%v %v", m, err)
	}
}

func TestHostsFile(t *testing.T) {
	pod := spec("Always")
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

// TestClockSetBack plans for a pod on a machine that woke up in 1970: what it
// makes there follows what it made before, and no back-off waits for the year in
// which a container exited.
func TestClockSetBack(t *testing.T) {
	then, now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC), time.Unix(100, 0)
	pod := &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{{Name: "c", Image: "x"}}}}
	old := runtime.Sandbox{ID: "old", Created: then}
	fresh := runtime.Sandbox{ID: "fresh", Attempt: 1, Created: now, Ready: true, IPs: []string{"10.0.0.1"}}
	crashed := runtime.Container{
		ID: "crashed", Name: "c", SandboxID: "fresh", Attempt: 3, State: runtime.ContainerExited, ExitCode: 1, Created: then, Started: then, Finished: then.Add(time.Second),
		Annotations: map[string]string{runtime.AnnotationBackOff: "5m0s"},
	}
	s := situation{pod: pod, now: now, setUp: true, view: newView([]runtime.Sandbox{old, fresh}, []runtime.Container{crashed})}
	d := plan(s)
	if len(d.actions) != 1 || d.actions[0].kind != actStart || d.actions[0].attempt != 4 {
		t.Errorf("after a crash in the future: %v, wake %s", d.actions, d.wake)
	}
	runs := crashed
	runs.ID, runs.Attempt, runs.State, runs.Created, runs.Finished = "runs", 4, runtime.ContainerRunning, now, time.Time{}
	runs.Annotations = nil
	s.view = newView([]runtime.Sandbox{old, fresh}, []runtime.Container{crashed, runs})
	for _, a := range plan(s).actions {
		if a.kind != actRemoveSandbox || a.id != "old" {
			t.Errorf("a pod that runs well gets %s", a)
		}
	}
	// The runtime restarted in 1970 and found the container of 2026 dead.
	dead := crashed
	dead.SandboxID, dead.Finished = "old", now
	if v := newView([]runtime.Sandbox{old}, []runtime.Container{dead}); !v.lost(&dead) {
		t.Error("a container that went with its sandbox counts as crashed")
	}
}
