package preflight

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const mebi = 1 << 20

// checkMemory looks at the machine's memory and process ids.
func checkMemory(_ context.Context, e *env) []Result {
	total, available := e.meminfo("MemTotal"), e.meminfo("MemAvailable")
	var out []Result
	switch {
	case total == 0:
		return []Result{failure("run edgectl check on the Linux machine that is to be the node", "/proc/meminfo cannot be read")}
	case total < 120*mebi:
		out = append(out, failure("use a machine with 256 MiB or more", "%d MiB of memory: edgecore and a container runtime need 120 MiB before the first pod", total/mebi))
	case total < 240*mebi:
		out = append(out, warning("run few and small pods", "%d MiB of memory leave little for pods", total/mebi))
	case available < 64*mebi:
		out = append(out, warning("stop what is not needed: pods are evicted below 100 MiB of available memory (eviction-hard)", "%d MiB of memory, only %d MiB available", total/mebi, available/mebi))
	default:
		out = append(out, good("%d MiB of memory, %d MiB available", total/mebi, available/mebi))
	}
	most, err := strconv.Atoi(e.read("/proc/sys/kernel/pid_max"))
	if entries, rerr := os.ReadDir(e.path("/proc")); err == nil && rerr == nil {
		used := 0
		for _, d := range entries {
			if _, err := strconv.Atoi(d.Name()); err == nil {
				used++
			}
		}
		if used > most*9/10 {
			out = append(out, warning("find what starts so many processes, or raise kernel.pid_max", "%d of %d process ids are in use", used, most))
		}
	}
	return out
}

// meminfo is a figure of /proc/meminfo in bytes; 0 if it is not there.
func (e *env) meminfo(name string) uint64 {
	for line := range strings.Lines(e.read("/proc/meminfo")) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == name+":" {
			n, err := strconv.ParseUint(f[1], 10, 64)
			if err == nil {
				return n << 10
			}
		}
	}
	return 0
}

// checkSwap looks for swap, which containers should not use unasked.
func checkSwap(_ context.Context, e *env) []Result {
	lines := strings.Split(e.read("/proc/swaps"), "\n")
	if len(lines) < 2 {
		return []Result{good("no swap")}
	}
	device, _, _ := strings.Cut(strings.Join(strings.Fields(lines[1]), " "), " ")
	if !e.exists("/sys/fs/cgroup/cgroup.controllers") {
		return []Result{warning("swapoff -a and remove swap from /etc/fstab, or boot with cgroup v2", "swap is on (%s), and with cgroup v1 containers use it", device)}
	}
	return []Result{good("swap is on (%s); containers use it only with edgecore's memory-swap-behavior", device)}
}

// unfit are file systems that cannot hold the data folder, and why.
var unfit = map[string]string{
	"tmpfs": "what it holds is lost at the next boot", "ramfs": "what it holds is lost at the next boot",
	"vfat": "it keeps no owners and permissions", "exfat": "it keeps no owners and permissions",
	"nfs": "locks and syncs over the network are not to be relied on", "cifs": "locks and syncs over the network are not to be relied on",
	"squashfs": "it cannot be written",
}

// checkDisk looks at the file system of the data folder.
func checkDisk(_ context.Context, e *env) []Result {
	dir := existing(e.path(e.cfg.DataDir))
	f, err := e.Filesystem(dir)
	if err != nil {
		return []Result{failure("check the disk, or choose another folder with --data-dir", "the disk of %s cannot be looked at: %v", e.cfg.DataDir, err)}
	}
	var out []Result
	kind := f.Type
	if kind == "" {
		kind = "a file system of another kind"
	}
	switch reason := unfit[f.Type]; {
	case f.ReadOnly:
		out = append(out, failure("mount it for writing, or choose another folder with --data-dir", "%s is on a read-only file system (%s)", e.cfg.DataDir, kind))
	case reason != "":
		out = append(out, failure("choose a folder on ext4, xfs, btrfs or f2fs with --data-dir", "%s is on %s: %s", e.cfg.DataDir, f.Type, reason))
	case f.Free < 512*mebi:
		out = append(out, failure("free some space, or use a larger disk", "%s has %d MiB left", e.cfg.DataDir, f.Free/mebi))
	case f.Size > 0 && f.Free < f.Size/100*15:
		out = append(out, warning("free some space: images are removed at 85 %, pods evicted at 90 % (image-gc-high-threshold-percent, eviction-hard)", "%s has %d MiB left, %d %% of its disk", e.cfg.DataDir, f.Free/mebi, f.Free*100/f.Size))
	default:
		out = append(out, good("%s has %d MiB left (%s)", e.cfg.DataDir, f.Free/mebi, kind))
	}
	if f.Inodes > 0 && f.FreeInodes < f.Inodes/20 {
		out = append(out, failure("remove small files, or make the file system again with more inodes", "%d of %d inodes of %s are left", f.FreeInodes, f.Inodes, e.cfg.DataDir))
	}
	if f.ReadOnly {
		return out
	}
	return append(out, e.canSync(dir))
}

// canSync tries to write.
func (e *env) canSync(dir string) Result {
	err := e.Sync(dir)
	switch {
	case err == nil:
		return good("files can be written and synced")
	case errors.Is(err, fs.ErrPermission) && !e.Admin:
		return warning("run edgectl check as root", "it is not known whether files can be written to %s", e.cfg.DataDir)
	}
	return failure("check the disk (dmesg), its mount options and its quota", "a file cannot be written and synced in %s: %v", e.cfg.DataDir, err)
}

// existing is the nearest folder at or above path that is there.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// Clocks: before firstYear a clock was never set; a clock that differs from the cloud's by more than
// maxOffset confuses logs and leases; one that is ahead by maxAhead makes good certificates look expired.
const (
	firstYear = 2025
	lastYear  = 2100
	maxOffset = time.Minute
	maxAhead  = 24 * time.Hour
)

const clockRemedy = "start a time service (systemctl enable --now systemd-timesyncd, or chrony), or set the clock with date -s"

// checkClock looks at the year, and compares the clock with the cloud's.
func checkClock(ctx context.Context, e *env) []Result {
	now := e.Now().UTC()
	switch {
	case now.Year() < firstYear:
		return []Result{warning(clockRemedy+"; edgecore itself works, since it trusts certificates and not the clock", "the clock says %s: images cannot be pulled, and logs have wrong times", now.Format(time.DateTime))}
	case now.Year() >= lastYear:
		return []Result{failure(clockRemedy, "the clock says %s: every certificate looks expired", now.Format(time.DateTime))}
	}
	a := e.askCloud(ctx)
	if a.date.IsZero() {
		return []Result{good("the clock says %s UTC; there was no cloud to compare it with", now.Format(time.DateTime))}
	}
	switch off := now.Sub(a.date); {
	case off > maxAhead:
		return []Result{failure(clockRemedy, "the clock is ahead of the cloud's by %s: good certificates may look expired", off.Round(time.Second))}
	case off.Abs() > maxOffset:
		return []Result{warning(clockRemedy, "the clock differs from the cloud's by %s", off.Round(time.Second))}
	default:
		return []Result{good("the clock differs from the cloud's by %s", off.Round(time.Second))}
	}
}
