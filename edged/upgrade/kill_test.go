package upgrade

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// killVariable makes the test program the program of a node: a folder. The process kills itself at
// the operation that the file "kill" there names, over all processes.
const killVariable = "EDGEKIT_UPGRADE_TEST_KILL"

// killDisk kills the process before an operation.
type killDisk struct {
	osDisk
	dir string
}

func (d killDisk) step() {
	count := len(must(os.ReadFile(filepath.Join(d.dir, "ops"))))
	f := must(os.OpenFile(filepath.Join(d.dir, "ops"), os.O_APPEND|os.O_WRONLY, 0o600))
	_ = must(f.WriteString("x"))
	f.Close()
	var at int
	if _, err := fmt.Sscan(string(must(os.ReadFile(filepath.Join(d.dir, "kill")))), &at); err == nil && at == count {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // until it comes
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (d killDisk) write(name string, content []byte) error {
	d.step()
	return d.osDisk.write(name, content)
}

func (d killDisk) rename(from, to string) error { d.step(); return d.osDisk.rename(from, to) }
func (d killDisk) remove(name string) error     { d.step(); return d.osDisk.remove(name) }
func (d killDisk) mkdir(name string) error      { d.step(); return d.osDisk.mkdir(name) }
func (d killDisk) syncDir(dir string) error     { d.step(); return d.osDisk.syncDir(dir) }

// copyFetcher makes the new program of the one that runs, with some bytes behind it.
type copyFetcher struct{ disk killDisk }

func (f copyFetcher) Fetch(_ context.Context, r Request, to Destination) (Release, error) {
	f.disk.step()
	name := filepath.Join(to.Dir, Program)
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return Release{}, err
	}
	in := must(os.Open(must(os.Executable())))
	_, err = io.Copy(out, in)
	_, err2 := out.WriteString(r.Version)
	err = errors.Join(err, err2, out.Chmod(0o755), out.Close(), in.Close())
	digest, err2 := fileDigest(name)
	return Release{Version: r.Version, Digest: digest, Size: must(os.Stat(name)).Size(), StoreFormat: 1}, errors.Join(err, err2)
}

// killedProgram is the program of a node: it upgrades to v2 and says what it is. It returns the exit
// code.
func killedProgram() int {
	dir := os.Getenv(killVariable)
	disk := killDisk{dir: dir}
	s := booter{dir: filepath.Join(dir, SlotsDir), disk: disk, exec: execProgram, now: time.Now, args: os.Args}.start()
	version := "v1"
	if self := must(os.ReadFile(must(os.Executable()))); bytes.HasSuffix(self, []byte("v2")) {
		version = "v2"
	}
	fmt.Printf("running %s trial=%v\n", version, s.Trial)
	u := must(New(Config{DataDir: dir, Start: s, Fetcher: copyFetcher{disk}, Release: Release{Version: version, StoreFormat: 1}}))
	u.disk = disk
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for state := range u.Watch(ctx) {
			if state.Phase != Trial || !s.Trial {
				cancel()
			}
		}
	}()
	if err := u.Run(ctx); err != nil {
		fmt.Println("ended:", err)
		return 1
	}
	if o := u.State().Outcome; o != nil {
		fmt.Printf("outcome %s %s\n", o.Phase, o.Reason)
	}
	if version == "v2" {
		return 0
	}
	slot, err := u.Download(context.Background(), Request{ID: "job", Source: "self", Version: "v2"})
	if err == nil {
		err = u.Switch(context.Background(), slot, Health{Stable: time.Millisecond})
	}
	if err == nil {
		err = s.Restart()
	}
	fmt.Println("failed:", err)
	return 1
}

// TestKilledProgram kills a real program (SIGKILL) at every second operation of an upgrade, and starts it
// again as a supervisor does. It always runs, never an uncommitted program twice, and in the end
// the new one.
func TestKilledProgram(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no program is replaced here")
	}
	kills := 0
	for at := 0; ; at += 2 { // TestPowerCuts has all of them; a process takes its time
		dir := must(os.MkdirTemp(t.TempDir(), ""))
		base := filepath.Join(dir, "base")
		self := must(os.ReadFile(must(os.Executable())))
		err := errors.Join(os.WriteFile(base, self, 0o755), os.WriteFile(filepath.Join(dir, "ops"), nil, 0o600), os.WriteFile(filepath.Join(dir, "kill"), fmt.Append(nil, at), 0o600))
		if err != nil {
			t.Fatal(err)
		}
		killed, trials := false, 0
		for lives := 0; ; lives++ {
			cmd := exec.CommandContext(t.Context(), base)
			cmd.Env = append(os.Environ(), killVariable+"="+dir)
			out, err := cmd.CombinedOutput()
			text := string(out)
			if lives > 4 || !strings.Contains(text, "running") && err == nil {
				t.Fatalf("killed at %d: life %d: %v\n%s", at, lives, err, text)
			}
			if strings.Contains(text, "trial=true") {
				trials++
			}
			if err == nil && strings.Contains(text, "running v2") {
				break
			}
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || killed || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("killed at %d: life %d: %v\n%s", at, lives, err, text)
			}
			killed = true
		}
		if trials > 2 { // a killed one, and the one of the second upgrade
			t.Errorf("killed at %d: %d trials", at, trials)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if !killed {
			break
		}
		kills++
	}
	if kills < 12 {
		t.Errorf("only %d kills", kills)
	}
	t.Logf("RESULT upgrade_process_kills %d", kills)
}
