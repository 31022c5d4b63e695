package podlogs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/crilog"
	"github.com/edgekit/edgekit/edged/runtime"
)

// PodOf makes a pod of the labels of a container: its names and uid. It is false
// when one of them is no file name, or missing.
func PodOf(c runtime.Container) (*corev1.Pod, bool) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: c.Labels[runtime.LabelPodNamespace], Name: c.Labels[runtime.LabelPodName], UID: types.UID(c.PodUID),
	}}
	for _, part := range []string{pod.Namespace, pod.Name, string(pod.UID), c.Name} {
		if part == "" || part == "." || part != filepath.Base(part) || !filepath.IsLocal(part) {
			return nil, false
		}
	}
	return pod, true
}

// ContainerFile is the log of a container, by its labels. It is false when they do
// not say.
func ContainerFile(root string, c runtime.Container) (string, bool) {
	pod, ok := PodOf(c)
	if !ok {
		return "", false
	}
	return File(root, pod, c.Name, c.Attempt), true
}

// RemoveFile removes the log of one run of a container, with the files that were
// rotated away from it. One that is not there is no error.
func RemoveFile(path string) error {
	dir, file := filepath.Split(path)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		if _, _, ok := crilog.RotatedAt(file, e.Name()); !ok && e.Name() != file {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Pods lists the uids of the pods that have a folder of logs below root.
func Pods(root string) ([]string, error) {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []string
	for _, e := range entries {
		// No name of Kubernetes has an underscore.
		if parts := strings.Split(e.Name(), "_"); len(parts) == 3 && e.IsDir() {
			out = append(out, parts[2])
		}
	}
	return out, err
}
