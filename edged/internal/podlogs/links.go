package podlogs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// maxLinkName is how long the name of a link may be: file systems have 255 bytes for
// a name, four of which are ".log". The kubelet cuts it too.
const maxLinkName = 255 - len(".log")

// linkName is the name of the link to a container's log. Log collectors take it
// apart again: https://docs.fluentbit.io/manual/pipeline/filters/kubernetes
func linkName(pod *corev1.Pod, container, id string) string {
	name := pod.Name + "_" + pod.Namespace + "_" + container + "-" + id
	return name[:min(len(name), maxLinkName)] + ".log"
}

// Link makes the link to a container's log in dir, as a kubelet makes it in
// /var/log/containers, unless it is there. With an empty dir, or while there is no
// log, it does nothing.
func Link(dir, file string, pod *corev1.Pod, container, id string) error {
	if dir == "" {
		return nil
	}
	link := filepath.Join(dir, linkName(pod, container, id))
	if to, err := os.Readlink(link); err == nil && to == file {
		return nil
	}
	if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
		return nil // a log that goes elsewhere needs no link
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(file, link)
}

// Unlink removes the link to a container's log. One that is not there is no error.
func Unlink(dir string, pod *corev1.Pod, container, id string) error {
	if dir == "" {
		return nil
	}
	if err := os.Remove(filepath.Join(dir, linkName(pod, container, id))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// UnlinkPod removes the links to the logs of a pod below root. A pod of which only
// the uid is left is found by that.
func UnlinkPod(dir, root string, pod *corev1.Pod) error {
	if pod.UID == "" {
		return nil
	}
	var errs []error
	all, err := links(dir, root)
	for _, l := range all {
		if pod.Name != "" && l.pod == filepath.Base(Dir(root, pod)) || pod.Name == "" && strings.HasSuffix(l.pod, "_"+string(pod.UID)) {
			errs = append(errs, os.Remove(l.path))
		}
	}
	return errors.Join(append(errs, err)...)
}

// DanglingLinks lists the links in dir to logs below root that are not there. In the
// middle of a rotation that is so for a moment.
func DanglingLinks(dir, root string) ([]string, error) {
	all, err := links(dir, root)
	var out []string
	for _, l := range all {
		if _, err := os.Stat(l.path); errors.Is(err, fs.ErrNotExist) {
			out = append(out, l.path)
		}
	}
	return out, err
}

// link is a link to the log of a container.
type link struct {
	path string
	pod  string // the name of the pod's folder
}

// links lists the links in dir to files below root: others are not the agent's.
func links(dir, root string) ([]link, error) {
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []link
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		to, linkErr := os.Readlink(path)
		if linkErr != nil {
			continue // no link, or gone meanwhile
		}
		if rest, ok := strings.CutPrefix(to, filepath.Clean(root)+"/"); ok {
			pod, _, _ := strings.Cut(rest, "/")
			out = append(out, link{path, pod})
		}
	}
	return out, err
}
