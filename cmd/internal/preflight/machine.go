package preflight

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/edgekit/edgekit/edged/cri"
	"github.com/edgekit/edgekit/edged/runtime"
)

// Machine is how checks see a machine. Local is this one.
type Machine struct {
	Root    string           // where the machine's file system is; "" means /
	Admin   bool             // the caller is root
	Now     func() time.Time // its clock
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Filesystem describes the file system of an existing path.
	Filesystem func(path string) (Filesystem, error)
	// Sync writes a file into a folder, waits until it is on the disk, and removes it.
	Sync func(dir string) error
	// RouteMTU is the size in bytes of the largest packet on the route of a UDP connection,
	// as far as the kernel knows it.
	RouteMTU func(conn net.Conn) (int, error)
	// Runtime connects to a container runtime. Its error says what to do.
	Runtime func(ctx context.Context, endpoint string) (Runtime, error)
}

// Runtime is what is asked of a container runtime.
type Runtime interface {
	runtime.Machine
	runtime.Images
	SandboxImage(ctx context.Context) (string, error)
	Close() error
}

// Filesystem describes a file system.
type Filesystem struct {
	Type       string // its name as in /proc/filesystems; "" if it is not known
	Size, Free uint64 // bytes; Free is for root
	Inodes     uint64 // 0 if it has no limit of them
	FreeInodes uint64
	ReadOnly   bool // mounted read-only
}

// Local is this machine.
func Local() Machine {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	return Machine{
		Admin: os.Geteuid() == 0, Now: time.Now, Dial: dialer.DialContext,
		Resolve: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		},
		Filesystem: filesystem, Sync: syncFile, RouteMTU: routeMTU, Runtime: connect,
	}
}

// runtimeLimit bounds a call to the runtime.
const runtimeLimit = 20 * time.Second

// connect connects to the runtime and checks that it answers.
func connect(ctx context.Context, endpoint string) (Runtime, error) {
	c, err := cri.New(cri.Config{Socket: endpoint, Timeout: runtimeLimit})
	if err != nil {
		return nil, err
	}
	if err := c.Check(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// syncFile writes a file into dir and syncs it.
func syncFile(dir string) error {
	f, err := os.CreateTemp(dir, ".check-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // what stays does no harm
	_, err = f.WriteString("edgectl check")
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// path is where the machine's file name is.
func (m Machine) path(name string) string {
	if m.Root == "" {
		return name
	}
	return filepath.Join(m.Root, name)
}

// exists reports whether the machine has a file.
func (m Machine) exists(name string) bool {
	_, err := os.Stat(m.path(name))
	return err == nil
}

// read is the text of a small file, without space around it; "" if it cannot be read.
func (m Machine) read(name string) string {
	b, err := os.ReadFile(m.path(name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
