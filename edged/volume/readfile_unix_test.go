//go:build unix

package volume_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/volume"
)

// TestReadFile reads what a pod's containers may have put into an emptyDir.
func TestReadFile(t *testing.T) {
	root := t.TempDir()
	m, err := volume.New(volume.Config{Root: root, Source: &source{}})
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}}}
	pod.UID = "u"
	dir, err := m.Path(pod, "v")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "secret"), []byte("of the node"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sub", "env"), []byte("A='x'"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"good": "sub/env", "up": "../../../../../secret", "abs": filepath.Join(root, "secret")} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"sub/env": "", "good": "", "none": "no such file", "up": "escapes", "abs": "escapes", "pipe": "no regular file", "sub": "no regular file",
		"../secret": "without \"..\"", "/etc/passwd": "inside the volume",
	} {
		text, err := m.ReadFile(pod, "v", path, 5)
		if want == "" {
			if err != nil || string(text) != "A='x'" {
				t.Errorf("%s: %q, %v", path, text, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, fs.ErrNotExist) != (path == "none") {
			t.Errorf("%s: %q, %v; want %q", path, text, err, want)
		}
	}
	if _, err := m.ReadFile(pod, "v", "good", 4); err == nil || !strings.Contains(err.Error(), "longer than 4") {
		t.Errorf("a long file: %v", err)
	}
	if _, err := m.ReadFile(pod, "w", "good", 5); err == nil {
		t.Error("a volume that the pod does not have is read")
	}
}
