package stats_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/stats"
)

// containers is a runtime without containers that has its images in a folder.
type containers struct{ images string }

func (containers) ListContainers(context.Context, string) ([]runtime.Container, error) {
	return nil, nil
}

func (containers) ListSandboxes(context.Context, string) ([]runtime.Sandbox, error) { return nil, nil }

func (c containers) ImageFilesystems(context.Context) (images, layers []runtime.Filesystem, err error) {
	if c.images == "" {
		return nil, nil, errors.New("no answer")
	}
	return []runtime.Filesystem{{Mountpoint: c.images, UsedBytes: 1000, UsedInodes: 10}}, nil, nil
}

func (containers) SandboxImage(context.Context) (string, error) { return "", nil }

func (containers) ListImages(context.Context) ([]runtime.Image, error) {
	return []runtime.Image{{Tags: []string{"web:1"}}, {Tags: []string{"pause:1"}, Pinned: true}}, nil
}

// TestFilesystems: the summary has the node's and the runtime's file systems, and what pods take of
// them.
func TestFilesystems(t *testing.T) {
	cfg := config(t)
	cfg.Root, cfg.Containers = t.TempDir(), containers{t.TempDir()}
	cfg.Pods.(pods)[0].Spec.Volumes = []corev1.Volume{{Name: "scratch"}, {Name: "secret"}}
	cfg.DiskUsage = func(context.Context) map[string]stats.DiskUsage {
		return map[string]stats.DiskUsage{"u1": {Volumes: map[string]stats.Disk{"scratch": {Bytes: 500, Inodes: 5}}, Logs: map[string]stats.Disk{"app": {Bytes: 40, Inodes: 1}}}}
	}
	s, err := stats.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := s.Summary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n, p := sum.Node, sum.Pods[0]
	if n.Fs == nil || n.Runtime == nil {
		t.Skip("this platform does not say what its disks have")
	}
	if *n.Fs.CapacityBytes == 0 || *n.Fs.UsedBytes != *n.Fs.CapacityBytes-*n.Fs.AvailableBytes || *n.Runtime.ImageFs.UsedBytes != 1000 || *n.Runtime.ContainerFs.UsedBytes != 1000 {
		t.Errorf("%+v %+v", n.Fs, n.Runtime)
	}
	c := p.Containers[0]
	if *c.Rootfs.UsedBytes != 77 || c.Rootfs.CapacityBytes == nil || *c.Logs.UsedBytes != 40 || *p.EphemeralStorage.UsedBytes != 77+40+500 {
		t.Errorf("%+v %+v %+v", c.Rootfs, c.Logs, p.EphemeralStorage)
	}
	if len(p.VolumeStats) != 1 || p.VolumeStats[0].Name != "scratch" || *p.VolumeStats[0].UsedBytes != 500 || p.VolumeStats[0].CapacityBytes == nil {
		t.Errorf("%+v", p.VolumeStats)
	}
	cfg.Containers = containers{}
	if s, err = stats.New(cfg); err != nil {
		t.Fatal(err)
	}
	if sum, err := s.Summary(t.Context()); err != nil || sum.Node.Runtime != nil || sum.Node.Fs == nil {
		t.Errorf("a runtime that does not say where its images are: %v %+v", err, sum)
	}
}

// TestMachineOfSummary: what the machine says besides CPU and memory.
func TestMachineOfSummary(t *testing.T) {
	cfg := config(t)
	for name, text := range map[string]string{
		"pressure/cpu": "some avg10=1.50 avg60=0.00 avg300=0.25 total=1000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
		"pressure/io":  "some avg10=0.00 avg60=0.00 avg300=0.00 total=3\nbad\n", "loadavg": "0.1 0.2 0.3 1/302 4711\n",
		"sys/kernel/pid_max": "32768\n", "sys/kernel/threads-max": "1000\n",
		"1/net/dev": "head\nhead\n eth0: 100 10 1 2 0 0 0 0 200 20 3 4 0 0 0 0\n wlan0: 5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0\n",
		"net/route": "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\nwlan0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\n",
	} {
		path := filepath.Join(cfg.Proc, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := stats.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := s.Summary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := sum.Node
	if n.CPU.PSI == nil || n.CPU.PSI.Some.Avg10 != 1.5 || n.CPU.PSI.Some.Total != 1_000_000 || n.CPU.PSI.Full.Total != 7000 || n.Memory.PSI != nil || n.IO == nil || n.IO.PSI.Some.Total != 3000 {
		t.Errorf("%+v %+v %+v", n.CPU.PSI, n.Memory.PSI, n.IO)
	}
	if *n.Rlimit.MaxPID != 1000 || *n.Rlimit.NumOfRunningProcesses != 302 {
		t.Errorf("%+v", n.Rlimit)
	}
	if n.Network == nil {
		t.Skip("this platform has no such files")
	}
	if len(n.Network.Interfaces) != 2 || n.Network.Name != "wlan0" || *n.Network.TxBytes != 6 || *n.Network.Interfaces[0].RxErrors != 1 {
		t.Errorf("%+v", n.Network)
	}
}

// TestPressureOfPods: what a runtime says of pressure and swap.
func TestPressureOfPods(t *testing.T) {
	cfg := config(t)
	list := cfg.Meter.(meter).pods[:1]
	use := list[0].Usage
	use.Swap, use.SwapAvailable, use.IOPressure = n(10), n(90), &runtime.Pressure{Some: runtime.Stall{Total: 5, Avg60: 2}}
	list[0].Containers = []runtime.ContainerUsage{{Name: "app", Usage: use}, {Name: "side", Usage: use}}
	cfg.Meter = meter{pods: list}
	s, err := stats.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := s.Summary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := sum.Pods[0]
	if *p.Swap.SwapUsageBytes != 20 || *p.Containers[0].Swap.SwapAvailableBytes != 90 || *p.Containers[0].Swap.SwapUsageBytes != 10 || p.Containers[1].IO.PSI.Some.Avg60 != 2 || p.IO != nil {
		t.Errorf("%+v %+v", p.Swap, p.Containers)
	}
	var out bytes.Buffer
	if err := s.Resource(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`container_swap_limit_bytes{container="app",namespace="default",pod="web"} 100 `, `pod_swap_usage_bytes{namespace="default",pod="web"} 20 `} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
}

// TestCadvisor: the machine is shown, by its own files.
func TestCadvisor(t *testing.T) {
	cfg := config(t)
	cfg.Containers = containers{}
	cfg.SystemInfo = func() corev1.NodeSystemInfo { return corev1.NodeSystemInfo{MachineID: "m1"} }
	s, err := stats.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := s.Cadvisor(t.Context(), &out); err != nil || !strings.Contains(out.String(), `machine_memory_bytes{boot_id="",machine_id="m1",system_uuid="m1"} 1024000`) ||
		!strings.Contains(out.String(), "\ncontainer_scrape_error 0\n") {
		t.Errorf("%v %s", err, out.String())
	}
}

// TestPinnedImage: a runtime that does not name the image of sandboxes pins it.
func TestPinnedImage(t *testing.T) {
	if name, err := stats.PinnedImage(t.Context(), containers{}); err != nil || name != "pause:1" {
		t.Errorf("%q %v", name, err)
	}
}
