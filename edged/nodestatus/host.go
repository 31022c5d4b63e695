package nodestatus

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edgekit/edgekit/edged/internal/hostinfo"
)

// machine is what the host says of itself, and what does not change while it runs.
type machine struct {
	info     corev1.NodeSystemInfo
	capacity corev1.ResourceList
}

// readMachine asks the kernel and /etc. What cannot be read is left empty, except
// the memory, without which no pod can be admitted.
func readMachine(cfg Config) (machine, error) {
	var m machine
	m.info = corev1.NodeSystemInfo{
		MachineID: firstLine("/etc/machine-id", "/var/lib/dbus/machine-id"), BootID: firstLine("/proc/sys/kernel/random/boot_id"),
		SystemUUID: firstLine("/sys/class/dmi/id/product_uuid"), OperatingSystem: "linux", Architecture: runtime.GOARCH,
		OSImage: "Linux", KubeletVersion: cfg.Version,
	}
	if m.info.SystemUUID == "" {
		m.info.SystemUUID = m.info.MachineID
	}
	m.info.KernelVersion = firstLine("/proc/sys/kernel/osrelease")
	if text, err := os.ReadFile("/etc/os-release"); err == nil {
		if name := osName(text); name != "" {
			m.info.OSImage = name
		}
	}
	mem, err := memInfo()
	if err != nil {
		return m, err
	}
	if swap := mem["SwapTotal"]; swap > 0 { // KEP-2400
		m.info.Swap = &corev1.NodeSwapStatus{Capacity: &swap}
	}
	m.capacity = corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(mem["MemTotal"], resource.BinarySI),
		corev1.ResourcePods:   *resource.NewQuantity(int64(maxPods(cfg, runtime.NumCPU())), resource.DecimalSI),
	}
	if space, err := hostinfo.NearestSpace(cfg.Root); err == nil {
		m.capacity[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(space.Total, resource.BinarySI)
	}
	for name, size := range hugePages("/sys/kernel/mm/hugepages") {
		m.capacity[name] = size
	}
	return m, nil
}

// maxPods is how many pods a machine with so many CPUs may run.
func maxPods(cfg Config, cpus int) int {
	if cfg.PodsPerCore > 0 {
		return min(cfg.MaxPods, cfg.PodsPerCore*cpus)
	}
	return cfg.MaxPods
}

// allocatable is what pods may use of a machine:
// https://kubernetes.io/docs/tasks/administer-cluster/reserve-compute-resources/.
// Huge pages are taken off the memory, since the kernel has set them aside and
// gives them to nobody else. Less than nothing is nothing.
func allocatable(capacity corev1.ResourceList, kept ...corev1.ResourceList) corev1.ResourceList {
	out := capacity.DeepCopy()
	subtract := func(name corev1.ResourceName, q resource.Quantity) {
		have, ok := out[name]
		if !ok {
			return
		}
		have.Sub(q)
		if have.Sign() < 0 {
			have.Set(0)
		}
		out[name] = have
	}
	for _, list := range kept {
		for name, q := range list {
			subtract(name, q)
		}
	}
	for name, q := range capacity {
		if strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
			subtract(corev1.ResourceMemory, q)
		}
	}
	return out
}

// firstLine reads the first line of the first file that exists.
func firstLine(files ...string) string {
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil {
			line, _, _ := strings.Cut(string(b), "\n")
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// osName reads PRETTY_NAME of os-release(5).
func osName(text []byte) string {
	for line := range bytes.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "PRETTY_NAME="); ok {
			if plain, err := strconv.Unquote(value); err == nil {
				return plain
			}
			return strings.Trim(value, "'\"")
		}
	}
	return ""
}

// memInfo reads /proc/meminfo, in bytes; see proc_meminfo(5).
func memInfo() (map[string]int64, error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return nil, fmt.Errorf("edged: %w", err)
	}
	return parseMemInfo(b), nil
}

// parseMemInfo reads the lines "Name: 12 kB". Lines that it cannot read are left
// out.
func parseMemInfo(text []byte) map[string]int64 {
	out := make(map[string]int64)
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		n, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil || n < 0 || n > 1<<50 {
			continue
		}
		if len(fields) > 2 && fields[2] == "kB" {
			n *= 1024
		}
		out[strings.TrimSuffix(fields[0], ":")] = n
	}
	return out
}

// hugePages reads how many huge pages of each size the kernel has set aside.
func hugePages(dir string) corev1.ResourceList {
	out := make(corev1.ResourceList)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return out
	}
	for _, e := range entries {
		kb, ok := strings.CutPrefix(e.Name(), "hugepages-")
		size, err := strconv.ParseInt(strings.TrimSuffix(kb, "kB"), 10, 64)
		if !ok || err != nil {
			continue
		}
		count, err := strconv.ParseInt(firstLine(filepath.Join(dir, e.Name(), "nr_hugepages")), 10, 64)
		if err != nil {
			continue
		}
		name := corev1.ResourceHugePagesPrefix + resource.NewQuantity(size*1024, resource.BinarySI).String()
		out[corev1.ResourceName(name)] = *resource.NewQuantity(size*1024*count, resource.BinarySI)
	}
	return out
}
