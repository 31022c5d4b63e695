package preflight

import (
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// types names the file systems that matter here.
var types = map[int64]string{
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.F2FS_SUPER_MAGIC: "f2fs",
	unix.TMPFS_MAGIC: "tmpfs", unix.RAMFS_MAGIC: "ramfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.NFS_SUPER_MAGIC: "nfs",
	unix.MSDOS_SUPER_MAGIC: "vfat", unix.EXFAT_SUPER_MAGIC: "exfat", unix.FUSE_SUPER_MAGIC: "fuse", unix.CIFS_SUPER_MAGIC: "cifs",
	unix.SMB2_SUPER_MAGIC: "cifs", unix.SQUASHFS_MAGIC: "squashfs",
}

func filesystem(path string) (Filesystem, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Filesystem{}, fmt.Errorf("%s: %w", path, err)
	}
	size := uint64(st.Bsize)
	return Filesystem{
		Type: types[int64(st.Type)], Size: uint64(st.Blocks) * size, Free: uint64(st.Bfree) * size, //nolint:unconvert // not the same types on every architecture
		Inodes: uint64(st.Files), FreeInodes: uint64(st.Ffree), ReadOnly: st.Flags&unix.ST_RDONLY != 0, //nolint:unconvert // nor these
	}, nil
}

func routeMTU(conn net.Conn) (mtu int, err error) {
	raw, ok := conn.(syscall.Conn)
	if !ok {
		return 0, fmt.Errorf("%T has no file descriptor", conn)
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return 0, err
	}
	level, option := unix.IPPROTO_IP, unix.IP_MTU
	if a, ok := conn.RemoteAddr().(*net.UDPAddr); ok && a.IP.To4() == nil {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_MTU
	}
	if cerr := control.Control(func(fd uintptr) { mtu, err = unix.GetsockoptInt(int(fd), level, option) }); cerr != nil {
		return 0, cerr
	}
	return mtu, err
}
