package runtime

import "context"

// LogReopener is what a Runtime may have besides, so that the logs of containers
// can be rotated.
type LogReopener interface {
	// ReopenContainerLog has the runtime open the log file of a running container
	// again, by its name: the file that it wrote to was renamed. It returns when the
	// new file is there; what the container said before may still be written to the
	// old one shortly after.
	ReopenContainerLog(ctx context.Context, id string) error
}

// ImageStore is what a Runtime may have besides, so that images can be collected
// when their disk is full.
type ImageStore interface {
	// ImageFilesystems lists the file systems on which the runtime keeps images, and
	// those on which it keeps what containers write; often they are the same.
	ImageFilesystems(ctx context.Context) (images, containers []Filesystem, err error)
	// SandboxImage is the reference of the image that sandboxes are made of; "" where
	// the runtime does not say, or marks it as Image.Pinned.
	SandboxImage(ctx context.Context) (string, error)
}

// Filesystem is what a runtime uses of a file system.
type Filesystem struct {
	Mountpoint            string // a folder on it, for statfs(2)
	UsedBytes, UsedInodes uint64 // by the runtime; 0 where it does not say
}
