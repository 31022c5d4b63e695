package rotate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

func TestParseRule(t *testing.T) {
	if r, err := ParseRule(&v1alpha1.FileSink{}); err != nil || r.Size != 64<<20 || r.Keep != 5 || r.Age != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	small := resource.MustParse("1Ki")
	for _, bad := range []v1alpha1.Rotate{{Size: &small}, {Age: &metav1.Duration{Duration: -1}}, {Age: &metav1.Duration{Duration: time.Millisecond}}} {
		if _, err := ParseRule(&v1alpha1.FileSink{Rotate: &bad}); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

// TestAway rotates often at one time: no file takes another's name, and only its own are removed.
func TestAway(t *testing.T) {
	dir := t.TempDir()
	folder, err := NewFolder(dir, "out.log")
	if err != nil {
		t.Fatal(err)
	}
	root, err := folder.Root()
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	other := filepath.Join(dir, "out.20260102T030405Z.log") // of somebody else
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for n := range 10 {
		if err := errors.Join(root.WriteFile("out.log", fmt.Append(nil, n), 0o600), Away(root, "out.log", at, 3)); err != nil {
			t.Fatal(err)
		}
	}
	all, err := Rotated(root, "out.log")
	if err != nil || len(all) != 3 {
		t.Fatal(all, err)
	}
	for i, name := range all {
		if b, err := root.ReadFile(name); string(b) != fmt.Sprint(7+i) || err != nil {
			t.Errorf("%s: %s, %v", name, b, err)
		}
		if got, ok := Time("out.log", name); !ok || got.Sub(at).Abs() > time.Microsecond {
			t.Errorf("%s: %v, %v", name, got, ok)
		}
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
}

func TestLines(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for content, want := range map[string]string{"": "new\n", "a\n": "a\nnew\n", "a\ntorn": "a\nnew\n", "torn": "new\n"} {
		if err := root.WriteFile("f", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := OpenLines(root, "f")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(l.Append([]byte("new\n")), l.Close()); err != nil || l.Size() != int64(len(want)) {
			t.Error(err, l.Size())
		}
		if b, _ := root.ReadFile("f"); string(b) != want {
			t.Errorf("%q became %q, want %q", content, b, want)
		}
	}
}
