package upgrade

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fullDisk takes no writes.
type fullDisk struct {
	osDisk
	err error
}

func (d fullDisk) write(string, []byte) error {
	return &fs.PathError{Op: "write", Path: "boot.new", Err: d.err}
}

// machine is a node with a program in both slots.
type machine struct {
	dir    string
	base   string
	disk   disk
	ran    []string // programs that were started, with their environment's slot
	refuse map[string]error
}

// newMachine makes a node whose record is made by change from one that has v1 as the base, v2
// committed in slot a and v3 on trial in slot b.
func newMachine(t *testing.T, change func(*record)) *machine {
	t.Helper()
	dir := t.TempDir()
	m := &machine{dir: filepath.Join(dir, SlotsDir), base: filepath.Join(dir, "base"), disk: osDisk{}, refuse: make(map[string]error)}
	releases := make(map[Slot]Release)
	for slot, version := range map[Slot]string{Base: "v1", A: "v2", B: "v3"} {
		name := filepath.Join(m.dir, string(slot), Program)
		if slot == Base {
			name = m.base
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(version), 0o755)); err != nil {
			t.Fatal(err)
		}
		digest, err := fileDigest(name)
		if err != nil {
			t.Fatal(err)
		}
		releases[slot] = Release{Version: version, Digest: digest, Size: 2, StoreFormat: 2}
	}
	base, err := identify(m.base)
	if err != nil {
		t.Fatal(err)
	}
	base.Release = releases[Base]
	delete(releases, Base)
	r := record{Phase: Trial, Active: A, Candidate: B, ID: "job", From: "v2", Base: base, Slots: releases}
	if change != nil {
		change(&r)
	}
	if err := save(osDisk{}, m.dir, r); err != nil {
		t.Fatal(err)
	}
	return m
}

// boot starts the base and returns the program that runs in the end: base, a or b.
func (m *machine) boot(command bool) (string, Start) {
	stop := errors.New("replaced")
	b := booter{dir: m.dir, self: m.base, command: command, disk: m.disk, now: func() time.Time { return time.Unix(0, 0) }}
	b.exec = func(path string, _, env []string) error {
		slot := filepath.Base(filepath.Dir(path))
		if err := m.refuse[slot]; err != nil {
			return err
		}
		if !slices.Contains(env, envSlot+"="+slot) || !slices.Contains(env, envBase+"="+m.base) {
			return errors.New("wrong environment")
		}
		m.ran = append(m.ran, slot)
		panic(stop)
	}
	var s Start
	ended := func() (replaced bool) {
		defer func() {
			if p := recover(); p != nil {
				if p != any(stop) {
					panic(p)
				}
				replaced = true
			}
		}()
		s = b.boot()
		return false
	}()
	if ended {
		return m.ran[len(m.ran)-1], s
	}
	return "base", s
}

