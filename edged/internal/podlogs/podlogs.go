package podlogs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Dir is the folder of a pod's logs below root. Log collectors know this
// form of the name: namespace_name_uid.
func Dir(root string, pod *corev1.Pod) string {
	return filepath.Join(root, strings.Join([]string{pod.Namespace, pod.Name, string(pod.UID)}, "_"))
}

// File is the log of one run of a container; attempt is its restart count.
func File(root string, pod *corev1.Pod, container string, attempt uint32) string {
	return filepath.Join(Dir(root, pod), container, strconv.FormatUint(uint64(attempt), 10)+".log")
}

// Remove removes the folder of a pod's logs. The names in its path come
// from labels in the runtime when the API object is gone: they must be names. A
// pod of which only the uid is left is found by that.
func Remove(root string, pod *corev1.Pod) error {
	uid := string(pod.UID)
	for _, part := range []string{pod.Namespace, pod.Name, uid} {
		if part != "" && (part != filepath.Base(part) || !filepath.IsLocal(part)) {
			return nil
		}
	}
	if uid == "" {
		return nil
	}
	if pod.Namespace != "" && pod.Name != "" {
		return os.RemoveAll(Dir(root, pod))
	}
	folders, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, f := range folders {
		if strings.HasSuffix(f.Name(), "_"+uid) && f.IsDir() {
			if err := os.RemoveAll(filepath.Join(root, f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
