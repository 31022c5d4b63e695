package runtime

import "context"

// FileSystems is what a Runtime may implement besides, to say where images and writable
// layers lie. Without it they are taken to lie on the disk of the pods' volumes.
type FileSystems interface {
	// FileSystems gives a folder of the file system of images, and one of that of the
	// containers' writable layers. "" means that the runtime does not say, and for layers
	// that they are beside the images.
	FileSystems(ctx context.Context) (images, layers string, err error)
}
