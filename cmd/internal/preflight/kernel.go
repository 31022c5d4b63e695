package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// oldestKernel is the oldest kernel that container runtimes and Kubernetes still support;
// goodKernel has all of cgroup v2 that pods use.
var oldestKernel, goodKernel = version{4, 19}, version{5, 8}

// version is the first two numbers of a version.
type version [2]int

// parseVersion reads the numbers at the beginning of text.
func parseVersion(text string) (v version, ok bool) {
	n, err := fmt.Sscanf(strings.TrimPrefix(text, "v"), "%d.%d", &v[0], &v[1])
	return v, err == nil && n == 2
}

func (v version) less(than version) bool { return slices.Compare(v[:], than[:]) < 0 }

// checkKernel looks at the kernel's version and at what containers need of it.
func checkKernel(_ context.Context, e *env) []Result {
	release := e.read("/proc/sys/kernel/osrelease")
	v, ok := parseVersion(release)
	switch {
	case !ok:
		return []Result{failure("run edgectl check on the Linux machine that is to be the node", "the version of the kernel cannot be read (/proc/sys/kernel/osrelease: %q)", release)}
	case v.less(oldestKernel):
		return []Result{failure("upgrade the operating system", "kernel %s is older than 4.19, which container runtimes need", release)}
	}
	out := []Result{good("kernel %s", release)}
	if v.less(goodKernel) {
		out[0] = warning("upgrade the operating system when you can", "kernel %s is older than 5.8: parts of cgroup v2 are missing", release)
	}
	var missing []string
	for _, ns := range []string{"cgroup", "ipc", "mnt", "net", "pid", "uts"} {
		if !e.exists("/proc/self/ns/" + ns) {
			missing = append(missing, ns+" namespaces")
		}
	}
	if len(missing) > 0 {
		out = append(out, failure("use a kernel that is built for containers (CONFIG_NAMESPACES and what is below it)", "the kernel has no %s", strings.Join(missing, ", ")))
	}
	if !e.hasFilesystem("overlay") {
		out = append(out, warning("modprobe overlay && echo overlay > /etc/modules-load.d/edgekit.conf", "the file system overlay, which images use, is not loaded"))
	}
	if !e.exists("/proc/sys/kernel/seccomp/actions_avail") {
		out = append(out, warning("use a kernel with CONFIG_SECCOMP_FILTER", "the kernel has no seccomp: containers are not kept from dangerous system calls"))
	}
	return out
}

// hasFilesystem reports whether the kernel has a file system at hand.
func (e *env) hasFilesystem(name string) bool {
	for line := range strings.Lines(e.read("/proc/filesystems")) {
		if f := strings.Fields(line); len(f) > 0 && f[len(f)-1] == name {
			return true
		}
	}
	return false
}

// cgroupRemedy turns a controller on that a boot loader has turned off, as on Raspberry Pi OS.
const cgroupRemedy = "add cgroup_enable=memory cgroup_memory=1 to the kernel's command line (Raspberry Pi: /boot/firmware/cmdline.txt; else GRUB_CMDLINE_LINUX in /etc/default/grub and update-grub) and boot again"

