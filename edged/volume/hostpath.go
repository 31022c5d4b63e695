package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	corev1 "k8s.io/api/core/v1"
)

// hostPath checks that what a hostPath volume names is what its type says, and
// makes it where the type asks for that.
//
// Links are followed, as a kubelet follows them: hosts have them (/var/run), the
// path is the pod's author's, and the runtime resolves the path once more when it
// mounts it. So the check finds mistakes, and admission decides who may name a
// path. What is made is another matter: it is made by root at the moment of the
// check. It is made at the path itself or not at all, never where a link leads
// that somebody else has put there.
func hostPath(h *corev1.HostPathVolumeSource) error {
	t := corev1.HostPathUnset
	if h.Type != nil {
		t = *h.Type
	}
	if t == corev1.HostPathUnset {
		return nil
	}
	info, err := os.Stat(h.Path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeHostPath(h.Path, t); err != nil {
			return err
		}
		info, err = os.Stat(h.Path) // somebody may have been faster
	}
	if err != nil {
		return fmt.Errorf("hostPath type check failed: %w", err)
	}
	if ok, known := isHostPath(info.Mode(), t); !known {
		return fmt.Errorf("hostPath type %q is not known", t)
	} else if !ok {
		return fmt.Errorf("hostPath type check failed: %s is not a %s", h.Path, t)
	}
	return nil
}

// isHostPath reports whether what has this mode is of the type.
func isHostPath(mode fs.FileMode, t corev1.HostPathType) (ok, known bool) {
	switch t {
	case corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate:
		return mode.IsDir(), true
	case corev1.HostPathFile, corev1.HostPathFileOrCreate:
		return mode.IsRegular(), true
	case corev1.HostPathSocket:
		return mode&fs.ModeSocket != 0, true
	case corev1.HostPathCharDev:
		return mode&fs.ModeCharDevice != 0, true
	case corev1.HostPathBlockDev:
		return mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0, true
	}
	return false, false
}

// makeHostPath makes what the type asks for, and nothing for the other types. It
// opens nothing that is there: a FIFO would be waited for, and a link followed.
func makeHostPath(path string, t corev1.HostPathType) error {
	var err error
	switch t {
	case corev1.HostPathDirectoryOrCreate:
		err = os.MkdirAll(path, 0o755) // mkdir(2) follows no link that ends a path
	case corev1.HostPathFileOrCreate:
		var f *os.File
		if f, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644); err == nil {
			err = f.Close()
		}
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, gone := os.Stat(path); errors.Is(gone, fs.ErrNotExist) {
		return fmt.Errorf("hostPath %s is, or leads through, a link to what does not exist: make the target on the node, or remove the link", path)
	}
	return nil
}
