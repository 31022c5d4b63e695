package eviction

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Signal is what of the node is measured: how much of something is left.
type Signal string

// The signals. Of these, AllocatableMemoryAvailable cannot be set: it has the hard
// threshold of MemoryAvailable.
const (
	MemoryAvailable            Signal = "memory.available"
	AllocatableMemoryAvailable Signal = "allocatableMemory.available" // below the limit of all pods together
	NodeFsAvailable            Signal = "nodefs.available"            // of volumes and logs
	NodeFsInodesFree           Signal = "nodefs.inodesFree"
	ImageFsAvailable           Signal = "imagefs.available" // of images
	ImageFsInodesFree          Signal = "imagefs.inodesFree"
	ContainerFsAvailable       Signal = "containerfs.available" // of writable layers, where images are elsewhere
	ContainerFsInodesFree      Signal = "containerfs.inodesFree"
	PIDAvailable               Signal = "pid.available"
)

// The resources of signals that are no resources of Kubernetes.
const (
	resourceInodes corev1.ResourceName = "inodes"
	resourcePIDs   corev1.ResourceName = "pids"
)

// settable lists the signals that a setting may name, in the order in which they are
// acted upon: memory first.
func settable() []Signal {
	return []Signal{
		MemoryAvailable, NodeFsAvailable, NodeFsInodesFree, ImageFsAvailable, ImageFsInodesFree,
		ContainerFsAvailable, ContainerFsInodesFree, PIDAvailable,
	}
}

// rank is the place of a signal in the order in which they are acted upon.
func (s Signal) rank() int {
	if s == AllocatableMemoryAvailable {
		s = MemoryAvailable
	}
	return slices.Index(settable(), s)
}

// Resource is what pods are evicted for.
func (s Signal) Resource() corev1.ResourceName {
	switch s {
	case MemoryAvailable, AllocatableMemoryAvailable:
		return corev1.ResourceMemory
	case NodeFsInodesFree, ImageFsInodesFree, ContainerFsInodesFree:
		return resourceInodes
	case PIDAvailable:
		return resourcePIDs
	}
	return corev1.ResourceEphemeralStorage
}

// Condition is the condition of the node that says that a threshold of the signal is met.
func (s Signal) Condition() corev1.NodeConditionType {
	switch s {
	case MemoryAvailable, AllocatableMemoryAvailable:
		return corev1.NodeMemoryPressure
	case PIDAvailable:
		return corev1.NodePIDPressure
	}
	return corev1.NodeDiskPressure
}

// IsDisk reports whether the signal is about a file system.
func (s Signal) IsDisk() bool { return s.Condition() == corev1.NodeDiskPressure }

// Layout says which file systems are apart. What the kubelet calls nodefs has volumes and
// logs, imagefs images, containerfs writable layers.
type Layout struct {
	Images bool // images are not on nodefs
	Split  bool // images are not on nodefs, and writable layers are
}

// ReclaimsFirst says what of the node's own can be removed before a pod has to leave for
// a signal: the containers and folders of pods that have ended, and images that no pod
// uses. Nothing of the kind helps with memory or process ids.
// https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#reclaim-node-resources
func ReclaimsFirst(s Signal, l Layout) (dead, images bool) {
	switch {
	case !s.IsDisk():
		return false, false
	case !l.Images:
		return true, true
	case s == ImageFsAvailable, s == ImageFsInodesFree:
		return !l.Split, true
	}
	return l.Split, false
}
