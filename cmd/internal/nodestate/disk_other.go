//go:build !unix

package nodestate

// DiskOf knows no disks here.
func DiskOf(path string) (d Disk, ok bool) { return Disk{Path: path}, false }
