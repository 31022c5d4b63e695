package volume_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edgekit/edgekit/edged/volume"
)

// TestEmptyDirIsComplete cuts SetUp off at each place where it may be cut off,
// and has the pod change what it was given.
func TestEmptyDirIsComplete(t *testing.T) {
	group := int64(4321)
	for _, tt := range []struct {
		name   string
		medium corev1.StorageMedium
		group  *int64
		before func(t *testing.T, dir string) // before the first SetUp
		pod    func(t *testing.T, dir string) // between the first and the second
		want   string
	}{
		{name: "new", want: "drwxrwxrwx"},
		{name: "new, with a group", group: &group, want: "dgrwxrwxrwx"},
		{name: "cut off before its mode was set", before: func(t *testing.T, dir string) { mkdir(t, dir, 0o750) }, want: "drwxrwxrwx"},
		{name: "cut off before its group was set", group: &group, before: func(t *testing.T, dir string) { mkdir(t, dir, 0o750) }, want: "dgrwxrwxrwx"},
		{name: "cut off before it had its name", before: func(t *testing.T, dir string) {
			mkdir(t, filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)), 0o700)
		}, want: "drwxrwxrwx"},
		{name: "the pod closed it", pod: func(t *testing.T, dir string) { chmod(t, dir, 0o700) }, want: "drwx------"},
		{name: "the pod filled it and gave it the mode of the start", pod: func(t *testing.T, dir string) {
			mkdir(t, filepath.Join(dir, "data"), 0o700)
			chmod(t, dir, 0o750)
		}, want: "drwxr-x---"},
		{name: "in memory", medium: corev1.StorageMediumMemory, want: "dtrwxrwxrwx"},
		{name: "in memory, with a group", medium: corev1.StorageMediumMemory, group: &group, want: "dgtrwxrwxrwx"},
		{name: "in memory, the pod closed it", medium: corev1.StorageMediumMemory, pod: func(t *testing.T, dir string) { chmod(t, dir, 0o700) }, want: "drwx------"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.medium != "" || tt.group != nil {
				needMount(t) // or chown, which needs root too
			}
			m, _, _ := setUp(t)
			p := pod(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: tt.medium}}})
			p.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: tt.group}
			dir, err := m.Path(p, "v")
			if err != nil {
				t.Fatal(err)
			}
			if tt.before != nil {
				tt.before(t, dir)
			}
			for range 2 {
				if _, err := m.SetUp(t.Context(), p, corev1.ResourceList{"memory": resource.MustParse("16Mi")}); err != nil {
					t.Fatal(err)
				}
				if tt.pod != nil {
					tt.pod(t, dir)
					tt.pod = nil
				}
			}
			info, err := os.Stat(dir)
			if err != nil || info.Mode().String() != tt.want {
				t.Errorf("%v, %v; want %s", info.Mode(), err, tt.want)
			}
			if st, ok := info.Sys().(*syscall.Stat_t); ok && tt.group != nil && int64(st.Gid) != *tt.group {
				t.Errorf("group %d", st.Gid)
			}
			if left, _ := filepath.Glob(filepath.Dir(dir) + "/.*"); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func mkdir(t *testing.T, dir string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(dir, mode); err != nil {
		t.Fatal(err)
	}
	chmod(t, dir, mode)
}

func chmod(t *testing.T, dir string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(dir, mode); err != nil {
		t.Fatal(err)
	}
}

// TestSubPathFolderIsComplete: a folder that is made for a subPath and is cut
// off before its mode is set is made again.
func TestSubPathFolderIsComplete(t *testing.T) {
	needMount(t)
	m, _, _ := setUp(t)
	p := pod(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	mustSetUp(t, m, p)
	base, err := m.Path(p, "v")
	if err != nil {
		t.Fatal(err)
	}
	mkdir(t, filepath.Join(base, "a", ".subpath-u"), 0o700)
	if _, err := m.SubPath(p, volume.Use{Container: "main", Volume: "v", SubPath: "a/b/c"}); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"a/b", "a/b/c"} {
		if info, err := os.Stat(filepath.Join(base, dir)); err != nil || info.Mode().Perm() != 0o777 {
			t.Errorf("%s: %v, %v", dir, info, err)
		}
	}
	if _, err := os.Stat(filepath.Join(base, "a", ".subpath-u")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was cut off is left: %v", err)
	}
}

// TestRefreshWritesNothing: volumes that are up to date need no writable disk.
func TestRefreshWritesNothing(t *testing.T) {
	m, s, root := setUp(t)
	s.maps["c"] = map[string]string{"k": "1"}
	group := int64(os.Getegid())
	p := pod(configMap("c"), corev1.Volume{Name: "e", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	p.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: &group}
	changes := func() map[string]int64 {
		out := make(map[string]int64)
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil {
				out[path] = info.Sys().(*syscall.Stat_t).Ctim.Nano()
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	mustSetUp(t, m, p)
	before := changes()
	mustSetUp(t, m, p)
	if _, err := m.Refresh(t.Context(), p, nil); err != nil {
		t.Fatal(err)
	}
	after := changes()
	for path, at := range after {
		if before[path] != at {
			t.Errorf("%s was written", path)
		}
	}
	if len(before) != len(after) {
		t.Errorf("%d paths became %d", len(before), len(after))
	}
}

// TestHostPathIsCheckedOnce: what a hostPath names may go while its pod runs.
func TestHostPathIsCheckedOnce(t *testing.T) {
	m, _, root := setUp(t)
	kind := corev1.HostPathDirectory
	host := filepath.Join(root, "host")
	p := pod(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: host, Type: &kind}}})
	if _, err := m.SetUp(t.Context(), p, nil); err == nil {
		t.Error("SetUp takes a folder that is not there")
	}
	mkdir(t, host, 0o755)
	mustSetUp(t, m, p)
	if err := os.Remove(host); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Refresh(t.Context(), p, nil); err != nil {
		t.Errorf("Refresh: %v", err)
	}
}
