package upgrade

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// termVariable makes the test program the program of a node: a folder, whose program on trial
// gets SIGTERM while it starts.
const termVariable = "EDGEKIT_UPGRADE_TEST_TERM"

// termDisk asks its process to end at the first write.
type termDisk struct {
	osDisk
	once *sync.Once
}

func (d termDisk) write(name string, content []byte) error {
	d.once.Do(func() { _ = syscall.Kill(os.Getpid(), syscall.SIGTERM) })
	return d.osDisk.write(name, content)
}

// termProgram is a node's program that is asked to end while the start of a trial is counted. It
// returns the exit code.
func termProgram() int {
	dir := os.Getenv(termVariable)
	disk := termDisk{once: new(sync.Once)}
	s := booter{dir: filepath.Join(dir, SlotsDir), disk: disk, exec: execProgram, now: time.Now, args: os.Args}.start()
	if s.Asked {
		fmt.Println("asked", s.Problem)
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	settings := bootSettings(disk, filepath.Join(dir, SlotsDir), time.Now)
	fmt.Printf("slot %s, trial %v, settings %v\n", s.Slot, s.Trial, settings.Trial)
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		return 3
	}
	if err := errors.Join(s.Stopped(), settings.Stopped()); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// TestTermWhileItStarts: a SIGTERM that comes when the start of a trial is counted ends the program
// in order: the trial is not rolled back.
func TestTermWhileItStarts(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no program is replaced here")
	}
	for name, test := range map[string]struct {
		program, settings bool
		want              string
	}{
		"a program": {program: true, want: "asked"}, "settings": {settings: true, want: "slot base, trial false, settings true"}, "both": {true, true, "asked"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			base := filepath.Join(dir, "base")
			if err := os.WriteFile(base, must(os.ReadFile(must(os.Executable()))), 0o755); err != nil {
				t.Fatal(err)
			}
			u := must(New(Config{DataDir: dir, Start: Start{Base: base}, Fetcher: copyFetcher{killDisk{dir: dir}}, Release: Release{Version: "v1", StoreFormat: 1}}))
			if err := errors.Join(os.WriteFile(filepath.Join(dir, "ops"), nil, 0o600), os.WriteFile(filepath.Join(dir, "kill"), nil, 0o600)); err != nil {
				t.Fatal(err)
			}
			if test.program {
				slot := must(u.Download(t.Context(), Request{ID: "job", Source: "self", Version: "v2"}))
				if err := u.Switch(t.Context(), slot, Health{}); err != nil {
					t.Fatal(err)
				}
			}
			if test.settings {
				s := must(NewSettings(SettingsConfig{DataDir: dir}))
				if err := s.Switch(t.Context(), "job", filepath.Join(dir, "file"), []byte("x: 1\n"), Health{}); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), base)
			cmd.Env = append(os.Environ(), termVariable+"="+dir)
			out, err := cmd.CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != test.want {
				t.Fatalf("%v: %s, want %s", err, out, test.want)
			}
			if r := must(load(filepath.Join(dir, SlotsDir))); test.program && (r.Phase != Trial || r.Started || r.Tries != 0) {
				t.Errorf("%+v", r)
			}
			if r := must(loadSettings(filepath.Join(dir, SlotsDir))); test.settings && (r.Phase != Trial || r.Started) {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestStartStopped: a program on trial that ended in order before its Upgrader ran is started again.
func TestStartStopped(t *testing.T) {
	m := newMachine(t, func(r *record) { r.Started, r.Tries = true, 1 })
	for _, s := range []Start{{}, {Trial: true, Slot: A, dir: m.dir}} { // neither is the trial
		if err := s.Stopped(); err != nil || !must(load(m.dir)).Started {
			t.Errorf("%+v: %v", s, err)
		}
	}
	if err := (Start{Trial: true, Slot: B, dir: m.dir}).Stopped(); err != nil {
		t.Error(err)
	}
	if ran, s := m.boot(false); ran != "b" || s.Problem != "" {
		t.Errorf("%s runs: %+v", ran, s)
	}
}

// TestTermWhileItRollsBack: a SIGTERM that comes while a trial is rolled back at a start ends the program
// too: the program that rolls back is the only one that got the signal.
func TestTermWhileItRollsBack(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no signals like these")
	}
	late := make(chan os.Signal, 1) // so that one that comes late does not end the test
	signal.Notify(late, syscall.SIGTERM)
	defer signal.Stop(late)
	for name, change := range map[string]func(*record){
		"it crashed":        func(r *record) { r.Started, r.Tries = true, 1 },
		"started too often": func(r *record) { r.Tries = MaxTries },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, change)
			m.disk = termDisk{once: new(sync.Once)}
			if ran, s := m.boot(false); ran != "base" || !s.Asked {
				t.Errorf("%s runs, asked to end %v: %s", ran, s.Asked, s.Problem)
			}
			if r := must(load(m.dir)); r.Phase != RolledBack {
				t.Errorf("%+v", r)
			}
		})
	}
}
