package containermetrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/metricstext"
	"github.com/edgekit/edgekit/edged/runtime"
)

// fakeRuntime knows one pod for each uid, with a sandbox and a container.
type fakeRuntime struct {
	uids []string
	err  error
}

func (f fakeRuntime) ListSandboxes(context.Context, string) (out []runtime.Sandbox, err error) {
	for _, uid := range f.uids {
		out = append(out, runtime.Sandbox{ID: "box" + short(uid), PodUID: uid, Namespace: "ns", Name: "pod-" + short(uid), Created: time.Unix(1_700_000_000, 0)})
	}
	return out, f.err
}

func (f fakeRuntime) ListContainers(context.Context, string) (out []runtime.Container, err error) {
	for _, uid := range f.uids {
		out = append(out, runtime.Container{
			ID: "app" + short(uid), SandboxID: "box" + short(uid), PodUID: uid, Name: "main", Image: "sha256:1", Created: time.Unix(1_700_000_001, 0),
			Labels: map[string]string{runtime.LabelPodNamespace: "ns", runtime.LabelPodName: "pod-" + short(uid)},
		})
	}
	return out, f.err
}

func short(uid string) string { return strings.ReplaceAll(uid, "-", "") }

// tree writes files of a file system for a test.
func tree(t testing.TB, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// unifiedGroup are the files of a group of version 2.
func unifiedGroup(dir, pid string) map[string]string {
	return in(dir, map[string]string{
		"cpu.stat":            "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 500000\nnr_bursts 0\nburst_usec 0\n",
		"cpu.max":             "50000 100000\n",
		"cpu.weight":          "100\n",
		"memory.current":      "1000000\n",
		"memory.peak":         "2000000\n",
		"memory.max":          "max\n",
		"memory.min":          "0\n",
		"memory.swap.current": "4096\n",
		"memory.swap.max":     "8192\n",
		"memory.stat":         "anon 400000\nfile 600000\nkernel 5000\nfile_mapped 7000\ninactive_file 200000\nactive_file 400000\npgfault 11\npgmajfault 2\nworkingset_refault_file 3\nx\n",
		"memory.events":       "low 0\nhigh 1\nmax 5\noom 0\noom_kill 6\n",
		"io.stat":             "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n7:0 \n254:1 rbytes=1 wbytes=1 rios=1 wios=1\n",
		"pids.current":        "3\n",
		"pids.max":            "max\n",
		"cgroup.procs":        pid + "\n",
		"cgroup.events":       "populated 1\n",
		"cpu.pressure":        "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=250000\n",
		"memory.pressure":     "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
		"io.pressure":         "",
	})
}

// dividedGroup are the files of a group of version 1.
func dividedGroup(dir, pid string) map[string]string {
	out := in("cpuacct/"+dir, map[string]string{"cpuacct.usage": "3000000000\n", "cpuacct.stat": "user 200\nsystem 100\n"})
	maps.Copy(out, in("cpu/"+dir, map[string]string{
		"cpu.shares": "102\n", "cpu.cfs_period_us": "100000\n", "cpu.cfs_quota_us": "50000\n",
		"cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 500000000\n",
	}))
	maps.Copy(out, in("memory/"+dir, map[string]string{
		"memory.usage_in_bytes": "1000000\n", "memory.max_usage_in_bytes": "2000000\n", "memory.failcnt": "5\n", "memory.kmem.usage_in_bytes": "5000\n",
		"memory.limit_in_bytes": "9223372036854771712\n", "memory.soft_limit_in_bytes": "9223372036854771712\n", "memory.memsw.limit_in_bytes": "8192\n",
		"memory.stat":        "cache 1\ntotal_cache 600000\ntotal_rss 400000\ntotal_swap 4096\ntotal_mapped_file 7000\ntotal_inactive_file 200000\ntotal_active_file 400000\ntotal_pgfault 11\ntotal_pgmajfault 2\n",
		"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 6\n", "cgroup.procs": pid + "\n", "cgroup.clone_children": "0\n",
	}))
	maps.Copy(out, in("blkio/"+dir, map[string]string{
		"blkio.throttle.io_service_bytes_recursive": "8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 0\n254:1 Read 1\nTotal 12288\n",
		"blkio.throttle.io_serviced_recursive":      "8:0 Read 1\n8:0 Write 2\nTotal 3\n",
	}))
	maps.Copy(out, in("pids/"+dir, map[string]string{"pids.current": "3\n", "pids.max": "max\n", "cgroup.procs": pid + "\n"}))
	return out
}

func in(dir string, files map[string]string) map[string]string {
	out := make(map[string]string)
	for name, text := range files {
		out[dir+"/"+name] = text
	}
	return out
}

// machineFiles writes /proc and /sys.
func machineFiles(t testing.TB) (proc, sys string) {
	t.Helper()
	proc, sys = t.TempDir(), t.TempDir()
	dev := "Inter-|   Receive  |  Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed\n" +
		"    lo:  1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 100 10 1 2 0 0 0 0 200 20 3 4 0 0 0 0\n"
	tree(t, proc, map[string]string{
		"meminfo": "MemTotal: 1000 kB\nMemFree: 400 kB\nSwapTotal: 50 kB\nSwapFree: 20 kB\n", "stat": "btime 1690000000\n",
		"1/net/dev": dev, "42/net/dev": dev,
		"self/mountinfo": "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:1 / /again rw - ext4 /dev/sda1 rw\n3 1 0:5 / /proc rw - proc proc rw\nbad\n",
	})
	tree(t, sys, map[string]string{
		"devices/system/cpu/online":                       "0-1\n",
		"devices/system/cpu/cpu0/topology/core_cpus_list": "0-1\n", "devices/system/cpu/cpu1/topology/core_cpus_list": "0-1\n",
		"devices/system/cpu/cpu0/topology/package_cpus_list": "0-1\n", "devices/system/cpu/cpu1/topology/package_cpus_list": "0-1\n",
		"devices/block/sda": "",
	})
	if err := errors.Join(os.MkdirAll(filepath.Join(sys, "dev/block"), 0o755), os.Symlink("../../devices/block/sda", filepath.Join(sys, "dev/block/8:0"))); err != nil {
		t.Fatal(err)
	}
	return proc, sys
}

// newWriter makes a Writer of a machine with these pods.
func newWriter(t testing.TB, v2, systemd bool, uids ...string) *Writer {
	t.Helper()
	mount := t.TempDir()
	proc, sys := machineFiles(t)
	group := dividedGroup
	if v2 {
		group = unifiedGroup
	}
	top, pod, box, app := "/top/kubepods", "/top/kubepods/burstable/pod%s", "/%s", "/%s"
	if systemd {
		top, pod, box, app = "/kubepods.slice", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod%s.slice", "/cri-containerd-%s.scope", "/crio-%s.scope"
	}
	tree(t, mount, group(top, ""))
	tree(t, mount, group(filepath.Dir(fmt.Sprintf(pod, "x")), ""))
	tree(t, mount, group(top+"/foreign", "")) // is not shown
	for _, uid := range uids {
		dir := fmt.Sprintf(pod, uid)
		if systemd {
			dir = fmt.Sprintf(pod, strings.ReplaceAll(uid, "-", "_"))
		}
		tree(t, mount, group(dir, ""))
		tree(t, mount, group(dir+fmt.Sprintf(box, "box"+short(uid)), "42"))
		tree(t, mount, group(dir+fmt.Sprintf(app, "app"+short(uid)), "43"))
	}
	w := New(Config{
		Runtime: fakeRuntime{uids: uids}, PodsGroup: func() string { return top }, Mount: mount, Proc: proc, Sys: sys,
		SystemInfo: func() corev1.NodeSystemInfo {
			return corev1.NodeSystemInfo{KernelVersion: "6.1", OSImage: `An "OS"`, BootID: "b", MachineID: "m"}
		},
		SandboxImage: func(context.Context) (string, error) { return "pause:1", nil },
		Pods: func() []*corev1.Pod {
			var out []*corev1.Pod
			for _, uid := range uids {
				p := &corev1.Pod{}
				p.UID = "u" // another one
				if uid == uids[0] {
					p.UID = "u-1"
					p.Spec.Containers = []corev1.Container{{Name: "main", Image: "web:1"}}
				}
				out = append(out, p)
			}
			return out
		},
	})
	w.v2 = v2
	return w
}

func write(t testing.TB, w *Writer) string {
	t.Helper()
	var out bytes.Buffer
	if err := w.Write(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestWrite: each version of control groups, with each driver, gives the same series.
func TestWrite(t *testing.T) {
	for name, c := range map[string]struct{ v2, systemd bool }{
		"v1 cgroupfs": {false, false}, "v1 systemd": {false, true}, "v2 cgroupfs": {true, false}, "v2 systemd": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			got := write(t, newWriter(t, c.v2, c.systemd, "u-1"))
			pod, box, app := "/top/kubepods/burstable/podu-1", "/boxu1", "/appu1"
			if c.systemd {
				pod, box, app = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podu_1.slice", "/cri-containerd-boxu1.scope", "/crio-appu1.scope"
			}
			main := `container="main",id="` + pod + app + `",image="web:1",name="appu1",namespace="ns",pod="pod-u1"`
			sandbox := `container="",id="` + pod + box + `",image="pause:1",name="boxu1",namespace="ns",pod="pod-u1"`
			whole := `container="",id="` + pod + `",image="",name="",namespace="ns",pod="pod-u1"`
			machine := `container="",id="/",image="",name="",namespace="",pod=""`
			want := []string{
				"container_cpu_usage_seconds_total{" + main + `,cpu="total"} 3`,
				"container_cpu_user_seconds_total{" + main + "} 2",
				"container_cpu_system_seconds_total{" + main + "} 1",
				"container_cpu_cfs_periods_total{" + main + "} 10",
				"container_cpu_cfs_throttled_periods_total{" + main + "} 4",
				"container_cpu_cfs_throttled_seconds_total{" + main + "} 0.5",
				"container_memory_usage_bytes{" + main + "} 1000000",
				"container_memory_max_usage_bytes{" + main + "} 2000000",
				"container_memory_working_set_bytes{" + whole + "} 800000",
				"container_memory_rss{" + main + "} 400000",
				"container_memory_cache{" + main + "} 600000",
				"container_memory_swap{" + main + "} 4096",
				"container_memory_mapped_file{" + main + "} 7000",
				"container_memory_kernel_usage{" + main + "} 5000",
				"container_memory_failcnt{" + main + "} 5",
				"container_memory_failures_total{" + main + `,failure_type="pgmajfault",scope="hierarchy"} 2`,
				"container_oom_events_total{" + main + "} 6",
				"container_processes{" + main + "} 1",
				"container_threads{" + main + "} 3",
				"container_threads_max{" + main + "} 0",
				"container_spec_cpu_quota{" + main + "} 50000",
				"container_spec_cpu_period{" + main + "} 100000",
				"container_spec_memory_limit_bytes{" + main + "} 0",
				"container_spec_memory_limit_bytes{" + machine + "} 1024000",
				"container_spec_memory_swap_limit_bytes{" + main + "} 8192",
				"container_creation_time_seconds{" + main + "} 1700000001",
				"container_start_time_seconds{" + machine + "} 1690000000",
				"container_fs_reads_bytes_total{" + main + `,device="/dev/sda"} 4096`,
				"container_fs_writes_total{" + main + `,device="/dev/sda"} 2`,
				"container_network_receive_bytes_total{" + sandbox + `,interface="eth0"} 100`,
				"container_network_receive_packets_dropped_total{" + sandbox + `,interface="eth0"} 2`,
				"container_network_transmit_errors_total{" + sandbox + `,interface="eth0"} 3`,
				"container_network_transmit_bytes_total{" + machine + `,interface="eth0"} 200`,
				"container_scrape_error 0",
				`machine_cpu_cores{boot_id="b",machine_id="m",system_uuid="m"} 2`,
				`machine_cpu_physical_cores{boot_id="b",machine_id="m",system_uuid="m"} 1`,
				`machine_memory_bytes{boot_id="b",machine_id="m",system_uuid="m"} 1024000`,
				`cadvisor_version_info{cadvisorRevision="",cadvisorVersion="",dockerVersion="",kernelVersion="6.1",osVersion="An \"OS\""} 1`,
			}
			if c.v2 {
				want = append(want, "container_pressure_cpu_waiting_seconds_total{"+main+"} 1.5", "container_pressure_cpu_stalled_seconds_total{"+main+"} 0.25",
					"container_spec_cpu_shares{"+main+"} 2597", "container_memory_usage_bytes{"+machine+"} 614400")
			} else {
				want = append(want, "container_spec_cpu_shares{"+main+"} 102")
			}
			for _, line := range want {
				if !strings.Contains(got, "\n"+line+"\n") {
					t.Errorf("no %s", line)
				}
			}
			for _, never := range []string{"foreign", `device=""`, `interface="lo"`, "254:1"} {
				if strings.Contains(got, never) {
					t.Errorf("%s is shown", never)
				}
			}
			if t.Failed() {
				t.Log(got)
			}
			once(t, got)
		})
	}
}

// once fails if a family or a series is there twice, or if a family is not in one piece.
func once(t *testing.T, text string) {
	t.Helper()
	seen := make(map[string]bool)
	family := ""
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case f[0] == "#" && f[1] == "TYPE":
			family = f[2]
			fallthrough
		case f[0] == "#":
			if k := f[1] + f[2]; seen[k] {
				t.Errorf("%s is there twice", k)
			} else {
				seen[k] = true
			}
		default:
			series := line[:strings.LastIndexByte(line, ' ')]
			if seen[series] {
				t.Errorf("%s is there twice", series)
			}
			seen[series] = true
			if name, _, _ := strings.Cut(series, "{"); name != family {
				t.Errorf("%s is in the family %s", series, family)
			}
		}
	}
}

