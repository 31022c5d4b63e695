package containermetrics

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"

	"github.com/edgekit/edgekit/edged/internal/hostinfo"
	"github.com/edgekit/edgekit/edged/internal/topology"
)

// maxFilesystems bounds how many file systems of the machine are looked at.
const maxFilesystems = 64

// readMachine reads the group "/", with what the kernel says of the machine as a whole where it has
// no such group.
func (r *reader) readMachine(g *group) (memory, swap uint64) {
	r.read(g)
	info, err := hostinfo.Fields(filepath.Join(r.proc, "meminfo"))
	if err == nil {
		kib := func(name string) uint64 { return uint64(info[name+":"]) << 10 }
		memory, swap = kib("MemTotal"), kib("SwapTotal")
		g.set(specMemory, memory)
		if !g.has[memoryUsage] { // version 2 does not count the memory of the root
			g.set(memoryUsage, memory-min(kib("MemFree"), memory))
			if !g.has[memorySwap] {
				g.set(memorySwap, swap-min(kib("SwapFree"), swap))
			}
			g.workingSet()
		}
	}
	if stat, err := hostinfo.Fields(filepath.Join(r.proc, "stat")); err == nil && stat["btime"] > 0 {
		g.set(created, uint64(stat["btime"]))
		g.set(started, uint64(stat["btime"]))
	}
	r.networkOf(g, "1")
	g.usage = r.filesystems()
	return memory, swap
}

// filesystems are those of the machine's disks, each once: proc_pid_mountinfo(5).
func (r *reader) filesystems() []filesystem {
	text, err := os.ReadFile(filepath.Join(r.proc, "self/mountinfo"))
	if err != nil {
		return nil
	}
	var out []filesystem
	seen := make(map[string]bool)
	for line := range bytes.Lines(text) {
		before, after, ok := bytes.Cut(line, []byte(" - "))
		f, more := bytes.Fields(before), bytes.Fields(after)
		if !ok || len(f) < 5 || len(more) < 2 || len(out) == maxFilesystems {
			continue
		}
		source := string(more[1])
		if !strings.HasPrefix(source, "/dev/") || seen[source] {
			continue
		}
		seen[source] = true
		s, err := hostinfo.SpaceOf(unescapeMount(string(f[4])))
		if err != nil || s.Total <= 0 {
			continue
		}
		device := source
		if source == "/dev/root" { // the kernel's word for the disk that it started from
			if name := r.device(string(f[2])); name != "" {
				device = name
			}
		}
		out = append(out, filesystem{
			device: device, limit: uint64(s.Total), usage: uint64(s.Total - min(s.Free, s.Total)),
			inodes: uint64(s.Inodes), inodesFree: uint64(s.InodesFree),
		})
	}
	return out
}

// unescapeMount reads a path of mountinfo, in which a blank is \040.
func unescapeMount(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}

// cpus counts the machine's logical CPUs, its cores and its sockets; all 0 if it does not say.
func (r *reader) cpus() (logical, cores, sockets int) {
	m, err := topology.Read(os.DirFS(r.sys), 0)
	if err != nil {
		return 0, 0, 0
	}
	isCore, isSocket := make(map[int]bool), make(map[int]bool)
	for _, c := range m.CPUs {
		isCore[c.Core], isSocket[c.Socket] = true, true
	}
	return len(m.CPUs), len(isCore), len(isSocket)
}
