package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Marker is the environment variable that every started program and its
// children carry; its value is the table's folder.
const Marker = "EDGEKIT_CLUSTER"

// Spec describes a program to start.
type Spec struct {
	Name string   // unique in the table; names the record and the log file
	Path string   // the executable
	Args []string // without the program's name
	Env  []string // added to this program's own environment, "KEY=value"
	// NetNS is a file that holds a network namespace for the program to run
	// in; empty is this program's own.
	NetNS string
}

// Record is one program that was started.
type Record struct {
	identity
	Name    string    `json:"name"`
	Command []string  `json:"command"`
	Started time.Time `json:"started"`
}

// Alive reports whether the program still runs.
func (r Record) Alive() bool { return r.alive() }

// Outdated reports whether the program's file was replaced or removed since it
// was started.
func (r Record) Outdated() bool {
	exe, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(r.PID), "exe"))
	return err == nil && strings.HasSuffix(exe, " (deleted)")
}

// ProcessID is the program's process id.
func (r Record) ProcessID() int { return r.PID }

// Table is the set of programs started under one folder.
type Table struct {
	dir string
}

// NewTable returns the table in the folder dir, which must be absolute. The
// folder need not exist yet.
func NewTable(dir string) (*Table, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("process: folder %q is not absolute", dir)
	}
	return &Table{dir: filepath.Clean(dir)}, nil
}

// Start runs the program in a session of its own and records it. A program of
// that name that still runs is an error.
func (t *Table) Start(spec Spec) (Record, error) {
	if old, err := t.Lookup(spec.Name); err == nil && old.Alive() {
		return Record{}, fmt.Errorf("process: %s already runs as pid %d", spec.Name, old.PID)
	}
	for _, d := range []string{t.recordDir(), t.logDir()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return Record{}, fmt.Errorf("process: %w", err)
		}
	}
	log, err := os.OpenFile(t.LogFile(spec.Name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return Record{}, fmt.Errorf("process: %w", err)
	}
	defer log.Close()
	command := append([]string{spec.Path}, spec.Args...)
	if spec.NetNS != "" {
		command = append([]string{"nsenter", "--net=" + spec.NetNS, "--"}, command...)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = slices.Concat(os.Environ(), spec.Env, []string{Marker + "=" + t.dir})
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return Record{}, fmt.Errorf("process: start %s: %w", spec.Name, err)
	}
	id, err := identify(cmd.Process.Pid)
	if err != nil {
		return Record{}, errors.Join(fmt.Errorf("process: %s ended at once: %w", spec.Name, err), cmd.Process.Kill())
	}
	// Nobody waits: the program may outlive this one. alive reaps it if it
	// ends first.
	if err := cmd.Process.Release(); err != nil {
		return Record{}, fmt.Errorf("process: %w", err)
	}
	r := Record{identity: id, Name: spec.Name, Command: command, Started: time.Now()}
	return r, t.save(r)
}

// Lookup reads the record of a program, or an error that wraps fs.ErrNotExist.
func (t *Table) Lookup(name string) (Record, error) {
	b, err := os.ReadFile(t.recordFile(name))
	if err != nil {
		return Record{}, fmt.Errorf("process: %w", err)
	}
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return Record{}, fmt.Errorf("process: record %s: %w", t.recordFile(name), err)
	}
	return r, nil
}

// List returns all records in the order of their start. A record that cannot be
// read (cut short by a crash) is left out; KillStrays finds its process.
func (t *Table) List() ([]Record, error) {
	entries, err := os.ReadDir(t.recordDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("process: %w", err)
	}
	var all []Record
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			continue
		}
		if r, err := t.Lookup(name); err == nil {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b Record) int { return a.Started.Compare(b.Started) })
	return all, nil
}

// Stop asks the program to end with SIGTERM, ends it with SIGKILL when it has
// not obeyed within grace, waits until it is gone and forgets it. A program
// that does not run or was never started is no error.
func (t *Table) Stop(ctx context.Context, name string, grace time.Duration) error {
	r, err := t.Lookup(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := end(ctx, r.identity, grace); err != nil {
		return fmt.Errorf("process: stop %s: %w", name, err)
	}
	return t.forget(name)
}

// Kill ends the program at once with SIGKILL, as a power cut would, and
// forgets it.
func (t *Table) Kill(ctx context.Context, name string) error { return t.Stop(ctx, name, 0) }

// KillStrays ends every process that carries the table's marker, among them
// what was started and not recorded, and children that outlived their parent.
func (t *Table) KillStrays(ctx context.Context) error {
	strays, err := marked(t.dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range strays {
		if err := end(ctx, id, 0); err != nil {
			errs = append(errs, fmt.Errorf("process: stray %d: %w", id.PID, err))
		}
	}
	return errors.Join(errs...)
}

// LogFile is where the program's output goes.
func (t *Table) LogFile(name string) string { return filepath.Join(t.logDir(), name+".log") }

func (t *Table) recordDir() string { return filepath.Join(t.dir, "run") }
func (t *Table) logDir() string    { return filepath.Join(t.dir, "logs") }

func (t *Table) recordFile(name string) string { return filepath.Join(t.recordDir(), name+".json") }

// save writes the record whole or not at all.
func (t *Table) save(r Record) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("process: %w", err)
	}
	tmp := t.recordFile(r.Name) + ".tmp"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("process: %w", err)
	}
	if err := os.Rename(tmp, t.recordFile(r.Name)); err != nil {
		return fmt.Errorf("process: %w", err)
	}
	return nil
}

func (t *Table) forget(name string) error {
	if err := os.Remove(t.recordFile(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("process: %w", err)
	}
	return nil
}

// end ends one process and waits until it is gone.
func end(ctx context.Context, id identity, grace time.Duration) error {
	if grace > 0 && id.alive() {
		if err := signal(id, unix.SIGTERM); err != nil {
			return err
		}
		if waitGone(ctx, id, grace) {
			return nil
		}
	}
	if !id.alive() {
		return nil
	}
	if err := signal(id, unix.SIGKILL); err != nil {
		return err
	}
	const reaped = 10 * time.Second // a killed process goes at once unless the kernel holds it
	if !waitGone(ctx, id, reaped) {
		return fmt.Errorf("pid %d is still there %v after SIGKILL", id.PID, reaped)
	}
	return nil
}

// signal sends through a pidfd that is checked after it was opened, so that no
// other process can be hit.
func signal(id identity, sig unix.Signal) error {
	fd, err := unix.PidfdOpen(id.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if !id.alive() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

func waitGone(ctx context.Context, id identity, atMost time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for id.alive() {
		select {
		case <-ctx.Done():
			return !id.alive()
		case <-tick.C:
		}
	}
	return true
}
