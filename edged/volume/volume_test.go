package volume_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/volume"
)

type missing struct{}

func (missing) Error() string  { return "not there" }
func (missing) NotFound() bool { return true }

type source struct {
	maps    map[string]map[string]string
	secrets map[string]map[string][]byte
	end     time.Duration // of tokens, from now; 0 means an hour
}

func (s *source) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	if d, ok := s.maps[name]; ok {
		return &corev1.ConfigMap{Data: d}, nil
	}
	return nil, missing{}
}

func (s *source) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	if d, ok := s.secrets[name]; ok {
		return &corev1.Secret{Data: d}, nil
	}
	return nil, missing{}
}

func (s *source) Token(_ context.Context, ns, sa string, req *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	return &authenticationv1.TokenRequest{Spec: req.Spec, Status: authenticationv1.TokenRequestStatus{
		Token: fmt.Sprintf("%s/%s/%s", ns, sa, req.Spec.BoundObjectRef.Name), ExpirationTimestamp: metav1.NewTime(time.Now().Add(cmp.Or(s.end, time.Hour))),
	}}, nil
}

func setUp(t *testing.T) (*volume.Manager, *source, string) {
	t.Helper()
	s := &source{maps: map[string]map[string]string{}, secrets: map[string]map[string][]byte{}}
	root := t.TempDir()
	m, err := volume.New(volume.Config{Root: root, Source: s})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.TearDown("u"); err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob(root + "/pods/*"); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
	return m, s, root
}

func pod(volumes ...corev1.Volume) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", Labels: map[string]string{"a": "b"}},
		Spec:       corev1.PodSpec{Volumes: volumes, Containers: []corev1.Container{{Name: "main"}}},
	}
}

func configMap(name string, items ...corev1.KeyToPath) corev1.Volume {
	return corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Items: items}}}
}

func read(t *testing.T, m *volume.Manager, p *corev1.Pod, name string) string {
	t.Helper()
	dir, err := m.Path(p, "v")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return "error: " + errors.Unwrap(err).Error()
	}
	return string(b)
}

