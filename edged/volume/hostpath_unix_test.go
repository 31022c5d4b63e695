//go:build unix

package volume

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestHostPathIsMadeAtItsPath has somebody put links where a hostPath volume is to
// be made: what is there is used through links, and nothing is made through them.
func TestHostPathIsMadeAtItsPath(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.Mkdir(at("folder"), 0o700), os.WriteFile(at("file"), nil, 0o600), syscall.Mkfifo(at("fifo"), 0o600),
		os.Symlink("folder", at("to-folder")), os.Symlink("file", at("to-file")), os.Symlink("fifo", at("to-fifo")),
		os.Symlink("victim", at("dangling")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	const folder, file = corev1.HostPathDirectoryOrCreate, corev1.HostPathFileOrCreate
	for _, x := range []struct {
		kind corev1.HostPathType
		path string
		says string // of the error; "" for none
	}{
		{file, "file", ""},
		{file, "to-file", ""},
		{file, "to-folder/new", ""},
		{file, "new", ""},
		{file, "dangling", "a link to what does not exist: make the target on the node, or remove the link"},
		{file, "fifo", "is not a FileOrCreate"},
		{file, "to-fifo", "is not a FileOrCreate"},
		{file, "to-folder", "is not a FileOrCreate"},
		{file, "none/new", "no such file"},
		{folder, "to-folder", ""},
		{folder, "to-folder/a/b", ""},
		{folder, "a/b", ""},
		{folder, "dangling", "a link to what does not exist: make the target on the node, or remove the link"},
		{folder, "dangling/a", "a link to what does not exist"},
		{folder, "to-file", "is not a DirectoryOrCreate"},
		{"Pipe", "file", `hostPath type "Pipe" is not known`},
		{"Pipe", "none", "no such file"},
	} {
		err := hostPath(&corev1.HostPathVolumeSource{Path: at(x.path), Type: &x.kind})
		if x.says == "" && err != nil || x.says != "" && (err == nil || !strings.Contains(err.Error(), x.says)) {
			t.Errorf("%s %s: %v, want %q", x.kind, x.path, err, x.says)
		}
	}
	if _, err := os.Lstat(at("victim")); err == nil {
		t.Error("something was made where a link leads")
	}
}

// TestHostPathLostRace has something appear between the look and the making.
func TestHostPathLostRace(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	// It would wait for a writer for ever if it opened what is there.
	if err := makeHostPath(fifo, corev1.HostPathFileOrCreate); err != nil {
		t.Errorf("what is there is for the check that follows: %v", err)
	}
}
