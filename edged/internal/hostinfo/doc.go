// Package hostinfo reads what the machine says of itself: the space on its file
// systems, and files of /proc and of cgroups that have a name and a number in each line.
//
//	space, err := hostinfo.NearestSpace("/var/lib/edgekit/pods")
//	memory, err := hostinfo.Fields("/proc/meminfo")
//
// It keeps nothing. A call on a file system that hangs, such as that of a dead NFS
// server, hangs too. All functions may be called by several goroutines.
package hostinfo

// Space is what a file system has, and what of it is left for programs without special
// rights; see statfs(2).
type Space struct {
	Device             uint64 // tells file systems apart
	Total, Free        int64  // bytes
	Inodes, InodesFree int64  // 0 where inodes are made as they are needed
}