func mustSetUp(t *testing.T, m *volume.Manager, p *corev1.Pod) time.Time {
	t.Helper()
	prepared, err := m.SetUp(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return prepared.Refresh
}

func TestConfigMapSwaps(t *testing.T) {
	m, s, _ := setUp(t)
	mode := int32(0o400)
	s.maps["c"] = map[string]string{"k": "1", "gone": "x"}
	p := pod(configMap("c"))
	mustSetUp(t, m, p)
	dir, _ := m.Path(p, "v")
	before, _ := os.Readlink(dir + "/..data")
	mustSetUp(t, m, p)
	if again, _ := os.Readlink(dir + "/..data"); again != before {
		t.Error("unchanged content was written again")
	}
	if link, _ := os.Readlink(dir + "/k"); link != "..data/k" {
		t.Errorf("k -> %s", link)
	}
	s.maps["c"] = map[string]string{"k": "2"}
	mustSetUp(t, m, p)
	if read(t, m, p, "k") != "2" || !strings.HasPrefix(read(t, m, p, "gone"), "error") {
		t.Error("the update did not arrive whole")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 3 { // ..data, its folder, k
		t.Errorf("%v", entries)
	}
	p = pod(configMap("c", corev1.KeyToPath{Key: "k", Path: "deep/er/k", Mode: &mode}))
	mustSetUp(t, m, p)
	info, err := os.Stat(dir + "/deep/er/k")
	if err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("%v %v", info, err)
	}
}

func TestMissingContent(t *testing.T) {
	m, s, _ := setUp(t)
	s.maps["c"] = map[string]string{"k": "1"}
	yes := true
	optional := configMap("none")
	optional.ConfigMap.Optional = &yes
	for want, v := range map[string]corev1.Volume{
		`MountVolume.SetUp failed for volume "v" : configmap "none" not found`:                      configMap("none"),
		`MountVolume.SetUp failed for volume "v" : configmap references non-existent config key: x`: configMap("c", corev1.KeyToPath{Key: "x", Path: "x"}),
		`MountVolume.SetUp failed for volume "v" : path "../k" does not stay inside the volume`:     configMap("c", corev1.KeyToPath{Key: "k", Path: "../k"}),
		`MountVolume.SetUp failed for volume "v" : path "..data/k" does not stay inside the volume`: configMap("c", corev1.KeyToPath{Key: "k", Path: "..data/k"}),
		"": optional,
	} {
		_, err := m.SetUp(t.Context(), pod(v), nil)
		if got := fmt.Sprint(err); got != want && !(want == "" && err == nil) {
			t.Errorf("%s; want %s", got, want)
		}
		var ve *volume.Error
		if err != nil && !errors.As(err, &ve) {
			t.Errorf("%v is no *volume.Error", err)
		}
	}
}

func TestProjected(t *testing.T) {
	m, s, _ := setUp(t)
	s.secrets["s"] = map[string][]byte{"password": {1, 2}}
	uid, seconds := int64(4321), int64(3600)
	v := corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}}},
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &seconds}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
			{Path: "mem", ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: "main", Resource: "limits.memory", Divisor: resource.MustParse("1Mi")}},
		}}},
	}}}}
	p := pod(v)
	p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"memory": resource.MustParse("5Mi")}
	if os.Geteuid() == 0 { // chown needs root
		p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &uid}
	}
	next := mustSetUp(t, m, p)
	if d := time.Until(next); d < 45*time.Minute || d > 50*time.Minute {
		t.Errorf("token is due in %s", d)
	}
	for name, want := range map[string]string{"password": "\x01\x02", "token": "ns/default/p", "labels": `a="b"`, "mem": "5"} {
		if got := read(t, m, p, name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	dir, _ := m.Path(p, "v")
	if info, err := os.Stat(dir + "/token"); err != nil || os.Geteuid() == 0 && info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}

func TestEmptyDirKeepsContent(t *testing.T) {
	m, _, _ := setUp(t)
	p := pod(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	mustSetUp(t, m, p)
	dir, _ := m.Path(p, "v")
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o777 {
		t.Fatalf("%v %v", info, err)
	}
	if err := os.WriteFile(dir+"/x", []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustSetUp(t, m, p)
	if read(t, m, p, "x") != "mine" {
		t.Error("content is lost")
	}
}

func TestHostPath(t *testing.T) {
	m, _, root := setUp(t)
	if err := os.WriteFile(root+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path string
		kind corev1.HostPathType
		ok   bool
	}{
		{"/file", corev1.HostPathFile, true}, {"/file", corev1.HostPathDirectory, false}, {"/none", corev1.HostPathDirectory, false},
		{"/none", corev1.HostPathUnset, true}, {"/made/deep", corev1.HostPathDirectoryOrCreate, true}, {"/made/f", corev1.HostPathFileOrCreate, true},
		{"/file", corev1.HostPathSocket, false}, {"/file", corev1.HostPathBlockDev, false}, {"/file", "Odd", false},
	} {
		p := pod(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: root + tt.path, Type: &tt.kind}}})
		if _, err := m.SetUp(t.Context(), p, nil); (err == nil) != tt.ok {
			t.Errorf("%s %s: %v", tt.path, tt.kind, err)
		}
	}
}

// Mounting needs root and CAP_SYS_ADMIN.
func needMount(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
}

