package volume_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/volume"
)

// claims is a ClaimReader in memory; what is bound to a claim has its name with "pv-".
type claims struct {
	claims  map[string]*corev1.PersistentVolumeClaim
	volumes map[string]*corev1.PersistentVolume
	labels  map[string]string
	events  []string
	offline bool // nothing answers
}

func (c *claims) OwnNode(context.Context) (*corev1.Node, error) {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: c.labels}}, nil
}

func (c *claims) PersistentVolumeClaim(_ context.Context, _, name string) (*corev1.PersistentVolumeClaim, error) {
	if c.offline {
		return nil, errors.New("the cloud is out of reach")
	}
	if claim := c.claims[name]; claim != nil {
		return claim, nil
	}
	return nil, missing{}
}

func (c *claims) PersistentVolume(_ context.Context, name string) (*corev1.PersistentVolume, error) {
	if pv := c.volumes[name]; pv != nil && !c.offline {
		return pv, nil
	}
	return nil, missing{}
}

// bind makes a claim that is bound to a volume with this source.
func (c *claims) bind(name string, src corev1.PersistentVolumeSource) *corev1.PersistentVolume {
	uid := types.UID("uid-" + name)
	c.claims[name] = &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: uid},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "pv-" + name}, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-" + name}, Spec: corev1.PersistentVolumeSpec{
		ClaimRef: &corev1.ObjectReference{UID: uid}, PersistentVolumeSource: src,
	}}
	c.volumes[pv.Name] = pv
	return pv
}

func local(path string) corev1.PersistentVolumeSource {
	return corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}}
}

// disks is a Manager on a machine whose mounts are shared, with claims, and a folder
// of the host with data in it.
func disks(t *testing.T) (m *volume.Manager, c *claims, root, data string) {
	t.Helper()
	root = mountShared(t)
	data = filepath.Join(root, "srv", "data")
	if err := os.MkdirAll(filepath.Join(data, "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "deep", "precious"), []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	c = &claims{claims: map[string]*corev1.PersistentVolumeClaim{}, volumes: map[string]*corev1.PersistentVolume{}}
	return newDisks(t, root, c), c, root, data
}

func newDisks(t *testing.T, root string, c *claims) *volume.Manager {
	t.Helper()
	m, err := volume.New(volume.Config{
		Root: filepath.Join(root, "edged"), Source: &source{}, Claims: c, OwnNode: c.OwnNode,
		Event: func(_ *corev1.Pod, reason, message string) { c.events = append(c.events, reason+": "+message) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// claimPod is a pod that mounts claims, each as a volume of that name.
func claimPod(uid string, names ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: uid, UID: types.UID(uid)}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main"}}}}
	for _, name := range names {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}})
		p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: name, MountPath: "/" + name})
	}
	return p
}

func keepsData(t *testing.T, data string) {
	t.Helper()
	if text, err := os.ReadFile(filepath.Join(data, "deep", "precious")); err != nil || string(text) != "1" {
		t.Errorf("the volume lost its data: %q, %v", text, err)
	}
}

