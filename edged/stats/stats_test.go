package stats_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/stats"
)

type meter struct {
	pods []runtime.PodUsage
	err  error
}

func (m meter) PodUsage(context.Context) ([]runtime.PodUsage, error) { return m.pods, m.err }

type pods []*corev1.Pod

func (p pods) Pods() []*corev1.Pod { return p }

func n(v uint64) *uint64 { return &v }

// proc writes the files of /proc that the package reads.
func proc(t testing.TB) string {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"meminfo": "MemTotal: 1000 kB\nMemFree: 400 kB\nInactive(file): 100 kB\nAnonPages: 300 kB\nSwapTotal: 50 kB\nSwapFree: 20 kB\n",
		"vmstat":  "pgfault 7\npgmajfault 3\n",
		"stat":    "cpu  100 10 50 9999 9999 5 5 9999 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\nbtime 1767225600\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func config(t testing.TB) stats.Config {
	at := time.UnixMilli(1767225600123)
	use := runtime.Usage{Time: at, CPU: n(1500000000), WorkingSet: n(4096)}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "u1"}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(time.Unix(1767225000, 0))}}}}
	return stats.Config{Node: "gate-7", Proc: proc(t), Pods: pods{pod}, Meter: meter{pods: []runtime.PodUsage{
		{Namespace: "default", Name: "web", UID: "u1", Usage: use, Processes: n(2), Interfaces: []runtime.InterfaceUsage{{Name: "eth0", Received: n(9)}},
			Containers: []runtime.ContainerUsage{{ID: "c1", Name: "app", Usage: use, Written: n(77)}}},
		{Namespace: "default", Name: "stranger", UID: "u2", Usage: use},
	}}}
}

func TestResource(t *testing.T) {
	s, err := stats.New(config(t))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := s.Resource(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"node_cpu_usage_seconds_total 1.7 ", "node_memory_working_set_bytes 512000 ", "node_swap_usage_bytes 30720 ",
		`container_start_time_seconds{container="app",namespace="default",pod="web"} 1.767225e+09` + "\n",
		`container_cpu_usage_seconds_total{container="app",namespace="default",pod="web"} 1.5 1767225600123` + "\n",
		`container_memory_working_set_bytes{container="app",namespace="default",pod="web"} 4096 1767225600123` + "\n",
		`pod_cpu_usage_seconds_total{namespace="default",pod="web"} 1.5 1767225600123` + "\n",
		`pod_memory_working_set_bytes{namespace="default",pod="web"} 4096 1767225600123` + "\n",
		"resource_scrape_error 0\n", "\nscrape_error 0\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(out.String(), "stranger") {
		t.Error("a pod that is not the node's is told of")
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

// TestResourceOfNamesakes: the node has two pods of one name, since one was deleted by
// force and is still ending. Prometheus refuses a page with a duplicate series.
func TestResourceOfNamesakes(t *testing.T) {
	cfg := config(t)
	old := cfg.Pods.(pods)[0].DeepCopy()
	old.UID = "u0"
	cfg.Pods = append(cfg.Pods.(pods), old)
	use := cfg.Meter.(meter).pods[0]
	use.UID = "u0"
	cfg.Meter = meter{pods: append(slices.Clone(cfg.Meter.(meter).pods), use)}
	s, err := stats.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := s.Resource(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), `pod_cpu_usage_seconds_total{namespace="default",pod="web"}`); n != 1 {
		t.Errorf("%d samples of one series, want 1:\n%s", n, out.String())
	}
}

func TestSummary(t *testing.T) {
	cfg := config(t)
	cfg.Volumes = func(_ context.Context, p *corev1.Pod) []statsapi.VolumeStats {
		return []statsapi.VolumeStats{{Name: "data", PVCRef: &statsapi.PVCReference{Name: "data-" + p.Name, Namespace: p.Namespace}}}
	}
	s, err := stats.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.Summary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := first.Pods[0]
	if len(first.Pods) != 1 || *p.ProcessStats.ProcessCount != 2 || *p.Network.RxBytes != 9 || *p.Containers[0].Rootfs.UsedBytes != 77 || p.Swap != nil ||
		len(p.VolumeStats) != 1 || p.VolumeStats[0].PVCRef.Name != "data-web" {
		t.Errorf("%+v", first.Pods)
	}
	if first.Node.CPU.UsageNanoCores != nil || *first.Node.Memory.UsageBytes != 600<<10 || *first.Node.Memory.MajorPageFaults != 3 {
		t.Errorf("%+v", first.Node)
	}
	second, err := s.Summary(t.Context())
	if err != nil || second.Node.CPU.UsageNanoCores == nil || *second.Node.CPU.UsageNanoCores != 0 {
		t.Errorf("%+v %v", second.Node.CPU, err)
	}
}

func TestFailuresAreReported(t *testing.T) {
	for name, edit := range map[string]func(*stats.Config){
		"runtime": func(c *stats.Config) { c.Meter = meter{err: errors.New("down")} },
		"proc":    func(c *stats.Config) { c.Proc = t.TempDir() },
	} {
		cfg := config(t)
		edit(&cfg)
		s, err := stats.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := s.Resource(t.Context(), &out); err != nil || !strings.HasPrefix(out.String(), "# HELP resource_scrape_error") || !strings.Contains(out.String(), "resource_scrape_error 1\n") {
			t.Errorf("%s: %v %s", name, err, out.String())
		}
		if _, err := s.Summary(t.Context()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := stats.New(stats.Config{}); err == nil {
		t.Error("an empty Config is accepted")
	}
}

func ExampleStats_Resource() {
	s, err := stats.New(stats.Config{Node: "gate-7", Meter: meter{err: errors.New("the runtime is down")}, Pods: pods{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	var out bytes.Buffer
	err = s.Resource(context.Background(), &out)
	fmt.Println(strings.Contains(out.String(), "resource_scrape_error 1"), err)
	// Output: true <nil>
}
