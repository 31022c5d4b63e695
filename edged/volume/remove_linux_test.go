package volume

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestRemoveTreeStopsAtMounts: a folder is removed whole, but not what something is
// mounted on, whether it is of another file system or of the same.
func TestRemoveTreeStopsAtMounts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	for name, mount := range map[string]func(data, target string) error{
		"bind of the same file system": func(data, target string) error { return unix.Mount(data, target, "", unix.MS_BIND, "") },
		"another file system": func(_, target string) error {
			if err := unix.Mount("tmpfs", target, "tmpfs", 0, ""); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(target, "precious"), nil, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			data, dir := filepath.Join(root, "data"), filepath.Join(root, "pod")
			target := filepath.Join(dir, "volumes", "v")
			for _, d := range []string{data, target} {
				if err := os.MkdirAll(d, 0o750); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(data, "precious"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(data, filepath.Join(dir, "link")); err != nil {
				t.Fatal(err)
			}
			if err := mount(data, target); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = unix.Unmount(target, unix.MNT_DETACH) }()
			if err := removeTree(dir); err == nil {
				t.Error("a folder with a mount in it is removed")
			}
			if _, err := os.Stat(filepath.Join(target, "precious")); err != nil {
				t.Errorf("what is mounted was emptied: %v", err)
			}
			if err := unix.Unmount(target, 0); err != nil {
				t.Fatal(err)
			}
			if err := removeTree(dir); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(dir); err == nil {
				t.Error("the folder is left")
			}
			if _, err := os.Stat(filepath.Join(data, "precious")); err != nil {
				t.Error(err)
			}
		})
	}
}

// helper stands in for mount(8) with a tmpfs, and notes how it is called.
type helper struct {
	calls []string
	fail  error
}

func (h *helper) Mount(_ context.Context, fstype, source, target string, options []string) error {
	h.calls = append(h.calls, strings.Join(append([]string{fstype, source}, options...), " "))
	if h.fail != nil {
		return h.fail
	}
	return unix.Mount("tmpfs", target, "tmpfs", 0, "")
}

func (h *helper) Unmount(_ context.Context, target string) error { return unix.Unmount(target, 0) }

// noObjects is a Source that is not asked.
type noObjects struct{ Source }

// TestNFSVolume mounts an inline NFS volume once, with its options, and again after a
// failure.
func TestNFSVolume(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	root := t.TempDir()
	m, err := New(Config{Root: root, Source: noObjects{}})
	if err != nil {
		t.Fatal(err)
	}
	h := &helper{fail: errors.New("access denied by server")}
	m.helper = h
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web", UID: "u"}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "main", VolumeMounts: []corev1.VolumeMount{{Name: "v"}}}},
		Volumes:    []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "files", Path: "/srv", ReadOnly: true}}}},
	}}
	if _, err := m.SetUp(t.Context(), p, nil); err == nil || err.Error() != `MountVolume.SetUp failed for volume "v" : access denied by server` {
		t.Error(err)
	}
	h.fail = nil
	for range 2 {
		if _, err := m.SetUp(t.Context(), p, nil); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"nfs files:/srv ro", "nfs files:/srv ro"}; !slices.Equal(h.calls, want) {
		t.Errorf("mounted %q, want %q", h.calls, want)
	}
	if info, err := m.Lookup(p, "v"); err != nil || !info.ReadOnly {
		t.Errorf("%+v, %v", info, err)
	}
	if err := m.TearDown("u"); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(root + "/pods/*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestServersAreUnmountedByTheHelper: what is mounted from a server is not looked at
// by the agent, which would wait for the server.
func TestServersAreUnmountedByTheHelper(t *testing.T) {
	asked := &unmounts{}
	m := &Manager{helper: asked}
	// Neither path exists, so that a look at either would be an error or nothing.
	points := []mountPoint{{"/nowhere/u/volumes/nfs", "nfs4"}, {"/nowhere/u/volumes/cifs", "cifs"}}
	if err := m.unmountAll(t.Context(), points); err != nil {
		t.Error(err)
	}
	if want := []string{"/nowhere/u/volumes/nfs", "/nowhere/u/volumes/cifs"}; !slices.Equal(asked.targets, want) {
		t.Errorf("%q, want %q", asked.targets, want)
	}
}

type unmounts struct{ targets []string }

func (*unmounts) Mount(context.Context, string, string, string, []string) error { return nil }

func (u *unmounts) Unmount(_ context.Context, target string) error {
	u.targets = append(u.targets, target)
	return nil
}
