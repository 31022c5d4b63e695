package podspec

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/podtest"
	"github.com/edgekit/edgekit/edged/runtime"
)

const stub = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n"

// TestHostResolver gives pods the name servers of hosts of several kinds.
func TestHostResolver(t *testing.T) {
	upstream := "nameserver 192.0.2.53\nsearch site.example\n"
	for _, tt := range []struct {
		name      string
		etc, run  string // the two files; "" is not there
		set       string // a file that Config.ResolvConf names
		host      bool   // network
		want      string
		complains bool
	}{
		{name: "plain", etc: upstream, run: "nameserver 1.1.1.1\n", want: "192.0.2.53|site.example"},
		{name: "systemd-resolved", etc: stub, run: upstream, want: "192.0.2.53|site.example"},
		{name: "systemd-resolved, host network", etc: stub, run: upstream, host: true, want: "127.0.0.53|"},
		{name: "both families of loopback", etc: "nameserver 127.0.0.1\nnameserver ::1\n", run: upstream, want: "192.0.2.53|site.example"},
		{name: "one that is not loopback", etc: "nameserver 127.0.0.1\nnameserver 192.0.2.1\n", run: upstream, want: "127.0.0.1 192.0.2.1|"},
		{name: "a stub of another kind", etc: "nameserver 127.0.0.1\n", want: "127.0.0.1|", complains: true},
		{name: "systemd-resolved without a network", etc: stub, run: "# no servers\n", want: "127.0.0.53|", complains: true},
		{name: "only the link's own", etc: stub, run: "nameserver fe80::1%2\n", want: "127.0.0.53|", complains: true},
		{name: "a cloud's", etc: "nameserver 169.254.169.254\n", want: "169.254.169.254|"},
		{name: "no file", want: "|", complains: true},
		{name: "no file, but systemd-resolved", run: upstream, want: "192.0.2.53|site.example"},
		{name: "set", etc: stub, run: upstream, set: "nameserver 192.0.2.99\n", want: "192.0.2.99|"},
		{name: "set to a loopback", etc: upstream, set: "nameserver 127.0.0.1\n", want: "127.0.0.1|"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := resolver{root: t.TempDir()}
			set := ""
			for path, text := range map[string]string{resolvConf: tt.etc, resolvConfSystemd: tt.run, "/set": tt.set} {
				if text == "" {
					continue
				}
				path = r.root + path
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				if strings.HasSuffix(path, "/set") {
					set = path
				}
			}
			d, complaints, err := r.read(set, tt.host)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(d.Servers, " ") + "|" + strings.Join(d.Searches, " "); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if (len(complaints) > 0) != tt.complains {
				t.Errorf("%+v", complaints)
			}
			for _, c := range complaints {
				if !c.OfNode || !strings.Contains(c.Message, "--resolv-conf") {
					t.Errorf("no remedy: %+v", c)
				}
			}
		})
	}
}

// TestSetResolverThatIsNotThere: a missing file that Config.ResolvConf names is an error,
// not an empty file.
func TestSetResolverThatIsNotThere(t *testing.T) {
	r := resolver{root: t.TempDir()}
	if _, _, err := r.read(filepath.Join(r.root, "none"), false); err == nil || !strings.Contains(err.Error(), "--resolv-conf") {
		t.Errorf("%v", err)
	}
}

// TestPodWithoutHostServers: a host's file without name servers matters only to pods that
// use it.
func TestPodWithoutHostServers(t *testing.T) {
	for _, tt := range []struct {
		policy  corev1.DNSPolicy
		cluster []netip.Addr
		want    string
	}{
		{corev1.DNSDefault, nil, "NoUsableNameServer"},
		{corev1.DNSClusterFirst, nil, "NoUsableNameServer MissingClusterDNS"},
		{corev1.DNSClusterFirst, []netip.Addr{netip.MustParseAddr("10.96.0.10")}, ""},
		{corev1.DNSNone, nil, ""},
	} {
		a := &Builder{cfg: Config{ClusterDNS: tt.cluster, ClusterDomain: "cluster.local"}, resolver: resolver{root: t.TempDir()}}
		pod := podtest.New("Always")
		pod.Spec.DNSPolicy = tt.policy
		_, complaints, err := a.DNS(pod)
		var got []string
		for _, c := range complaints {
			got = append(got, c.Reason)
		}
		if strings.Join(got, " ") != tt.want || err != nil {
			t.Errorf("%s %v: %q, %v; want %q", tt.policy, tt.cluster, got, err, tt.want)
		}
	}
}

// TestResolverLimits: three name servers; 32 search domains of 253 characters
// each, of 2,048 together.
func TestResolverLimits(t *testing.T) {
	list := func(n, length int) []string {
		var out []string
		for i := range n {
			out = append(out, fmt.Sprintf("%0*d", length, i))
		}
		return out
	}
	for _, tt := range []struct {
		name              string
		servers, searches []string
		keeps             [2]int
		complaints        int
	}{
		{"what fits", list(3, 9), list(32, 10), [2]int{3, 32}, 0},
		{"servers", list(4, 9), nil, [2]int{3, 0}, 1},
		{"domains", nil, list(33, 10), [2]int{0, 32}, 1},
		{"2,048 characters", nil, append(list(31, 63), strings.Repeat("x", 64)), [2]int{0, 32}, 0},
		{"2,049 characters", nil, append(list(31, 63), strings.Repeat("x", 65)), [2]int{0, 31}, 1},
		{"one too long", nil, append([]string{strings.Repeat("x", 254)}, list(2, 9)...), [2]int{0, 2}, 1},
		{"all of it", list(9, 9), list(40, 200), [2]int{3, 10}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := runtime.DNSConfig{Servers: tt.servers, Searches: tt.searches}
			complaints := fitResolver(&d)
			if got := [2]int{len(d.Servers), len(d.Searches)}; got != tt.keeps || len(complaints) != tt.complaints {
				t.Errorf("keeps %v, complains %d times; want %v, %d", got, len(complaints), tt.keeps, tt.complaints)
			}
			for _, c := range complaints {
				if c.Reason != "DNSConfigForming" || c.Type != corev1.EventTypeWarning || c.OfNode {
					t.Errorf("%+v", c)
				}
			}
		})
	}
}

func FuzzResolvConf(f *testing.F) {
	f.Add([]byte("nameserver 1.1.1.1\nsearch a. b .\noptions ndots:2 # x\n"))
	f.Fuzz(func(_ *testing.T, b []byte) { parseResolvConf(b) })
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
		pod := podtest.New("Always")
		tt.edit(&pod.Spec)
		d, complaints, _ := dnsConfig(pod, host, tt.addrs, "cluster.local")
		got := strings.Join([]string{strings.Join(d.Servers, " "), strings.Join(d.Searches, " "), strings.Join(d.Options, " ")}, "|")
		for _, c := range complaints {
			got += "!" + c.Reason
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
