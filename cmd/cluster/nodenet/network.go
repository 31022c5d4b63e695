package nodenet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Network is one node's network. Its methods are not for several goroutines
// at once, but DialContext and Command are.
type Network struct {
	Plan
	// File holds the namespace. It may be given to nsenter --net=File.
	File string
	// Cable is the name of the host's end, at most 15 characters.
	Cable string
}

// Up makes what is missing of the network. What is there already stays as it
// is, so that pods that run in it are not disturbed.
func (n Network) Up(ctx context.Context) error {
	if !n.exists() {
		if err := n.Down(ctx); err != nil { // half of one
			return err
		}
		if err := n.makeNamespace(ctx); err != nil {
			return err
		}
	}
	if run(ctx, "ip", "link", "show", n.Cable) != nil {
		if err := n.makeCable(ctx); err != nil {
			return err
		}
	}
	return n.Mend(ctx)
}

// makeCable ties the namespace to the host.
func (n Network) makeCable(ctx context.Context) error {
	const inside = "eth0"
	for _, args := range [][]string{
		{"ip", "link", "add", n.Cable, "type", "veth", "peer", "name", inside, "netns", n.File},
		{"ip", "address", "add", netAddr(n.Host().String(), n.Link.Bits()), "dev", n.Cable},
		n.inside("ip", "address", "add", netAddr(n.Node().String(), n.Link.Bits()), "dev", inside),
		n.inside("ip", "link", "set", inside, "up"),
		{"ip", "link", "set", n.Cable, "up"},
		// By a default route programs find the node's own address, as on any
		// machine. It leads to the host and, for want of NAT, not back.
		n.inside("ip", "route", "add", "default", "via", n.Host().String()),
	} {
		if err := run(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// Cut pulls the cable out. Connections over it are not closed: both ends only
// hear nothing more, as with a real one.
func (n Network) Cut(ctx context.Context) error {
	return run(ctx, "ip", "link", "set", n.Cable, "down")
}

// Mend plugs the cable in again and restores the host's route to the pods,
// which the kernel dropped with the link.
func (n Network) Mend(ctx context.Context) error {
	if err := run(ctx, "ip", "link", "set", n.Cable, "up"); err != nil {
		return err
	}
	return run(ctx, "ip", "route", "replace", n.Pods.String(), "via", n.Node().String(), "dev", n.Cable)
}

// Forward has the host pass on what comes from the node to its other networks, so that two nodes
// reach each other also on a host that is no router. It is a setting of the cable and goes with it.
func (n Network) Forward() error {
	if err := os.WriteFile(filepath.Join("/proc/sys/net/ipv4/conf", n.Cable, "forwarding"), []byte("1"), 0o644); err != nil {
		return fmt.Errorf("nodenet: %w", err)
	}
	return nil
}

// Down removes the namespace's name and the cable, and with them all that is
// in it once its last process has ended. What is not there is no error.
func (n Network) Down(ctx context.Context) error {
	var errs []error
	if run(ctx, "ip", "link", "show", n.Cable) == nil {
		// It goes by itself, too, when the last process in the namespace has ended.
		if err := run(ctx, "ip", "link", "delete", n.Cable); err != nil && run(ctx, "ip", "link", "show", n.Cable) == nil {
			errs = append(errs, err)
		}
	}
	for unix.Unmount(n.File, unix.MNT_DETACH) == nil { // all that are stacked there
		continue
	}
	if err := os.Remove(n.File); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, fmt.Errorf("nodenet: %w", err))
	}
	return errors.Join(errs...)
}

// DialContext connects from inside the node's network. Addresses must be
// numeric: names would be looked up by other threads, outside of it.
func (n Network) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return inNetwork(n, func() (net.Conn, error) { return new(net.Dialer).DialContext(ctx, network, address) })
}

// Listen listens inside the node's network, at a numeric address.
func (n Network) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	return inNetwork(n, func() (net.Listener, error) { return new(net.ListenConfig).Listen(ctx, network, address) })
}

// inNetwork opens a socket inside the node's network; it stays there.
func inNetwork[T any](n Network, open func() (T, error)) (T, error) {
	var none T
	ns, err := os.Open(n.File)
	if err != nil {
		return none, fmt.Errorf("nodenet: %w", err)
	}
	defer ns.Close()
	type result struct {
		socket T
		err    error
	}
	done := make(chan result, 1)
	go func() {
		// The thread is never unlocked, so it ends with this goroutine and no
		// other code runs in the node's namespace.
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- result{err: fmt.Errorf("nodenet: enter %s: %w", n.File, err)}
			return
		}
		socket, err := open()
		done <- result{socket, err}
	}()
	r := <-done
	return r.socket, r.err
}

// Command returns a program that runs in the node's network.
func (n Network) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	command := n.inside(append([]string{program}, args...)...)
	return exec.CommandContext(ctx, command[0], command[1:]...)
}

// exists reports whether File holds a namespace: it is then a mount point of
// the kernel's nsfs.
func (n Network) exists() bool {
	var fs unix.Statfs_t
	return unix.Statfs(n.File, &fs) == nil && fs.Type == unix.NSFS_MAGIC
}

func (n Network) makeNamespace(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(n.File), 0o700); err != nil {
		return fmt.Errorf("nodenet: %w", err)
	}
	f, err := os.OpenFile(n.File, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("nodenet: %w", err)
	}
	f.Close()
	if err := run(ctx, "unshare", "--net="+n.File, "true"); err != nil {
		return err
	}
	if err := run(ctx, n.inside("ip", "link", "set", "lo", "up")...); err != nil {
		return err
	}
	return run(ctx, n.inside("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")...)
}

func (n Network) inside(args ...string) []string {
	return append([]string{"nsenter", "--net=" + n.File, "--"}, args...)
}

func netAddr(addr string, bits int) string { return fmt.Sprintf("%s/%d", addr, bits) }

func run(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("nodenet: %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