// checkCgroups looks at the version of cgroups, their controllers, and whether the runtime
// makes them as edgecore is set up to.
func checkCgroups(ctx context.Context, e *env) []Result {
	const mount = "/sys/fs/cgroup"
	var have []string
	v2 := e.exists(mount + "/cgroup.controllers")
	if v2 {
		have = strings.Fields(e.read(mount + "/cgroup.controllers"))
	} else {
		for _, name := range []string{"cpu", "cpuset", "memory", "pids"} {
			if e.exists(mount + "/" + name + "/tasks") {
				have = append(have, name)
			}
		}
	}
	if len(have) == 0 {
		return []Result{failure("mount cgroup v2: systemd does it; else mount -t cgroup2 none /sys/fs/cgroup", "no cgroups are mounted at %s: pods cannot be limited or counted", mount)}
	}
	var missing []string
	for _, name := range []string{"cpu", "cpuset", "memory", "pids"} {
		if !slices.Contains(have, name) {
			missing = append(missing, name)
		}
	}
	name := map[bool]string{true: "v2", false: "v1"}[v2]
	var out []Result
	switch {
	case slices.Contains(missing, "memory"):
		out = append(out, failure(cgroupRemedy, "cgroup %s without memory: pods have no memory limits", name))
	case len(missing) > 0:
		out = append(out, failure("use a kernel with these controllers, or take them off the kernel's command line (cgroup_disable=)", "cgroup %s without %s", name, strings.Join(missing, ", ")))
	case !v2:
		out = append(out, warning("boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1), which Kubernetes expects", "cgroup v1 with %s", strings.Join(have, ", ")))
	default:
		out = append(out, good("cgroup v2 with %s", strings.Join(have, ", ")))
	}
	return append(out, e.cgroupDriver(ctx)...)
}

// cgroupDriver compares the runtime's driver with the setting and with the machine.
func (e *env) cgroupDriver(ctx context.Context) []Result {
	rt, err := e.Runtime(ctx, e.cfg.RuntimeEndpoint)
	if err != nil {
		return nil // the check of the runtime says it
	}
	defer rt.Close()
	driver, err := rt.CgroupDriver(ctx)
	switch {
	case err != nil:
		return []Result{warning("look at the runtime's log; set cgroup-driver in /etc/edgekit/edgecore.yaml as in the runtime's configuration", "the runtime does not say how it makes cgroups: %v", err)}
	case e.cfg.CgroupDriver != "" && e.cfg.CgroupDriver != "auto" && e.cfg.CgroupDriver != driver:
		return []Result{failure("remove cgroup-driver from edgecore's settings, so that the runtime is asked", "edgecore is set to the cgroup driver %s, the runtime uses %s: pods do not start, or are not limited", e.cfg.CgroupDriver, driver)}
	case driver != "systemd" && e.booted():
		return []Result{warning("set SystemdCgroup = true in /etc/containerd/config.toml and restart containerd before the first pod", "the runtime makes cgroups beside systemd (%s): two managers of one tree", driver)}
	}
	return []Result{good("the runtime's cgroup driver is %s", driver)}
}

// checkModules looks at what pods' networks need of the kernel.
func checkModules(_ context.Context, e *env) []Result {
	var out []Result
	forward := e.read("/proc/sys/net/ipv4/ip_forward")
	if forward == "1" {
		out = append(out, good("net.ipv4.ip_forward is on"))
	} else {
		out = append(out, failure("echo net.ipv4.ip_forward=1 > /etc/sysctl.d/90-edgekit.conf && sysctl --system", "net.ipv4.ip_forward is %q: pods reach nothing outside of the machine", forward))
	}
	const bridge = "/proc/sys/net/bridge/bridge-nf-call-iptables"
	switch {
	case !e.exists(bridge):
		out = append(out, warning("if kube-proxy or network policies are used here: modprobe br_netfilter && echo br_netfilter > /etc/modules-load.d/edgekit.conf", "br_netfilter is not loaded: Services do not work between pods on this node"))
	case e.read(bridge) != "1":
		out = append(out, warning("echo net.bridge.bridge-nf-call-iptables=1 > /etc/sysctl.d/91-edgekit.conf && sysctl --system", "net.bridge.bridge-nf-call-iptables is off: Services do not work between pods on this node"))
	default:
		out = append(out, good("br_netfilter is loaded"))
	}
	return out
}

// booted reports whether systemd runs the machine, see sd_booted(3).
func (e *env) booted() bool { return e.exists("/run/systemd/system") }

// checkSystemd looks whether systemd runs the machine.
func checkSystemd(_ context.Context, e *env) []Result {
	if !e.booted() {
		return []Result{warning("start 'edgecore' by your own init system, and again whenever it ends", "systemd does not run this machine: edgectl join cannot install a service")}
	}
	return []Result{good("systemd runs the machine")}
}
