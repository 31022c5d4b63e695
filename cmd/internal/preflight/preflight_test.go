package preflight

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeRuntime is a runtime that answers as a test says.
type fakeRuntime struct {
	*runtimetest.Runtime
	driver  string
	version runtime.Version
	health  runtime.Health
	image   string
	images  []runtime.Image
	err     error
}

func (f *fakeRuntime) CgroupDriver(context.Context) (string, error)        { return f.driver, f.err }
func (f *fakeRuntime) Version(context.Context) (runtime.Version, error)    { return f.version, nil }
func (f *fakeRuntime) Health(context.Context) (runtime.Health, error)      { return f.health, f.err }
func (f *fakeRuntime) SandboxImage(context.Context) (string, error)        { return f.image, nil }
func (f *fakeRuntime) ListImages(context.Context) ([]runtime.Image, error) { return f.images, nil }
func (f *fakeRuntime) Close() error                                        { return nil }

// healthyFiles are the files of a machine on which every check is good.
func healthyFiles() map[string]string {
	files := map[string]string{
		"/proc/sys/kernel/osrelease": "6.1.0-18-amd64", "/proc/sys/kernel/seccomp/actions_avail": "kill", "/proc/sys/kernel/pid_max": "32768",
		"/proc/filesystems":                            "nodev\tproc\nnodev\toverlay\n\text4\n",
		"/sys/fs/cgroup/cgroup.controllers":            "cpuset cpu io memory hugetlb pids",
		"/proc/sys/net/ipv4/ip_forward":                "1",
		"/proc/sys/net/bridge/bridge-nf-call-iptables": "1",
		"/run/systemd/system/x":                        "",
		"/proc/meminfo":                                "MemTotal:        1024000 kB\nMemAvailable:     600000 kB\n",
		"/proc/swaps":                                  "Filename\tType\tSize\tUsed\tPriority\n",
		"/etc/cni/net.d/10-edge.conflist":              `{"name":"edge","plugins":[{"type":"bridge","ipam":{"type":"host-local"}},{"type":"portmap"}]}`,
		"/usr/lib/cni/bridge":                          "", "/usr/lib/cni/host-local": "", "/opt/cni/bin/portmap": "",
		"/proc/net/tcp":    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 99 1 0\n",
		"/etc/resolv.conf": "search plant\nnameserver 192.0.2.53\n",
		"/proc/7/comm":     "edgecore",
	}
	for _, ns := range []string{"cgroup", "ipc", "mnt", "net", "pid", "uts"} {
		files["/proc/self/ns/"+ns] = ""
	}
	return files
}

// machine makes a healthy machine; change may take files away (an empty name's value "-"), or put others.
func machine(t *testing.T, change map[string]string) (Machine, *fakeRuntime) {
	t.Helper()
	files := healthyFiles()
	maps.Copy(files, change)
	root := t.TempDir()
	for name, text := range files {
		if text == "-" {
			continue
		}
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fd := filepath.Join(root, "proc/7/fd")
	if err := errors.Join(os.MkdirAll(fd, 0o755), os.Symlink("socket:[4711]", filepath.Join(fd, "3"))); err != nil {
		t.Fatal(err)
	}
	rt := &fakeRuntime{
		Runtime: runtimetest.New(), driver: "systemd", version: runtime.Version{Name: "containerd", Version: "1.6.20"},
		health: runtime.Health{RuntimeReady: true, NetworkReady: true, Handlers: []runtime.Handler{{}, {Name: "gvisor"}}},
		images: []runtime.Image{{ID: "p", Tags: []string{"pause:3.10"}, Pinned: true}},
	}
	return Machine{
		Root: root, Admin: true, Now: func() time.Time { return time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC) },
		Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("connection refused") },
		Resolve: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
		},
		Filesystem: func(string) (Filesystem, error) {
			return Filesystem{Type: "ext4", Size: 16 << 30, Free: 8 << 30, Inodes: 1000, FreeInodes: 900}, nil
		},
		Sync:     func(string) error { return nil },
		RouteMTU: func(net.Conn) (int, error) { return 1500, nil },
		Runtime:  func(context.Context, string) (Runtime, error) { return rt, nil },
	}, rt
}

