package nodestatus

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// watchAddresses sends on changes, which has room for one value, when an address or a
// route of this machine has changed, until ctx ends. It listens to the kernel's own
// announcements (rtnetlink(7)).
func watchAddresses(ctx context.Context, changes chan<- struct{}) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	f := os.NewFile(uintptr(fd), "netlink") // its Read waits without a thread
	defer f.Close()
	groups := uint32(unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer context.AfterFunc(ctx, func() { f.Close() })()
	buffer := make([]byte, 4<<10) // what is announced does not matter, so it may be cut
	for {
		// A burst that the kernel could not keep (ENOBUFS) is a change too.
		if _, err := f.Read(buffer); err != nil && !errors.Is(err, unix.ENOBUFS) {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("netlink: %w", err)
		}
		select {
		case changes <- struct{}{}:
		default:
		}
	}
}