// TestRuntimeSilent: the machine is shown while the runtime does not answer.
func TestRuntimeSilent(t *testing.T) {
	w := newWriter(t, true, false, "u-1")
	w.cfg.Runtime = fakeRuntime{err: errors.New("no answer")}
	got := write(t, w)
	if !strings.Contains(got, "\ncontainer_scrape_error 1\n") || !strings.Contains(got, `container_memory_usage_bytes{container="",id="/"`) || strings.Contains(got, "kubepods") {
		t.Error(got)
	}
}

// TestGone: groups that end while they are read are left out.
func TestGone(t *testing.T) {
	w := newWriter(t, true, false, "u-1")
	if err := os.RemoveAll(filepath.Join(w.cfg.Mount, "top/kubepods/burstable/podu-1/appu1")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(w.cfg.Mount, "top/kubepods/burstable/podu-1/appu1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := write(t, w); strings.Contains(got, "main") || !strings.Contains(got, "boxu1") {
		t.Error(got)
	}
}

// TestReal reads the groups of this machine: it has some, whatever they are.
func TestReal(t *testing.T) {
	w := New(Config{Runtime: fakeRuntime{}, PodsGroup: func() string { return "/kubepods" }})
	got := write(t, w)
	for _, name := range []string{`container_cpu_usage_seconds_total{container="",id="/"`, `container_memory_working_set_bytes{container="",id="/"`, "machine_memory_bytes{"} {
		if !strings.Contains(got, "\n"+name) {
			t.Skipf("this machine's control groups cannot be read: no %s", name)
		}
	}
	once(t, got)
}

func TestNumber(t *testing.T) {
	for text, want := range map[string]uint64{"0": 0, "12\n": 12, "18446744073709551615": 1<<64 - 1} {
		if n, ok := number([]byte(text)); !ok || n != want {
			t.Errorf("%q is %d %v", text, n, ok)
		}
	}
	for _, text := range []string{"", "max", "-1", "1.5", "18446744073709551616", "99999999999999999999", "111111111111111111111"} {
		if n, ok := number([]byte(text)); ok {
			t.Errorf("%q is %d", text, n)
		}
	}
}

// BenchmarkClientGolang writes as many series as BenchmarkWrite through client_golang, which keeps
// each of them until all are there: what a Writer is compared with.
func BenchmarkClientGolang(b *testing.B) {
	labels := []string{"container", "id", "image", "name", "namespace", "pod"}
	values := []string{"main", "/kubepods/burstable/pod00000000-0000-0000-0000-000000000000/0000000000000000", "web:1", "0000000000000000", "ns", "pod-0"}
	collect := metricstext.Collect(func(out chan<- prometheus.Metric) {
		for i := range len(families()) {
			desc := prometheus.NewDesc(fmt.Sprint("container_family_", i), "A family.", labels, nil)
			for g := range 300 {
				values[5] = strconv.Itoa(g)
				out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(g), values...)
			}
		}
	})
	b.ReportAllocs()
	for b.Loop() {
		if err := metricstext.Write(io.Discard, collect); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWrite is a scrape of a node with 100 pods, each with a sandbox and a container.
func BenchmarkWrite(b *testing.B) {
	for name, v2 := range map[string]bool{"v1": false, "v2": true} {
		b.Run(name, func(b *testing.B) {
			uids := make([]string, 100)
			for i := range uids {
				uids[i] = fmt.Sprintf("00000000-0000-0000-0000-%012d", i)
			}
			w := newWriter(b, v2, false, uids...)
			size := len(write(b, w))
			b.ReportAllocs()
			for b.Loop() {
				if err := w.Write(b.Context(), io.Discard); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(size), "bytes/scrape")
		})
	}
}