func TestSubPath(t *testing.T) {
	needMount(t)
	m, s, root := setUp(t)
	s.maps["c"] = map[string]string{"k": "1"}
	p := pod(configMap("c"), corev1.Volume{Name: "e", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	mustSetUp(t, m, p)
	file, err := m.SubPath(p, volume.Use{Container: "main", Volume: "v", SubPath: "k"})
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(file); string(b) != "1" {
		t.Errorf("%q", b)
	}
	s.maps["c"] = map[string]string{"k": "2"}
	mustSetUp(t, m, p)
	if file, err = m.SubPath(p, volume.Use{Container: "main", Volume: "v", SubPath: "k"}); err != nil { // a restart sees the new content
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(file); string(b) != "2" {
		t.Errorf("%q", b)
	}
	base, _ := m.Path(p, "e")
	if err := os.Chmod(base, fs.ModeSticky|fs.ModeSetgid|0o777); err != nil {
		t.Fatal(err)
	}
	dir, err := m.SubPath(p, volume.Use{Container: "main", Index: 1, Volume: "e", SubPath: "a/b"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/x", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(base + "/a/b/x"); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(base + "/a"); err != nil || info.Mode().String() != "dgtrwxrwxrwx" {
		t.Errorf("a new folder of a subPath is %v, %v", info.Mode(), err)
	}
	for name, target := range map[string]string{"abs": "/etc", "up": "../../..", "host": root} {
		if err := os.Symlink(target, base+"/"+name); err != nil {
			t.Fatal(err)
		}
		if got, err := m.SubPath(p, volume.Use{Container: "main", Index: 2, Volume: "e", SubPath: name}); err == nil {
			t.Errorf("%s leads out to %s", name, got)
		}
	}
	if _, err := m.SubPath(p, volume.Use{Volume: "e", SubPath: "../x"}); err == nil {
		t.Error("../x is allowed")
	}
}

// A folder of the host that is bound below a pod's must survive its end.
func TestTearDownSparesTheHost(t *testing.T) {
	needMount(t)
	m, _, root := setUp(t)
	host := filepath.Join(root, "host")
	if err := os.MkdirAll(host+"/data", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(host+"/data/precious", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := pod(
		corev1.Volume{Name: "h", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: host}}},
		corev1.Volume{Name: "m", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}},
	)
	if _, err := m.SetUp(t.Context(), p, corev1.ResourceList{"memory": resource.MustParse("64Mi")}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.SubPath(p, volume.Use{Container: "main", Volume: "h", SubPath: "data"}); err != nil {
		t.Fatal(err)
	}
	memory, _ := m.Path(p, "m")
	if info, err := os.Stat(memory); err != nil || info.Mode().String() != "dtrwxrwxrwx" {
		t.Errorf("the volume in memory is %v, %v", info.Mode(), err)
	}
	if err := m.TearDown("u"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(host + "/data/precious"); err != nil {
		t.Error(err)
	}
	for _, uid := range []string{"", ".", "..", "a/b", "../x"} {
		if err := m.TearDown(uid); err == nil {
			t.Errorf("uid %q is taken", uid)
		}
	}
}

func ExampleNew() {
	_, err := volume.New(volume.Config{Root: "pods"})
	fmt.Println(err)
	// Output: volume: Config.Root "pods" is not an absolute path
}

// TestTokenTimes looks at tokens of a node that had no link for long, and of one
// whose clock is years behind the cloud's.
func TestTokenTimes(t *testing.T) {
	seconds := int64(7200)
	for name, tt := range map[string]struct {
		end     time.Duration // of the token, from now
		refresh time.Duration
		expired bool
	}{
		"fresh":               {2 * time.Hour, 96 * time.Minute, false},
		"due":                 {time.Minute, time.Minute, false},
		"expired":             {-time.Hour, time.Minute, true},
		"the year is 1970":    {50 * 365 * 24 * time.Hour, 96 * time.Minute, false},
		"expired long before": {-50 * 365 * 24 * time.Hour, time.Minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			m, src, _ := setUp(t)
			src.end = tt.end
			p := pod(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &seconds}},
			}}}})
			got, err := m.SetUp(t.Context(), p, nil)
			if err != nil {
				t.Fatal(err)
			}
			if d := time.Until(got.Refresh); d > tt.refresh || d < tt.refresh-time.Minute || got.Expired.IsZero() == tt.expired {
				t.Errorf("refresh in %s, expired %s", d, got.Expired)
			}
		})
	}
}
