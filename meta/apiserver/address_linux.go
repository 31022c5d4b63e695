package apiserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// addToLoopback adds an IPv4 address to the loopback interface by a message of rtnetlink(7).
func addToLoopback(addr netip.Addr) error {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return err
	}
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	if err := unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		return err
	}
	if err := unix.Sendto(s, newAddress(addr.As4(), uint32(lo.Index)), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4<<10)
	n, _, err := unix.Recvfrom(s, answer, 0)
	if err != nil {
		return err
	}
	return acknowledged(answer[:n])
}

// newAddress is RTM_NEWADDR for one address (prefix 32, scope host) of an interface.
func newAddress(addr [4]byte, index uint32) []byte {
	order := binary.NativeEndian
	attribute := func(b []byte, kind uint16) []byte {
		b = order.AppendUint16(b, unix.SizeofRtAttr+4)
		b = order.AppendUint16(b, kind)
		return append(b, addr[:]...)
	}
	body := []byte{unix.AF_INET, 32, 0, unix.RT_SCOPE_HOST} // ifaddrmsg: family, prefix, flags, scope
	body = order.AppendUint32(body, index)
	body = attribute(attribute(body, unix.IFA_LOCAL), unix.IFA_ADDRESS)
	b := order.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = order.AppendUint16(b, unix.RTM_NEWADDR)
	b = order.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	b = order.AppendUint32(b, 1) // sequence
	b = order.AppendUint32(b, 0) // the kernel names the port
	return append(b, body...)
}

// acknowledged reads the kernel's answer: an error number, 0 for success.
func acknowledged(b []byte) error {
	if len(b) < unix.SizeofNlMsghdr+4 {
		return errors.New("the kernel's answer is too short")
	}
	if kind := binary.NativeEndian.Uint16(b[4:]); kind != unix.NLMSG_ERROR {
		return fmt.Errorf("the kernel answered with a message of kind %d", kind)
	}
	if number := int32(binary.NativeEndian.Uint32(b[unix.SizeofNlMsghdr:])); number != 0 {
		return syscall.Errno(-number)
	}
	return nil
}
