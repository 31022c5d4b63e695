// Package imagepull brings the image of a container, or of a volume, to the node: by the
// pull policy, with the pod's credentials, a few at a time, with a back-off, and without
// the registry where that is out of reach.
//
//	img, fail := puller.Ensure(ctx, imagepull.Request{Pod: pod, Container: "main", Key: "main", Image: "busybox", BackOffs: &backOffs})
//	if fail != nil { ... } // fail.Reason is what kubectl shows: ErrImagePull
//
// [Puller.Ensure] returns when the image is there or cannot be had now. It records the
// kubelet's events. A pull that failed is not tried again before its back-off is over,
// which the [BackOffs] of the pod remember by key.
//
// Which pod may have an image that is on the node is the rule of KEP-2535; what was pulled
// with which credentials is in package edged/image, on the disk. A Puller and BackOffs may
// be used by several goroutines.
package imagepull
