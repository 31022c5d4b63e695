// Package mounthelper mounts file systems that need a program of the host. The
// kernel mounts a network file system only with what its helper in user space has
// found out: for NFS the address, the version and the ports of the server
// (mount.nfs(8), which mount(8) starts).
//
//	h := mounthelper.New(mounthelper.Config{})
//	err := h.Mount(ctx, "nfs", "10.0.0.7:/srv", "/var/lib/edgekit/edged/pods/U/volumes/V", []string{"ro"})
//	...
//	err = h.Unmount(ctx, "/var/lib/edgekit/edged/pods/U/volumes/V")
//
// It is the only place of the agent that starts a program for volumes. No shell is
// involved, all arguments follow "--" or an option's letter, and the programs get
// none of this program's environment but PATH. Each call ends with its context.
//
// A Helper may be used by several goroutines.
package mounthelper