// TestBoot: what runs, and what the record says then, whatever the state of the disk.
func TestBoot(t *testing.T) {
	file := func(m *machine, slot string) string { return filepath.Join(m.dir, slot, Program) }
	for name, test := range map[string]struct {
		change  func(*record)
		damage  func(*testing.T, *machine)
		command bool
		want    string
		phase   Phase
		active  Slot
		reason  string // of the outcome
	}{
		"trial":             {want: "b", phase: Trial, active: A},
		"trial, a command":  {command: true, want: "a", phase: Trial, active: A},
		"unclean start":     {change: func(r *record) { r.Tries, r.Started = 1, true }, want: "a", phase: RolledBack, active: A, reason: "neither committed nor in order"},
		"clean stops":       {change: func(r *record) { r.Tries = 2 }, want: "b", phase: Trial, active: A},
		"tries used up":     {change: func(r *record) { r.Tries = 3 }, want: "a", phase: RolledBack, active: A, reason: "started 3 times"},
		"committed":         {change: func(r *record) { r.Phase, r.Candidate = Committed, Base; delete(r.Slots, B) }, want: "a", phase: Committed, active: A},
		"base is committed": {change: func(r *record) { r.Phase, r.Candidate, r.Active = RolledBack, Base, Base }, want: "base", phase: RolledBack},
		"program missing":   {damage: func(t *testing.T, m *machine) { remove(t, file(m, "b")) }, want: "a", phase: RolledBack, active: A, reason: "no such file"},
		"slot missing": {damage: func(t *testing.T, m *machine) {
			remove(t, filepath.Join(m.dir, "b"))
			remove(t, filepath.Join(m.dir, "a"))
		},
			want: "base", phase: RolledBack, reason: "the program v2 in slot a is not run"},
		"program cut off": {damage: func(t *testing.T, m *machine) { rewrite(t, file(m, "b"), "v") }, want: "a", phase: RolledBack, active: A, reason: "1 bytes and should have 2"},
		"program changed": {damage: func(t *testing.T, m *machine) { rewrite(t, file(m, "b"), "vX") }, want: "a", phase: RolledBack, active: A, reason: "its digest is not the one that was verified"},
		"a link": {damage: func(t *testing.T, m *machine) {
			remove(t, file(m, "b"))
			if err := os.Symlink("/bin/sh", file(m, "b")); err != nil {
				t.Fatal(err)
			}
		}, want: "a", phase: RolledBack, active: A, reason: "not a regular file"},
		"others may write": {damage: func(t *testing.T, m *machine) {
			if err := os.Chmod(file(m, "b"), 0o777); err != nil {
				t.Fatal(err)
			}
		}, want: "a", phase: RolledBack, active: A, reason: "may be written by others"},
		"other architecture": {damage: func(_ *testing.T, m *machine) { m.refuse["b"] = syscall.ENOEXEC }, want: "a", phase: RolledBack, active: A, reason: "exec format error"},
		"none starts": {damage: func(_ *testing.T, m *machine) { m.refuse["b"], m.refuse["a"] = syscall.ENOEXEC, syscall.EACCES }, want: "base", phase: RolledBack,
			reason: "permission denied"},
		"committed does not start": {change: func(r *record) { r.Phase, r.Candidate = Committed, Base; delete(r.Slots, B) },
			damage: func(_ *testing.T, m *machine) { m.refuse["a"] = syscall.ENOEXEC }, want: "base", phase: RolledBack, reason: "exec format error"},
		"committed does not start, there is one before": {change: func(r *record) { r.Phase, r.Candidate, r.Previous = Committed, Base, B },
			damage: func(_ *testing.T, m *machine) { m.refuse["a"] = syscall.ENOEXEC }, want: "b", phase: RolledBack, active: B, reason: "exec format error"},
		"full disk":                 {damage: func(_ *testing.T, m *machine) { m.disk = fullDisk{err: syscall.ENOSPC} }, want: "a", phase: Trial, active: A},
		"read-only disk":            {damage: func(_ *testing.T, m *machine) { m.disk = fullDisk{err: syscall.EROFS} }, want: "a", phase: Trial, active: A},
		"read-only, unclean start":  {change: func(r *record) { r.Tries, r.Started = 1, true }, damage: func(_ *testing.T, m *machine) { m.disk = fullDisk{err: syscall.EROFS} }, want: "a", phase: Trial, active: A},
		"package has replaced base": {damage: func(t *testing.T, m *machine) { rewrite(t, m.base, "v5") }, want: "base", phase: RolledBack, reason: "package's program was replaced"},
		"package is larger":         {change: func(r *record) { r.Phase, r.Candidate = Committed, Base; delete(r.Slots, B) }, damage: func(t *testing.T, m *machine) { rewrite(t, m.base, "v50") }, want: "base", phase: Idle},
		"same package again":        {damage: func(t *testing.T, m *machine) { remove(t, m.base); rewrite(t, m.base, "v1") }, want: "b", phase: Trial, active: A},
		"record cut off": {damage: func(t *testing.T, m *machine) {
			rewrite(t, filepath.Join(m.dir, bootFile), "edgekit boot")
			remove(t, filepath.Join(m.dir, prevFile))
		}, want: "base", phase: Idle},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, test.change)
			if test.damage != nil {
				test.damage(t, m)
			}
			got, _ := m.boot(test.command)
			r, err := load(m.dir)
			if got != test.want || err != nil || r.Phase != test.phase || r.Active != test.active {
				t.Errorf("%s runs, the record says %s, active %s, %v; want %s, %s, %s", got, r.Phase, r.Active, err, test.want, test.phase, test.active)
			}
			reason := ""
			if r.Outcome != nil {
				reason = r.Outcome.Reason
			}
			if !strings.Contains(reason, test.reason) || test.reason == "" && reason != "" {
				t.Errorf("the reason is %q, want %q", reason, test.reason)
			}
			if got == "b" && r.Phase == Trial && !r.Started {
				t.Error("the start of the trial is not counted")
			}
		})
	}
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.RemoveAll(name); err != nil {
		t.Fatal(err)
	}
}

func rewrite(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestBootBySlotItself: the program of a slot that somebody starts by hand is not taken for a base
// that a package has replaced.
func TestBootBySlotItself(t *testing.T) {
	m := newMachine(t, nil)
	if !within(filepath.Join(m.dir, "a", Program), m.dir) || within(m.base, m.dir) || within(m.base, "/does/not/exist") {
		t.Error("slots are not recognized")
	}
}

// TestSlotStart: a slot's program learns whether it is on trial, and keeps the end of its log then.
func TestSlotStart(t *testing.T) {
	m := newMachine(t, func(r *record) { r.Tries, r.Started = 1, true })
	b := booter{dir: m.dir, disk: m.disk}
	if s := b.inSlot(A, m.base, "full"); s.Trial || s.Slot != A || s.Problem != "full" {
		t.Errorf("the committed program: %+v", s)
	}
	s := b.inSlot(B, m.base, "")
	defer s.tail.close()
	var console strings.Builder
	w := s.Log(&console)
	for range 3000 {
		if _, err := w.Write([]byte(strings.Repeat("x", 50) + "\n")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write([]byte("the end\n")); err != nil {
		t.Fatal(err)
	}
	text, err := readTail(m.dir)
	if err != nil || len(text) > MaxLog || len(text) < MaxLog/2 || !strings.HasSuffix(text, "x\nthe end\n") || !s.Trial || console.Len() != 3000*51+8 {
		t.Errorf("%d bytes, %v, trial %v", len(text), err, s.Trial)
	}
}

// BenchmarkBootNone is the start of a node without upgrades.
func BenchmarkBootNone(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		booter{dir: filepath.Join(dir, SlotsDir), self: os.Args[0]}.boot()
	}
}

// BenchmarkBootTrial is the check of a program of 34 MiB at the start of a trial.
func BenchmarkBootTrial(b *testing.B) {
	name := filepath.Join(b.TempDir(), Program)
	if err := os.WriteFile(name, make([]byte, 34<<20), 0o755); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(34 << 20)
	for b.Loop() {
		if _, err := fileDigest(name); err != nil {
			b.Fatal(err)
		}
	}
}
