package apiserver

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestEnsureAddress adds an address in a network namespace of its own.
func TestEnsureAddress(t *testing.T) {
	for _, there := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.5"} {
		must(t, EnsureAddress(netip.MustParseAddr(there)))
	}
	for _, absent := range []string{"192.0.2.77", "2001:db8::7", "fe80::1234"} {
		if err := EnsureAddress(netip.MustParseAddr(absent)); err == nil || !strings.Contains(err.Error(), "no interface") {
			t.Errorf("%s: %v", absent, err)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	done := make(chan error, 1)
	go func() { done <- inNetwork(func() error { return ensureTwice(netip.MustParseAddr("169.254.30.10")) }) }()
	if err := <-done; errors.Is(err, syscall.EPERM) {
		t.Skip("no network namespaces here")
	} else if err != nil {
		t.Error(err)
	}
}

// inNetwork runs f on a thread with a network namespace of its own. The thread ends with it.
func inNetwork(f func() error) error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	return f()
}

func ensureTwice(addr netip.Addr) error {
	for range 2 { // the second finds it
		if err := EnsureAddress(addr); err != nil {
			return err
		}
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	for _, a := range all {
		if a.String() == addr.String()+"/32" {
			return nil
		}
	}
	return errors.New("the address is not there")
}

func TestAcknowledged(t *testing.T) {
	head := []byte{36, 0, 0, 0, unix.NLMSG_ERROR, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}
	for name, answer := range map[string][]byte{"short": head[:10], "no number": head, "of another kind": make([]byte, 36)} {
		if acknowledged(answer) == nil {
			t.Errorf("an answer that is %s was taken", name)
		}
	}
	refused := append(append([]byte{}, head...), 0xff, 0xff, 0xff, 0xff) // -1 in either byte order
	if err := acknowledged(refused); !errors.Is(err, syscall.EPERM) {
		t.Error(err)
	}
}
