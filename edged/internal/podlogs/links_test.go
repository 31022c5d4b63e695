package podlogs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/runtime"
)

func pod(name, uid string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(uid)}}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

func TestLinks(t *testing.T) {
	root, dir := t.TempDir(), filepath.Join(t.TempDir(), "containers")
	web, other := pod("web", "u1"), pod("other", "u2")
	file := func(p *corev1.Pod) string {
		f := File(root, p, "main", 3)
		if err := errors.Join(os.MkdirAll(filepath.Dir(f), 0o755), os.WriteFile(f, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		return f
	}
	if err := Link(dir, File(root, web, "main", 3), web, "main", "0123"); err != nil || names(t, dir) != "" {
		t.Errorf("a container without a log: %v %s", err, names(t, dir))
	}
	for range 2 {
		if err := errors.Join(Link(dir, file(web), web, "main", "0123"), Link(dir, file(other), other, "main", "4567")); err != nil {
			t.Fatal(err)
		}
	}
	if got := names(t, dir); got != "other_ns_main-4567.log web_ns_main-0123.log" {
		t.Error(got)
	}
	if to, err := os.Readlink(filepath.Join(dir, "web_ns_main-0123.log")); err != nil || to != file(web) {
		t.Error(to, err)
	}
	// Links that others made stay, wherever they point to.
	if err := errors.Join(os.Symlink("/elsewhere/x", filepath.Join(dir, "foreign.log")), os.WriteFile(filepath.Join(dir, "file.log"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := Remove(root, other); err != nil {
		t.Fatal(err)
	}
	if got, err := DanglingLinks(dir, root); err != nil || len(got) != 1 || filepath.Base(got[0]) != "other_ns_main-4567.log" {
		t.Errorf("%q %v", got, err)
	}
	if err := UnlinkPod(dir, root, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u2"}}); err != nil {
		t.Error(err)
	}
	if err := errors.Join(UnlinkPod(dir, root, pod("web", "u9")), UnlinkPod(dir, root, &corev1.Pod{}), Unlink(dir, web, "main", "none")); err != nil {
		t.Error(err)
	}
	if got := names(t, dir); got != "file.log foreign.log web_ns_main-0123.log" {
		t.Error(got)
	}
	if err := UnlinkPod(dir, root, web); err != nil || names(t, dir) != "file.log foreign.log" {
		t.Error(err, names(t, dir))
	}
	// Turned off.
	if err := errors.Join(Link("", file(web), web, "main", "1"), Unlink("", web, "main", "1"), UnlinkPod("", root, web)); err != nil {
		t.Error(err)
	}
	if got, err := DanglingLinks("", root); err != nil || got != nil {
		t.Error(got, err)
	}
}

func TestLongLinkName(t *testing.T) {
	p := pod(strings.Repeat("n", 253), "u")
	if name := linkName(p, "main", strings.Repeat("0", 64)); len(name) != 255 || !strings.HasSuffix(name, ".log") {
		t.Errorf("%d bytes: %s", len(name), name)
	}
}

func TestRemoveFile(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"1.log", "1.log.20260101-000000", "1.log.20260101-000000.gz", "1.log.20260101-000001.tmp", "1.log.mine", "11.log", "11.log.20260101-000000"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveFile(filepath.Join(dir, "1.log")); err != nil || names(t, dir) != "1.log.mine 11.log 11.log.20260101-000000" {
		t.Error(err, names(t, dir))
	}
	if err := RemoveFile(filepath.Join(dir, "none", "1.log")); err != nil {
		t.Error(err)
	}
}

func TestPodOf(t *testing.T) {
	good := runtime.Container{PodUID: "u", Name: "main", Attempt: 2, Labels: map[string]string{runtime.LabelPodNamespace: "ns", runtime.LabelPodName: "web"}}
	if file, ok := ContainerFile("/logs", good); !ok || file != "/logs/ns_web_u/main/2.log" {
		t.Error(file, ok)
	}
	for _, bad := range []string{"", ".", "..", "a/b", "../x", "/"} {
		c := good
		c.Name = bad
		if _, ok := ContainerFile("/logs", c); ok {
			t.Errorf("%q is taken for a name", bad)
		}
	}
}