// TestHealthyMachine: every check is good, and the names select.
func TestHealthyMachine(t *testing.T) {
	m, _ := machine(t, nil)
	results, err := Run(t.Context(), Config{}, m)
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, r := range results {
		if r.Status != OK || r.Remedy != "" || r.Message == "" {
			t.Errorf("%+v", r)
		}
		seen = append(seen, r.Check)
	}
	if got := slices.Compact(seen); !slices.Equal(got, Names()) || Worst(results) != OK {
		t.Errorf("%q, want %q", got, Names())
	}
	some, err := Run(t.Context(), Config{}, m, "dns", "kernel")
	if err != nil || len(some) != 2 || some[0].Check != "kernel" {
		t.Error(some, err)
	}
	if _, err := Run(t.Context(), Config{}, m, "kernel", "moon"); err == nil || !strings.Contains(err.Error(), `"moon"`) {
		t.Error(err)
	}
}

// TestFindings: each form of a fault is found, with a remedy.
func TestFindings(t *testing.T) {
	type scene struct {
		check  string
		files  map[string]string
		change func(*Machine, *fakeRuntime, *Config)
		status Status
		want   string
	}
	fault := errors.New("boom")
	port := "  sl  local_address ...\n   0: 00000000:075C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n"
	port6 := "  sl  local_address ...\n   0: 00000000000000000000000001000000:2364 0:0 0A 0:0 0:0 0     0        0 4712 1 0\n"
	disk := func(f Filesystem) func(*Machine, *fakeRuntime, *Config) {
		return func(m *Machine, _ *fakeRuntime, _ *Config) {
			m.Filesystem = func(string) (Filesystem, error) { return f, nil }
		}
	}
	clock := func(year int) func(*Machine, *fakeRuntime, *Config) {
		return func(m *Machine, _ *fakeRuntime, _ *Config) {
			m.Now = func() time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
		}
	}
	for name, tt := range map[string]scene{
		"old kernel":        {"kernel", map[string]string{"/proc/sys/kernel/osrelease": "4.9.0"}, nil, Fail, "older than 4.19"},
		"elderly kernel":    {"kernel", map[string]string{"/proc/sys/kernel/osrelease": "5.4.0-1"}, nil, Warn, "older than 5.8"},
		"no kernel":         {"kernel", map[string]string{"/proc/sys/kernel/osrelease": "-"}, nil, Fail, "cannot be read"},
		"no namespaces":     {"kernel", map[string]string{"/proc/self/ns/net": "-"}, nil, Fail, "net namespaces"},
		"no overlay":        {"kernel", map[string]string{"/proc/filesystems": "ext4"}, nil, Warn, "overlay"},
		"no seccomp":        {"kernel", map[string]string{"/proc/sys/kernel/seccomp/actions_avail": "-"}, nil, Warn, "seccomp"},
		"no cgroups":        {"cgroups", map[string]string{"/sys/fs/cgroup/cgroup.controllers": "-"}, nil, Fail, "no cgroups"},
		"v2 without memory": {"cgroups", map[string]string{"/sys/fs/cgroup/cgroup.controllers": "cpuset cpu pids"}, nil, Fail, "without memory"},
		"v2 without pids":   {"cgroups", map[string]string{"/sys/fs/cgroup/cgroup.controllers": "cpuset cpu memory"}, nil, Fail, "without pids"},
		"v1":                {"cgroups", v1Files(), nil, Warn, "cgroup v1 with cpu, cpuset, memory, pids"},
		"wrong driver":      {"cgroups", nil, func(_ *Machine, _ *fakeRuntime, c *Config) { c.CgroupDriver = "cgroupfs" }, Fail, "the runtime uses systemd"},
		"driver beside":     {"cgroups", nil, func(_ *Machine, r *fakeRuntime, _ *Config) { r.driver = "cgroupfs" }, Warn, "beside systemd"},
		"no driver":         {"cgroups", nil, func(_ *Machine, r *fakeRuntime, _ *Config) { r.err = fault }, Warn, "boom"},
		"no forwarding":     {"modules", map[string]string{"/proc/sys/net/ipv4/ip_forward": "0"}, nil, Fail, "ip_forward"},
		"no bridge filter":  {"modules", map[string]string{"/proc/sys/net/bridge/bridge-nf-call-iptables": "-"}, nil, Warn, "br_netfilter"},
		"bridge filter off": {"modules", map[string]string{"/proc/sys/net/bridge/bridge-nf-call-iptables": "0"}, nil, Warn, "is off"},
		"no systemd":        {"systemd", map[string]string{"/run/systemd/system/x": "-"}, nil, Warn, "does not run"},
		"tiny":              {"memory", map[string]string{"/proc/meminfo": "MemTotal: 64000 kB\n"}, nil, Fail, "62 MiB"},
		"small":             {"memory", map[string]string{"/proc/meminfo": "MemTotal: 200000 kB\nMemAvailable: 150000 kB"}, nil, Warn, "195 MiB"},
		"full memory":       {"memory", map[string]string{"/proc/meminfo": "MemTotal: 1000000 kB\nMemAvailable: 5000 kB"}, nil, Warn, "only 4 MiB"},
		"no meminfo":        {"memory", map[string]string{"/proc/meminfo": "-"}, nil, Fail, "cannot be read"},
		"no process ids":    {"memory", map[string]string{"/proc/sys/kernel/pid_max": "1"}, nil, Warn, "process ids"},
		"swap with v1":      {"swap", map[string]string{"/proc/swaps": "Filename\n/dev/sda2 partition 1 2 3\n", "/sys/fs/cgroup/cgroup.controllers": "-"}, nil, Warn, "/dev/sda2"},
		"full disk":         {"disk", nil, disk(Filesystem{Type: "ext4", Size: 16 << 30, Free: 100 << 20}), Fail, "100 MiB left"},
		"nearly full disk":  {"disk", nil, disk(Filesystem{Type: "ext4", Size: 16 << 30, Free: 1 << 30}), Warn, "6 % of"},
		"no inodes":         {"disk", nil, disk(Filesystem{Type: "ext4", Size: 16 << 30, Free: 8 << 30, Inodes: 1000, FreeInodes: 3}), Fail, "3 of 1000 inodes"},
		"disk in memory":    {"disk", nil, disk(Filesystem{Type: "tmpfs", Size: 16 << 30, Free: 8 << 30}), Fail, "lost at the next boot"},
		"FAT":               {"disk", nil, disk(Filesystem{Type: "vfat", Size: 16 << 30, Free: 8 << 30}), Fail, "permissions"},
		"read-only":         {"disk", nil, disk(Filesystem{Type: "ext4", ReadOnly: true}), Fail, "read-only"},
		"no disk": {"disk", nil, func(m *Machine, _ *fakeRuntime, _ *Config) {
			m.Filesystem = func(string) (Filesystem, error) { return Filesystem{}, fault }
		}, Fail, "boom"},
		"no sync": {"disk", nil, func(m *Machine, _ *fakeRuntime, _ *Config) { m.Sync = func(string) error { return fault } }, Fail, "cannot be written and synced"},
		"not root": {"disk", nil, func(m *Machine, _ *fakeRuntime, _ *Config) {
			m.Admin, m.Sync = false, func(string) error { return fs.ErrPermission }
		}, Warn, "not known"},
		"1970": {"clock", nil, clock(1970), Warn, "1970-01-01"},
		"2106": {"clock", nil, clock(2106), Fail, "2106-01-01"},
		"no runtime": {"runtime", nil, func(m *Machine, _ *fakeRuntime, _ *Config) {
			m.Runtime = func(context.Context, string) (Runtime, error) { return nil, fault }
		}, Fail, "boom"},
		"old containerd": {"runtime", nil, func(_ *Machine, r *fakeRuntime, _ *Config) { r.version.Version = "1.5.9" }, Fail, "does not speak CRI v1"},
		"runtime ill":    {"runtime", nil, func(_ *Machine, r *fakeRuntime, _ *Config) { r.health = runtime.Health{RuntimeMessage: "ill"} }, Fail, "ill"},
		"runtime silent": {"runtime", nil, func(_ *Machine, r *fakeRuntime, _ *Config) { r.err = fault }, Fail, "how it is"},
		"no network": {"cni", nil, func(_ *Machine, r *fakeRuntime, _ *Config) {
			r.health.NetworkReady = false
			r.health.NetworkMessage = "no cni"
		}, Fail, "no cni"},
		"no sandbox image":   {"runtime", nil, func(_ *Machine, r *fakeRuntime, _ *Config) { r.image = "pause:3.6" }, Warn, "pause:3.6 is not on the machine"},
		"nothing pinned":     {"runtime", nil, func(_ *Machine, r *fakeRuntime, _ *Config) { r.images = nil }, Warn, "no pinned image"},
		"no CNI":             {"cni", map[string]string{"/etc/cni/net.d/10-edge.conflist": "-"}, nil, Fail, "no network configuration"},
		"no plugin":          {"cni", map[string]string{"/usr/lib/cni/host-local": "-"}, nil, Fail, ": host-local"},
		"broken CNI":         {"cni", map[string]string{"/etc/cni/net.d/00.conf": "{"}, nil, Fail, "00.conf is not JSON"},
		"CNI without plugin": {"cni", map[string]string{"/etc/cni/net.d/00.conf": "{}"}, nil, Fail, "names no plugin"},
		"plugin elsewhere":   {"cni", map[string]string{"/etc/cni/net.d/00.conf": `{"type":"../../../etc/passwd"}`, "/etc/passwd": ""}, nil, Fail, "../etc/passwd"},
		"own port":           {"ports", map[string]string{"/proc/net/tcp": port}, nil, OK, "port 1884 is edgecore's own"},
		"port of another":    {"ports", map[string]string{"/proc/net/tcp": port, "/proc/7/comm": "mosquitto"}, nil, Fail, "port 1884 is used by mosquitto"},
		"port of unknown":    {"ports", map[string]string{"/proc/net/tcp6": port6}, func(_ *Machine, _ *fakeRuntime, c *Config) { c.Listen = []Listen{{"rules-listen", "[::1]:9060"}} }, Fail, "port 9060 is in use"},
		"port, not root": {"ports", map[string]string{"/proc/net/tcp6": port6}, func(m *Machine, _ *fakeRuntime, c *Config) {
			m.Admin, c.Listen = false, []Listen{{"rules-listen", "[::1]:9060"}}
		}, Warn, "perhaps by edgecore"},
		"bad address":     {"ports", nil, func(_ *Machine, _ *fakeRuntime, c *Config) { c.Listen = []Listen{{"rules-listen", "9060"}} }, Fail, `rules-listen is "9060"`},
		"kubelet":         {"ports", map[string]string{"/proc/8/comm": "kubelet"}, nil, Fail, "kubelet runs on this machine"},
		"no name server":  {"dns", map[string]string{"/etc/resolv.conf": "search x"}, nil, Warn, "no name server"},
		"loopback server": {"dns", map[string]string{"/etc/resolv.conf": "nameserver 127.0.0.53"}, nil, Warn, "loopback"},
		"unknown name": {"dns", nil, func(m *Machine, _ *fakeRuntime, c *Config) {
			c.Cloud = "cloud.example:10000"
			m.Resolve = func(context.Context, string) ([]netip.Addr, error) { return nil, fault }
		}, Fail, "cloud.example"},
		"cloud without port": {"cloud", nil, func(_ *Machine, _ *fakeRuntime, c *Config) { c.Cloud = "cloud.example" }, Fail, "host:port"},
		"no way":             {"cloud", nil, func(_ *Machine, _ *fakeRuntime, c *Config) { c.Cloud, c.Transport = "192.0.2.1:10000", "websocket" }, Fail, "connection refused"},
		"no way by UDP":      {"cloud", nil, func(_ *Machine, _ *fakeRuntime, c *Config) { c.Cloud, c.Transport = "192.0.2.1:10000", "quic" }, Fail, "the only transport"},
		"no route":           {"mtu", nil, func(_ *Machine, _ *fakeRuntime, c *Config) { c.Cloud = "192.0.2.1:10000" }, Fail, "no route"},
		"damaged identity":   {"identity", map[string]string{"/var/lib/edgekit/identity/identity.pem": "junk"}, nil, Fail, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			m, rt := machine(t, tt.files)
			var cfg Config
			if tt.change != nil {
				tt.change(&m, rt, &cfg)
			}
			results, err := Run(t.Context(), cfg, m, tt.check)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range results {
				if (r.Status == OK) != (r.Remedy == "") {
					t.Errorf("a remedy where none is needed, or none where one is: %+v", r)
				}
				if r.Check != tt.check {
					t.Errorf("%+v is not of %s", r, tt.check)
				}
			}
			if !slices.ContainsFunc(results, func(r Result) bool { return r.Status == tt.status && strings.Contains(r.Message, tt.want) }) {
				t.Errorf("no %s with %q among %+v", tt.status, tt.want, results)
			}
			if tt.status == Fail && Worst(results) != Fail {
				t.Error("the worst is", Worst(results))
			}
		})
	}
}

// v1Files are the files of a machine with cgroup v1.
func v1Files() map[string]string {
	files := map[string]string{"/sys/fs/cgroup/cgroup.controllers": "-"}
	for _, name := range []string{"cpu", "cpuset", "memory", "pids"} {
		files["/sys/fs/cgroup/"+name+"/tasks"] = ""
	}
	return files
}
