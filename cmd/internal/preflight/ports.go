package preflight

import (
	"bufio"
	"context"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// socket is a TCP socket that listens.
type socket struct {
	address netip.AddrPort
	inode   string
}

// checkPorts looks whether the ports of edgecore are free, or its own, and whether another
// agent runs on the machine.
func checkPorts(_ context.Context, e *env) []Result {
	sockets := append(e.listening("/proc/net/tcp"), e.listening("/proc/net/tcp6")...)
	var out []Result
	for _, want := range e.cfg.Listen {
		out = append(out, e.checkPort(want, sockets))
	}
	for _, pid := range e.processes() {
		if name := e.read("/proc/" + pid + "/comm"); name == "kubelet" || name == "k3s" || name == "k3s-agent" {
			out = append(out, failure("remove it, or use another machine: two agents with one container runtime end each other's pods", "%s runs on this machine (pid %s)", name, pid))
		}
	}
	return out
}

// checkPort looks for a socket that has the address.
func (e *env) checkPort(want Listen, sockets []socket) Result {
	host, text, err := net.SplitHostPort(want.Address)
	port, perr := strconv.ParseUint(text, 10, 16)
	if err != nil || perr != nil {
		return failure("correct "+want.Setting+" in /etc/edgekit/edgecore.yaml: want host:port", "%s is %q", want.Setting, want.Address)
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		addr = netip.IPv6Unspecified() // a name, or every address
	}
	i := slices.IndexFunc(sockets, func(s socket) bool {
		return s.address.Port() == uint16(port) && (addr.IsUnspecified() || s.address.Addr().IsUnspecified() || s.address.Addr().Unmap() == addr.Unmap())
	})
	if i < 0 {
		return good("port %d is free (%s)", port, want.Setting)
	}
	switch holder := e.holder(sockets[i].inode); {
	case holder == "edgecore":
		return good("port %d is edgecore's own (%s)", port, want.Setting)
	case holder == "" && !e.Admin:
		return warning("run edgectl check as root", "port %d is in use, perhaps by edgecore itself (%s)", port, want.Setting)
	case holder == "":
		return failure("find it with ss -ltnp, and stop it, or set another address with "+want.Setting, "port %d is in use", port)
	default:
		return failure("stop it, or set another address with "+want.Setting, "port %d is used by %s", port, holder)
	}
}

// listening reads the sockets that listen from a file of /proc/net.
func (e *env) listening(file string) []socket {
	f, err := os.Open(e.path(file))
	if err != nil {
		return nil
	}
	defer f.Close()
	var out []socket
	for lines := bufio.NewScanner(f); lines.Scan(); {
		const local, state, inode, listen = 1, 3, 9, "0A"
		fields := strings.Fields(lines.Text())
		if len(fields) <= inode || fields[state] != listen {
			continue
		}
		if address, ok := parseSocket(fields[local]); ok {
			out = append(out, socket{address, fields[inode]})
		}
	}
	return out
}

// parseSocket reads an address as /proc/net/tcp has it: each four bytes in the order of a
// little-endian machine, then the port.
func parseSocket(text string) (netip.AddrPort, bool) {
	host, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(host)
	n, perr := strconv.ParseUint(port, 16, 16)
	if err != nil || perr != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		slices.Reverse(raw[i : i+4])
	}
	addr, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr, uint16(n)), ok
}

// processes lists the ids of all processes.
func (e *env) processes() []string {
	entries, err := os.ReadDir(e.path("/proc"))
	if err != nil {
		return nil
	}
	var out []string
	for _, d := range entries {
		if _, err := strconv.Atoi(d.Name()); err == nil {
			out = append(out, d.Name())
		}
	}
	return out
}

// holder is the name of the process that has a socket; "" if it cannot be found.
func (e *env) holder(inode string) string {
	for _, pid := range e.processes() {
		dir := e.path(filepath.Join("/proc", pid, "fd"))
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // it has ended, or is another user's
		}
		for _, d := range entries {
			if to, err := os.Readlink(filepath.Join(dir, d.Name())); err == nil && to == "socket:["+inode+"]" {
				return e.read("/proc/" + pid + "/comm")
			}
		}
	}
	return ""
}
