package cri

import (
	"strconv"
	"strings"

	"github.com/edgekit/edgekit/edged/runtime"
)

// mountsImages reports whether a runtime can mount an image into a container. None says
// so, so that it is known by the version: containerd can from 2.1 on, CRI-O from 1.31 on
// (https://kubernetes.io/docs/concepts/storage/volumes/#image). A runtime of another
// name, or of a version that is none, is taken to.
func mountsImages(v runtime.Version) bool {
	switch v.Name {
	case "containerd":
		return atLeast(v.Version, 2, 1)
	case "cri-o":
		return atLeast(v.Version, 1, 31)
	}
	return true
}

// atLeast compares the first two numbers of a version.
func atLeast(version string, major, minor int) bool {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 {
		return true
	}
	a, errA := strconv.Atoi(parts[0])
	b, errB := strconv.Atoi(parts[1])
	return errA != nil || errB != nil || a > major || a == major && b >= minor
}