func lookup(t *testing.T, m *volume.Manager, p *corev1.Pod, name string) volume.Info {
	t.Helper()
	info, err := m.Lookup(p, name)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// TestLocalVolume binds a local volume, keeps it over a restart of the agent without
// the cloud, and leaves the host's folder as it was.
func TestLocalVolume(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	m, c, root, data := disks(t)
	c.bind("data", local(data))
	p := claimPod("u", "data")
	if _, err := m.Lookup(p, "data"); err == nil {
		t.Error("a volume that is not set up is given to containers")
	}
	mustSetUp(t, m, p)
	info := lookup(t, m, p, "data")
	if info.ReadOnly || info.Device || !info.Relabel {
		t.Errorf("%+v", info)
	}
	if all := m.Usage(t.Context(), p); len(all) != 1 || all[0].Claim != "data" || all[0].Bytes == 0 || all[0].BytesUsed+all[0].BytesAvailable != all[0].Bytes {
		t.Errorf("usage %+v", all)
	}
	if err := os.WriteFile(filepath.Join(info.Path, "written"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(data, "written")); err != nil {
		t.Errorf("what a pod writes is not in the volume: %v", err)
	}
	c.offline = true
	m = newDisks(t, root, c)
	if _, err := m.Refresh(t.Context(), p, nil); err != nil {
		t.Errorf("a pod that runs, after a restart, without the cloud: %v", err)
	}
	if again := lookup(t, m, p, "data"); again != info {
		t.Errorf("%+v, was %+v", again, info)
	}
	if sub, err := m.SubPath(p, volume.Use{Container: "main", Volume: "data", SubPath: "deep"}); err != nil {
		t.Error(err)
	} else {
		if _, err := os.Stat(filepath.Join(sub, "precious")); err != nil {
			t.Error(err)
		}
	}
	if err := m.TearDown("u"); err != nil {
		t.Error(err)
	}
	keepsData(t, data)
	if left, _ := filepath.Glob(root + "/edged/pods/*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestPersistentVolumesAreNeverEmptied ends a pod at each moment that a crash may leave
// behind, with a disk of the host mounted inside the volume, and looks whether the
// data is still there.
func TestPersistentVolumesAreNeverEmptied(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	for _, tt := range []struct {
		name  string
		crash func(t *testing.T, target, data string)
	}{
		{"set up whole", func(*testing.T, string, string) {}},
		{"before the mount", func(t *testing.T, target, _ string) {
			if err := unix.Unmount(target, 0); err != nil {
				t.Fatal(err)
			}
		}},
		{"mounted twice", func(t *testing.T, target, data string) {
			if err := unix.Mount(data, target, "", unix.MS_BIND, ""); err != nil {
				t.Fatal(err)
			}
		}},
		{"a recursive bind", func(t *testing.T, target, data string) {
			if err := unix.Mount(data, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
				t.Fatal(err)
			}
		}},
		{"a file is open", func(t *testing.T, target, _ string) {
			f, err := os.Open(filepath.Join(target, "deep", "precious"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
		}},
		{"the record is lost", func(t *testing.T, target, _ string) {
			if err := os.RemoveAll(filepath.Join(target, "../../../volume-records")); err != nil {
				t.Fatal(err)
			}
		}},
		{"the record is cut off", func(t *testing.T, target, _ string) {
			if err := os.WriteFile(filepath.Join(target, "../../../volume-records/data.json"), []byte(`{"vol`), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, c, root, data := disks(t)
			plugIn(t, filepath.Join(data, "usb"))
			c.bind("data", local(data))
			p := claimPod("u", "data")
			mustSetUp(t, m, p)
			tt.crash(t, lookup(t, m, p, "data").Path, data)
			m = newDisks(t, root, c)
			if err := m.TearDown("u"); err != nil {
				t.Error(err)
			}
			keepsData(t, data)
			if _, err := os.Stat(filepath.Join(data, "usb", "precious")); err != nil {
				t.Errorf("the host lost its disk: %v", err)
			}
			if left, _ := filepath.Glob(root + "/edged/pods/*"); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestSetUpAfterCrash completes what a crash cut off, at each of its moments.
func TestSetUpAfterCrash(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	m, c, root, data := disks(t)
	c.bind("data", local(data))
	p := claimPod("u", "data")
	mustSetUp(t, m, p)
	path := lookup(t, m, p, "data").Path
	if err := unix.Unmount(path, 0); err != nil { // the machine was started anew
		t.Fatal(err)
	}
	m = newDisks(t, root, c)
	if _, err := m.Refresh(t.Context(), p, nil); err != nil {
		t.Fatal(err)
	}
	keepsData(t, lookup(t, m, p, "data").Path)
	record := filepath.Join(root, "edged/pods/u/volume-records/data.json")
	text, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(record, []byte(strings.Replace(string(text), `"done":true`, `"done":false`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	mustSetUp(t, m, p)
	if n := mountsOn(t, path); n != 1 {
		t.Errorf("%d mounts, want one", n)
	}
}

func mountsOn(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), " "+path+" ")
}

// TestReadOnlyVolume: what the claim, the volume or its options make read-only takes
// no writes, and keeps its other flags.
func TestReadOnlyVolume(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	m, c, _, data := disks(t)
	c.bind("claim", local(data))
	c.bind("option", local(data)).Spec.MountOptions = []string{"ro,noexec"}
	p := claimPod("u", "claim", "option")
	p.Spec.Volumes[0].PersistentVolumeClaim.ReadOnly = true
	mustSetUp(t, m, p)
	if info := lookup(t, m, p, "claim"); !info.ReadOnly || info.Relabel {
		t.Errorf("%+v", info)
	}
	for _, name := range []string{"claim", "option"} {
		if err := os.WriteFile(filepath.Join(lookup(t, m, p, name).Path, "x"), nil, 0o600); !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(lookup(t, m, p, "option").Path, &st); err != nil || st.Flags&unix.ST_NOEXEC == 0 {
		t.Errorf("flags %x, %v", st.Flags, err)
	}
	if err := os.WriteFile(filepath.Join(data, "x"), nil, 0o600); err != nil {
		t.Errorf("the host's folder became read-only: %v", err)
	}
	c.bind("odd", local(data)).Spec.MountOptions = []string{"uid=7"}
	if _, err := m.SetUp(t.Context(), claimPod("v", "odd"), nil); err == nil || !strings.Contains(err.Error(), `"uid=7"`) {
		t.Error(err)
	}
}

// TestHostPathVolume is a persistent volume that is a path of the host: nothing is
// mounted, and it is made where its type says so.
func TestHostPathVolume(t *testing.T) {
	root := t.TempDir()
	c := &claims{claims: map[string]*corev1.PersistentVolumeClaim{}, volumes: map[string]*corev1.PersistentVolume{}}
	m := newDisks(t, root, c)
	create, dir := corev1.HostPathDirectoryOrCreate, corev1.HostPathDirectory
	data := filepath.Join(root, "pvc-1")
	c.bind("data", corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: data, Type: &create}}).Annotations = map[string]string{"pv.beta.kubernetes.io/gid": "1234"}
	c.bind("gone", corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: data + "-gone", Type: &dir}})
	p := claimPod("u", "data")
	mustSetUp(t, m, p)
	if info := lookup(t, m, p, "data"); info.Path != data || info.Relabel {
		t.Errorf("%+v", info)
	}
	if got := m.Groups("u"); len(got) != 1 || got[0] != "1234" {
		t.Errorf("groups %q", got)
	}
	if err := os.WriteFile(filepath.Join(data, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.TearDown("u"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(data, "precious")); err != nil {
		t.Errorf("the volume lost its data: %v", err)
	}
	_, err := m.SetUp(t.Context(), claimPod("v", "gone"), nil)
	if err == nil || !strings.HasPrefix(err.Error(), `MountVolume.SetUp failed for volume "pv-gone" : hostPath type check failed`) {
		t.Error(err)
	}
}

// TestWaitingForAClaim has the words of a kubelet for what a pod waits for.
func TestWaitingForAClaim(t *testing.T) {
	root := t.TempDir()
	c := &claims{claims: map[string]*corev1.PersistentVolumeClaim{}, volumes: map[string]*corev1.PersistentVolume{}, labels: map[string]string{"zone": "a"}}
	m := newDisks(t, root, c)
	waits := func(uid, name, want string) {
		t.Helper()
		_, err := m.SetUp(t.Context(), claimPod(uid, name), nil)
		if err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
		if _, err := m.Lookup(claimPod(uid, name), name); err == nil {
			t.Error("the volume is given to containers")
		}
	}
	processing := func(name, text string) string {
		return fmt.Sprintf("Unable to attach or mount volumes: unmounted volumes=[%[1]s], unattached volumes=[], failed to process volumes=[%[1]s]: error processing PVC ns/%[1]s: %[2]s", name, text)
	}
	waits("u", "data", processing("data", `failed to fetch PVC from API server: persistentvolumeclaims "data" not found`))
	pv := c.bind("data", local(filepath.Join(root, "none")))
	c.claims["data"].Status.Phase = corev1.ClaimPending
	waits("u", "data", processing("data", "PVC is not bound"))
	c.claims["data"].Status.Phase = corev1.ClaimBound
	delete(c.volumes, "pv-data")
	waits("u", "data", processing("data", `failed to fetch PV pv-data from API server: persistentvolumes "pv-data" not found`))
	c.volumes["pv-data"] = pv
	waits("u", "data", `MountVolume.NewMounter initialization failed for volume "pv-data" : path "`+root+`/none" does not exist`)
	pv.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "zone", Operator: corev1.NodeSelectorOpIn, Values: []string{"b"}}},
	}}}}
	waits("u", "data", `MountVolume.NodeAffinity check failed for volume "pv-data" : no matching NodeSelectorTerms`)
	unused := claimPod("w", "none")
	unused.Spec.Containers[0].VolumeMounts = nil
	if _, err := m.SetUp(t.Context(), unused, nil); err != nil {
		t.Errorf("a volume that no container uses: %v", err)
	}
}

// TestReadWriteOncePod gives a volume to one pod at a time.
func TestReadWriteOncePod(t *testing.T) {
	root := t.TempDir()
	c := &claims{claims: map[string]*corev1.PersistentVolumeClaim{}, volumes: map[string]*corev1.PersistentVolume{}}
	m := newDisks(t, root, c)
	c.bind("data", corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: root}}).Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
	mustSetUp(t, m, claimPod("u", "data"))
	mustSetUp(t, m, claimPod("u", "data"))
	_, err := m.SetUp(t.Context(), claimPod("v", "data"), nil)
	if want := `MountVolume.SetUp failed for volume "pv-data" : volume uses the ReadWriteOncePod access mode and is already in use by another pod`; err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	if err := m.TearDown("u"); err != nil {
		t.Fatal(err)
	}
	mustSetUp(t, m, claimPod("v", "data"))
}

// TestFSGroup gives a volume to the pod's group: all of it, or nothing where the
// policy says that the root decides; and only for the first pod that has it.
func TestFSGroup(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	m, c, root, data := disks(t)
	c.bind("data", local(data))
	outside := filepath.Join(root, "outside")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(data, "link")); err != nil {
		t.Fatal(err)
	}
	withGroup := func(uid string, gid int64, policy corev1.PodFSGroupChangePolicy) *corev1.Pod {
		p := claimPod(uid, "data")
		p.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: &gid, FSGroupChangePolicy: &policy}
		return p
	}
	is := func(path string, gid uint32, mode fs.FileMode) {
		t.Helper()
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Sys().(*syscall.Stat_t).Gid; got != gid || info.Mode()&(fs.ModePerm|fs.ModeSetgid) != mode {
			t.Errorf("%s: group %d, mode %s, want %d and %s", path, got, info.Mode(), gid, mode)
		}
	}
	file := filepath.Join(data, "deep", "precious")
	mustSetUp(t, m, withGroup("u", 2000, corev1.FSGroupChangeAlways))
	is(file, 2000, 0o660)
	is(filepath.Dir(file), 2000, 0o775|fs.ModeSetgid)
	is(data, 2000, 0o775|fs.ModeSetgid)
	is(outside, 0, 0o600)

	mustSetUp(t, m, withGroup("v", 3000, corev1.FSGroupChangeAlways)) // beside the first
	is(file, 2000, 0o660)
	if want := "AlreadyMountedVolume: The requested fsGroup is 3000, but the volume pv-data has GID 2000. The volume may not be shareable."; len(c.events) != 1 || c.events[0] != want {
		t.Errorf("events %q", c.events)
	}
	for _, uid := range []string{"u", "v"} {
		if err := m.TearDown(uid); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	mustSetUp(t, m, withGroup("w", 2000, corev1.FSGroupChangeOnRootMismatch))
	is(file, 2000, 0o600) // the root has the group: nothing was looked at
	if err := m.TearDown("w"); err != nil {
		t.Fatal(err)
	}
	mustSetUp(t, m, withGroup("x", 2001, corev1.FSGroupChangeOnRootMismatch))
	is(file, 2001, 0o660)
}

// TestBlockVolume hands a device of the host to a pod, and refuses what is none.
func TestBlockVolume(t *testing.T) {
	needMount(t)
	root := t.TempDir()
	c := &claims{claims: map[string]*corev1.PersistentVolumeClaim{}, volumes: map[string]*corev1.PersistentVolume{}}
	m := newDisks(t, root, c)
	device := filepath.Join(root, "disk")
	if err := unix.Mknod(device, unix.S_IFBLK|0o600, int(unix.Mkdev(7, 200))); err != nil {
		t.Skipf("no device can be made here: %v", err)
	}
	block := corev1.PersistentVolumeBlock
	use := func(uid, name string) *corev1.Pod {
		p := claimPod(uid, name)
		p.Spec.Containers[0].VolumeMounts, p.Spec.Containers[0].VolumeDevices = nil, []corev1.VolumeDevice{{Name: name, DevicePath: "/dev/xvda"}}
		return p
	}
	c.bind("data", local(device)).Spec.VolumeMode = &block
	p := use("u", "data")
	p.Spec.Volumes[0].PersistentVolumeClaim.ReadOnly = true
	mustSetUp(t, m, p)
	if info := lookup(t, m, p, "data"); info.Path != device || !info.Device || !info.ReadOnly {
		t.Errorf("%+v", info)
	}
	c.bind("folder", local(root)).Spec.VolumeMode = &block
	if _, err := m.SetUp(t.Context(), use("v", "folder"), nil); err == nil || !strings.Contains(err.Error(), "is not a block device") {
		t.Error(err)
	}
	c.bind("mounted", local(device))
	if _, err := m.SetUp(t.Context(), claimPod("w", "mounted"), nil); err == nil || !strings.Contains(err.Error(), "mount it on the host") {
		t.Error(err)
	}
	for _, uid := range []string{"u", "v", "w"} {
		if err := m.TearDown(uid); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(device); err != nil {
		t.Error(err)
	}
}
