package containermetrics

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
)

// reader reads groups. It is for one goroutine, and for one time.
type reader struct {
	mount, proc, sys string
	v2               bool
	files            files
	devices          map[string]string // names of disks by major:minor
}

// unlimited is a number above which version 1 means no limit.
const unlimited = 1 << 62

// readNumber notes the number that a file holds, if it is one.
func (r *reader) readNumber(g *group, m metric, dir folder, file string) {
	r.setNumber(g, m, r.files.read(dir, file))
}

func (r *reader) setNumber(g *group, m metric, text []byte) {
	if n, ok := number(text); ok {
		g.set(m, n)
	}
}

// readLimit notes the limit that a file holds; without one it is 0.
func (r *reader) readLimit(g *group, m metric, dir folder, file string) {
	text := bytes.TrimSpace(r.files.read(dir, file))
	n, ok := number(text)
	switch {
	case string(text) == "max", ok && n > unlimited:
		g.set(m, 0)
	case ok:
		g.set(m, n)
	}
}

// words are the words of the first line.
func words(text []byte) [][]byte {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return bytes.Fields(line)
}

// started notes when a group was made: a time that no later change moves.
func (r *reader) started(g *group, dir folder, file string) {
	made := dir.changed("")
	if at := dir.changed(file); at > 0 && at < made {
		made = at
	}
	if made > 0 {
		g.set(started, uint64(made))
	}
}

// tasks counts threads and processes.
func (r *reader) tasks(g *group, pids, procs folder) {
	r.readNumber(g, threads, pids, "pids.current")
	r.readLimit(g, threadsMax, pids, "pids.max")
	if text := r.files.read(procs, "cgroup.procs"); text != nil {
		g.set(processes, countLines(text))
	}
}

// read reads a group of either version.
func (r *reader) read(g *group) {
	if r.v2 {
		r.readUnified(g)
	} else {
		r.readDivided(g)
	}
	for i := range g.disks {
		g.disks[i].device = r.device(g.disks[i].id)
	}
}

// device is the name of a disk, such as /dev/sda; "" if the kernel does not say.
func (r *reader) device(id string) string {
	name, ok := r.devices[id]
	if !ok {
		if to, err := os.Readlink(filepath.Join(r.sys, "dev/block", id)); err == nil {
			name = "/dev/" + strings.ReplaceAll(filepath.Base(to), "!", "/")
		}
		r.devices[id] = name
	}
	return name
}

// folderOf is the folder of a group, in the hierarchy that has all of them.
func (r *reader) folderOf(group string) string {
	if r.v2 {
		return r.mount + group
	}
	return r.mount + "/memory" + group
}

// network reads the interfaces of the network that the first process of a group sees.
func (r *reader) network(g *group) {
	dir, ok := openFolder(r.folderOf(g.dir))
	if !ok {
		return
	}
	defer dir.close()
	if first := words(r.files.read(dir, "cgroup.procs")); len(first) > 0 {
		r.networkOf(g, string(first[0]))
	}
}

// networkOf reads the interfaces of the network that a process sees: proc_pid_net(5).
func (r *reader) networkOf(g *group, pid string) {
	dir, ok := openFolder(r.proc + "/" + pid + "/net")
	if !ok {
		return
	}
	defer dir.close()
	text := r.files.read(dir, "dev")
	for line := range bytes.Lines(text) {
		name, rest, ok := bytes.Cut(line, []byte(":"))
		f := bytes.Fields(rest)
		if name = bytes.TrimSpace(name); !ok || len(f) < 16 || hidden(string(name)) {
			continue
		}
		l := link{name: string(name)}
		for i := range 4 { // bytes packets errs drop fifo frame compressed multicast, and so for what was sent
			l.in[i], _ = number(f[i])
			l.out[i], _ = number(f[8+i])
		}
		g.links = append(g.links, l)
	}
}

// hidden reports whether an interface is not shown: loopback, and the machine's ends of the cables
// of containers, which the containers show.
func hidden(name string) bool {
	for _, prefix := range []string{"lo", "veth", "docker", "nerdctl"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
