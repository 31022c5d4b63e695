package mounthelper_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/edged/volume/mounthelper"
)

// program writes a program that notes its arguments, one a line, and then does what
// the script says.
func program(t *testing.T, script string) (path string, calls func() string) {
	t.Helper()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	path = filepath.Join(dir, "program")
	text := "#!/bin/sh\nprintf '%s|' \"$@\" >>" + dir + "/calls\necho >>" + dir + "/calls\n" + script + "\n"
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path, func() string {
		text, err := os.ReadFile(filepath.Join(dir, "calls"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
}

// TestArguments: what is mounted cannot be taken for an option, and no shell sees it.
func TestArguments(t *testing.T) {
	mount, calls := program(t, "")
	h := mounthelper.New(mounthelper.Config{MountProgram: mount})
	if err := h.Mount(t.Context(), "nfs", "files:/a $(touch x);b", "/target", []string{"ro", "hard"}); err != nil {
		t.Error(err)
	}
	if want := "-t|nfs|-o|ro,hard|--|files:/a $(touch x);b|/target|"; calls() != want {
		t.Errorf("%s, want %s", calls(), want)
	}
	if err := h.Mount(t.Context(), "-bind", "x", "/target", nil); err == nil {
		t.Error("an option is taken for a type")
	}
	if err := h.Mount(t.Context(), "nfs", "x", "target", nil); err == nil {
		t.Error("a relative target is taken")
	}
}

func TestFailure(t *testing.T) {
	mount, _ := program(t, "echo mount.nfs: access denied by server >&2; exit 32")
	err := mounthelper.New(mounthelper.Config{MountProgram: mount}).Mount(t.Context(), "nfs", "files:/srv", "/target", nil)
	if err == nil || !strings.Contains(err.Error(), "access denied by server") || !strings.Contains(err.Error(), "exit status 32") {
		t.Error(err)
	}
	err = mounthelper.New(mounthelper.Config{MountProgram: "edgekit-no-such-program"}).Mount(t.Context(), "nfs", "files:/srv", "/target", nil)
	if err == nil || !strings.Contains(err.Error(), "install it") {
		t.Error(err)
	}
}

// TestContextEndsTheHelperToo: a server that does not answer is waited for no longer
// than the context says, and the program that mount(8) started ends with it.
func TestContextEndsTheHelperToo(t *testing.T) {
	late := filepath.Join(t.TempDir(), "late")
	mount, _ := program(t, "(sleep 60; touch "+late+") & wait")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := mounthelper.New(mounthelper.Config{MountProgram: mount}).Mount(ctx, "nfs", "files:/srv", "/target", nil)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 4*time.Second {
		t.Errorf("%v after %s: the helper held the output open", err, time.Since(began))
	}
}

// TestUnmountIsForced when its server is away.
func TestUnmountIsForced(t *testing.T) {
	umount, calls := program(t, `[ "$1" = -f ] || sleep 60`)
	h := mounthelper.New(mounthelper.Config{UnmountProgram: umount, Graceful: 200 * time.Millisecond})
	if err := h.Unmount(t.Context(), "/target"); err != nil {
		t.Error(err)
	}
	if want := "--|/target|\n-f|-l|--|/target|"; calls() != want {
		t.Errorf("%q, want %q", calls(), want)
	}
	umount, calls = program(t, "echo not mounted; exit 32")
	if err := mounthelper.New(mounthelper.Config{UnmountProgram: umount}).Unmount(t.Context(), "/target"); err == nil || strings.Contains(calls(), "-f") {
		t.Errorf("what fails at once is forced: %v, %q", err, calls())
	}
}

// TestRealMount mounts with the programs of this machine.
func TestRealMount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	if _, err := exec.LookPath("mount"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	h := mounthelper.New(mounthelper.Config{})
	if err := h.Mount(t.Context(), "tmpfs", "tmpfs", dir, []string{"size=64k", "mode=700"}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), make([]byte, 128<<10), 0o600); err == nil {
		t.Error("the options had no effect")
	}
	if err := h.Unmount(t.Context(), dir); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("still mounted: %v, %v", left, err)
	}
}

func ExampleHelper_Mount() {
	h := mounthelper.New(mounthelper.Config{})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = h.Mount(ctx, "nfs", "files.example.com:/srv", "/mnt/files", []string{"ro"})
}
