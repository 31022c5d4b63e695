package volume_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/volume"
)

// namespaceEnv is set in the process that inOwnNamespace starts.
const namespaceEnv = "EDGEKIT_TEST_MOUNT_NAMESPACE"

// inOwnNamespace runs the test once more, in a process with mounts of its own,
// and reports whether this is that process. Nothing it does reaches the machine.
func inOwnNamespace(t *testing.T) bool {
	t.Helper()
	needMount(t)
	if os.Getenv(namespaceEnv) != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), namespaceEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// mountShared mounts a tmpfs on a new folder and shares it, as systemd shares
// all mounts of a machine.
func mountShared(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	return dir
}

// plugIn mounts a file system with a file on it inside the host's folder.
func plugIn(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestSubPathSparesNestedMounts has a disk of the host mounted inside the folder
// that a subPath leads to, on a machine whose mounts are shared. Whatever the
// agent does to the pod, the host keeps its disk.
func TestSubPathSparesNestedMounts(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, host, disk string, bind func() string)
	}{
		{"the pod ends", func(_ *testing.T, _, _ string, bind func() string) { bind() }},
		{"a container restarts", func(_ *testing.T, _, _ string, bind func() string) { bind(); bind() }},
		{"a disk that is plugged in later", func(t *testing.T, host, _ string, bind func() string) {
			bind()
			plugIn(t, filepath.Join(host, "data", "later"))
			bind()
		}},
		{"a recursive shared bind that an older agent left", func(t *testing.T, host, _ string, bind func() string) {
			target := bind()
			if err := unix.Mount(filepath.Join(host, "data"), target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
				t.Fatal(err)
			}
		}},
		{"the same before a container restarts", func(t *testing.T, host, _ string, bind func() string) {
			target := bind()
			if err := unix.Mount(filepath.Join(host, "data"), target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
				t.Fatal(err)
			}
			bind()
		}},
		{"the disk is in use", func(t *testing.T, _, disk string, bind func() string) {
			f, err := os.Open(filepath.Join(disk, "precious"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			bind()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := mountShared(t)
			host := filepath.Join(root, "srv")
			disk := filepath.Join(host, "data", "usb")
			plugIn(t, disk)
			m, err := volume.New(volume.Config{Root: filepath.Join(root, "edged"), Source: &source{}})
			if err != nil {
				t.Fatal(err)
			}
			p := pod(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: host}}})
			mustSetUp(t, m, p)
			tt.do(t, host, disk, func() string {
				target, err := m.SubPath(p, volume.Use{Container: "main", Volume: "v", SubPath: "data"})
				if err != nil {
					t.Fatal(err)
				}
				return target
			})
			if err := m.TearDown("u"); err != nil {
				t.Error(err)
			}
			disks, err := filepath.Glob(filepath.Join(host, "data", "*"))
			if err != nil || len(disks) == 0 {
				t.Fatal(disks, err)
			}
			for _, d := range disks {
				if _, err := os.Stat(filepath.Join(d, "precious")); err != nil {
					t.Errorf("the host lost its disk: %v", err)
				}
			}
			if left, _ := filepath.Glob(root + "/edged/pods/*"); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestRebindTouchesItsOwnMountOnly has two mounts of one container whose paths
// end alike: binding the one anew leaves the other alone.
func TestRebindTouchesItsOwnMountOnly(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	root := mountShared(t)
	m, err := volume.New(volume.Config{Root: filepath.Join(root, "edged"), Source: &source{}})
	if err != nil {
		t.Fatal(err)
	}
	p := pod(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	mustSetUp(t, m, p)
	bind := func(index int, path string) string {
		t.Helper()
		target, err := m.SubPath(p, volume.Use{Container: "main", Index: index, Volume: "v", SubPath: path})
		if err != nil {
			t.Fatal(err)
		}
		return target
	}
	other := bind(1, "b")
	plugIn(t, filepath.Join(other, "0")) // by the pod, with mountPropagation
	bind(0, "a")
	bind(0, "a")
	if _, err := os.Stat(filepath.Join(other, "0", "precious")); err != nil {
		t.Error(err)
	}
	if err := m.TearDown("u"); err != nil {
		t.Error(err)
	}
}

// TestTearDownLeavesForeignMounts: what somebody mounted on a pod's folder is
// not the agent's to remove.
func TestTearDownLeavesForeignMounts(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	root := mountShared(t)
	m, err := volume.New(volume.Config{Root: filepath.Join(root, "edged"), Source: &source{}})
	if err != nil {
		t.Fatal(err)
	}
	plugIn(t, m.PodDir("u"))
	if err := m.TearDown("u"); err == nil {
		t.Error("TearDown succeeds")
	}
	if _, err := os.Stat(filepath.Join(m.PodDir("u"), "precious")); err != nil {
		t.Error(err)
	}
}
