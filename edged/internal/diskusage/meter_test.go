//go:build unix

package diskusage

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// du returns what the program du says, in bytes and inodes.
func du(t testing.TB, dir string) Usage {
	t.Helper()
	ask := func(args ...string) uint64 {
		out, err := exec.Command("du", append(args, dir)...).Output()
		if err != nil {
			t.Skip("no du that counts inodes: ", err)
		}
		word, _, _ := strings.Cut(string(out), "\t")
		n, err := strconv.ParseUint(word, 10, 64)
		must(t, err)
		return n
	}
	return Usage{ask("-sx", "--block-size=1"), ask("-sx", "--inodes")}
}

// tree makes a folder with all kinds of special files.
func tree(t testing.TB, folders, files int) string {
	t.Helper()
	dir := t.TempDir()
	for i := range folders {
		sub := filepath.Join(dir, fmt.Sprintf("d%d", i), "deep", "er")
		must(t, os.MkdirAll(sub, 0o755))
		for j := range files {
			must(t, os.WriteFile(filepath.Join(sub, strconv.Itoa(j)), make([]byte, 5000), 0o600))
		}
	}
	must(t, os.WriteFile(filepath.Join(dir, "one"), make([]byte, 10000), 0o600))
	must(t, os.Link(filepath.Join(dir, "one"), filepath.Join(dir, "two")))
	must(t, os.Symlink("/usr", filepath.Join(dir, "link")))
	sparse, err := os.Create(filepath.Join(dir, "sparse"))
	must(t, err)
	must(t, sparse.Truncate(1<<30))
	must(t, sparse.Close())
	return dir
}

func TestAsDu(t *testing.T) {
	dir := tree(t, 3, 40)
	if got, want := New().Measure(t.Context(), []string{dir}, 1<<20)[dir], du(t, dir); got != want {
		t.Errorf("%+v, du says %+v", got, want)
	}
}

// TestLargeFolder: a folder is larger than the bound of a pass. It is measured over
// several passes, in which its known size grows, and small folders beside it are measured
// in each.
func TestLargeFolder(t *testing.T) {
	large, small := tree(t, 20, 50), tree(t, 1, 10)
	want, wantSmall := du(t, large), du(t, small)
	m := New()
	var before Usage
	passes := 0
	for before != want {
		if passes++; passes > 20 {
			t.Fatalf("after %d passes %+v of %+v", passes, before, want)
		}
		got := m.Measure(t.Context(), []string{large, small}, 300)
		if got[large].Bytes < before.Bytes || got[large].Bytes > want.Bytes {
			t.Fatalf("pass %d: %+v after %+v", passes, got[large], before)
		}
		if got[small] != wantSmall {
			t.Errorf("pass %d: the small folder has %+v, want %+v", passes, got[small], wantSmall)
		}
		before = got[large]
	}
	if passes < 3 {
		t.Errorf("%d passes for a thousand files, 300 at a time", passes)
	}
	// A folder that has shrunk is seen as smaller only after the next complete walk.
	must(t, os.RemoveAll(filepath.Join(large, "d0")))
	want = du(t, large)
	for range 2 * passes {
		before = m.Measure(t.Context(), []string{large, small}, 300)[large]
	}
	if before != want {
		t.Errorf("%+v, want %+v", before, want)
	}
}

// TestFlatFolder: one folder has very many files, and a pass does not read all of them.
func TestFlatFolder(t *testing.T) {
	dir := t.TempDir()
	for i := range 1000 {
		must(t, os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o600))
	}
	w := &walk{dir: dir}
	defer w.close()
	for pass := 1; ; pass++ {
		n, ended := w.run(300)
		if n > 300 || pass > 10 {
			t.Fatalf("%d files in pass %d", n, pass)
		}
		if ended {
			break
		}
	}
	if u := w.usage(); u != du(t, dir) {
		t.Errorf("%+v, du says %+v", u, du(t, dir))
	}
	m := New()
	m.Measure(t.Context(), []string{dir}, 100)
	if m.walks[dir].open == nil {
		t.Error("nothing is left open between passes")
	}
	m.Close()
	if len(m.walks) != 0 {
		t.Error("something is left after Close")
	}
}

// TestChanges: folders appear, disappear, and become files.
func TestChanges(t *testing.T) {
	dir := t.TempDir()
	m := New()
	gone := filepath.Join(dir, "gone")
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, make([]byte, 4096), 0o600))
	link := filepath.Join(dir, "link")
	for range 2 {
		got := m.Measure(t.Context(), []string{gone, file, link}, 100)
		if got[gone] != (Usage{}) || got[file] != (Usage{}) {
			t.Errorf("%+v", got)
		}
	}
	must(t, os.Mkdir(gone, 0o755))
	must(t, os.WriteFile(filepath.Join(gone, "f"), make([]byte, 8192), 0o600))
	if got := m.Measure(t.Context(), []string{gone}, 100); got[gone].Bytes < 8192 || got[gone].Inodes != 2 {
		t.Errorf("%+v", got)
	}
	if len(m.walks) != 1 {
		t.Errorf("%d folders are remembered", len(m.walks))
	}
	must(t, os.RemoveAll(gone))
	if got := m.Measure(t.Context(), []string{gone}, 100); got[gone] != (Usage{}) {
		t.Errorf("%+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := m.Measure(ctx, []string{dir}, 100); got[dir] != (Usage{}) {
		t.Errorf("after the end: %+v", got)
	}
	if got := m.Measure(t.Context(), nil, 100); len(got) != 0 || len(m.walks) != 0 {
		t.Errorf("%+v", got)
	}
}

// TestNoLinkIsFollowed: a pod replaces a folder that waits to be read by a link.
func TestNoLinkIsFollowed(t *testing.T) {
	dir, outside := t.TempDir(), tree(t, 1, 50)
	must(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755))
	w := &walk{dir: dir}
	w.run(2) // reads dir itself; a waits
	if len(w.pending) != 1 || w.pending[0] != "a" {
		t.Fatalf("%q", w.pending)
	}
	must(t, os.RemoveAll(filepath.Join(dir, "a")))
	must(t, os.Symlink(outside, filepath.Join(dir, "a")))
	if n, ended := w.run(100); n != 1 || !ended || w.usage().Inodes != 2 {
		t.Errorf("%d files, %+v", n, w.usage())
	}
}

// BenchmarkMeasure is the cost of a pass over 2,000 files.
func BenchmarkMeasure(b *testing.B) {
	dir := tree(b, 20, 100)
	m := New()
	for b.Loop() {
		m.Measure(b.Context(), []string{dir}, 20_000)
	}
}
