package edged

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/edged/runtime"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
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
				if !c.ofNode || !strings.Contains(c.message, "--resolv-conf") {
					t.Errorf("no remedy: %+v", c)
				}
			}
		})
	}
}

// TestSetResolverThatIsNotThere: a wrong setting is not taken for an empty file.
func TestSetResolverThatIsNotThere(t *testing.T) {
	r := resolver{root: t.TempDir()}
	if _, _, err := r.read(filepath.Join(r.root, "none"), false); err == nil || !strings.Contains(err.Error(), "--resolv-conf") {
		t.Errorf("%v", err)
	}
}

// TestPodWithoutHostServers: what the host's file lacks matters to pods that use it.
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
		a := &Agent{cfg: Config{ClusterDNS: tt.cluster, ClusterDomain: "cluster.local"}, resolver: resolver{root: t.TempDir()}}
		pod := spec("Always")
		pod.Spec.DNSPolicy = tt.policy
		_, complaints, err := a.podDNS(pod)
		var got []string
		for _, c := range complaints {
			got = append(got, c.reason)
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
				if c.reason != "DNSConfigForming" || c.kind != corev1.EventTypeWarning || c.ofNode {
					t.Errorf("%+v", c)
				}
			}
		})
	}
}

// TestAllocatable: huge pages are memory that nobody else gets.
func TestAllocatable(t *testing.T) {
	list := func(memory, huge2, huge1 string) corev1.ResourceList {
		return corev1.ResourceList{"cpu": resource.MustParse("2"), "memory": resource.MustParse(memory), "hugepages-2Mi": resource.MustParse(huge2), "hugepages-1Gi": resource.MustParse(huge1)}
	}
	for _, tt := range []struct {
		name               string
		capacity, reserved corev1.ResourceList
		memory, cpu        string
	}{
		{"nothing set aside", list("4Gi", "0", "0"), nil, "4Gi", "2"},
		{"huge pages", list("4Gi", "512Mi", "1Gi"), nil, "2560Mi", "2"},
		{"huge pages and what is reserved", list("4Gi", "512Mi", "1Gi"), corev1.ResourceList{"memory": resource.MustParse("512Mi"), "cpu": resource.MustParse("500m")}, "2Gi", "1500m"},
		{"more than there is", list("1Gi", "512Mi", "1Gi"), nil, "0", "2"},
		{"reserved that the machine does not have", list("1Gi", "0", "0"), corev1.ResourceList{"x/y": resource.MustParse("1")}, "1Gi", "2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := tt.capacity.Memory().String()
			got := allocatable(tt.capacity, tt.reserved)
			if got.Memory().Cmp(resource.MustParse(tt.memory)) != 0 || got.Cpu().Cmp(resource.MustParse(tt.cpu)) != 0 {
				t.Errorf("memory %s, cpu %s; want %s, %s", got.Memory(), got.Cpu(), tt.memory, tt.cpu)
			}
			if tt.capacity.Memory().String() != before {
				t.Error("the capacity was changed")
			}
		})
	}
}
