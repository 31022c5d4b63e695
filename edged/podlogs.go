package edged

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// removeLog removes the log of a container that goes.
func (r *run) removeLog(id string) {
	for _, c := range r.s.view.containers {
		if c.ID == id && filepath.IsLocal(c.Name) && r.pod.Name != "" {
			// Logs are no promise: what cannot be removed goes with the pod.
			_ = os.Remove(filepath.Join(r.w.a.logDir(r.pod), c.Name, fmt.Sprintf("%d.log", c.Attempt)))
		}
	}
}

// removeLogs removes the folder of a pod's logs. The names in its path come
// from labels in the runtime when the API object is gone: they must be names. A
// pod of which only the uid is left is found by that.
func (a *Agent) removeLogs(pod *corev1.Pod) error {
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
		return os.RemoveAll(a.logDir(pod))
	}
	folders, err := os.ReadDir(a.cfg.LogRoot)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, f := range folders {
		if strings.HasSuffix(f.Name(), "_"+uid) && f.IsDir() {
			if err := os.RemoveAll(filepath.Join(a.cfg.LogRoot, f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
