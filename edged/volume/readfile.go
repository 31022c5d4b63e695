package volume

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	corev1 "k8s.io/api/core/v1"
)

// ReadFile reads a file in a volume of a pod, of at most limit bytes. No link in the
// volume leads out of it, and only a regular file is read: the pod's containers may have
// made anything there. The error for a file that is not there wraps fs.ErrNotExist.
func (m *Manager) ReadFile(pod *corev1.Pod, volume, path string, limit int) ([]byte, error) {
	base, err := m.Path(pod, volume)
	if err != nil {
		return nil, err
	}
	if !filepath.IsLocal(path) {
		return nil, fmt.Errorf("volume: path %q must be one inside the volume, without \"..\"", path)
	}
	root, err := os.OpenRoot(base)
	if err != nil {
		return nil, fmt.Errorf("volume: %w", err)
	}
	defer root.Close()
	f, err := root.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not block
	if err != nil {
		return nil, fmt.Errorf("volume: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("is no regular file")
	}
	if err != nil {
		return nil, fmt.Errorf("volume: %s: %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("volume: %w", err)
	}
	if len(text) > limit {
		return nil, fmt.Errorf("volume: %q is longer than %d bytes", path, limit)
	}
	return text, nil
}
