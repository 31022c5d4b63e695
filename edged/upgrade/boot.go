package upgrade

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Environment variables by which the base passes on to a slot's program what it is. Boot
// removes them.
const (
	envSlot = "EDGEKIT_UPGRADE_SLOT"
	envBase = "EDGEKIT_UPGRADE_BASE"
	envWhy  = "EDGEKIT_UPGRADE_PROBLEM" // Start.Problem of the base
)

// BootConfig says how a program starts. DataDir is required.
type BootConfig struct {
	DataDir string // of the node
	// Command says that this start is one of a short command, not of the agent: Boot then runs
	// the committed program, and neither counts nor writes anything.
	Command bool
}

// Start is what Boot found. The zero value is a base without upgrades.
type Start struct {
	Slot    Slot   // the place of this program
	Base    string // path of the base
	Trial   bool   // this program is on trial
	Asked   bool   // this process was asked to end (SIGTERM, SIGINT) while it started or ended a trial: it must end
	Problem string // why the program of a slot does not run although the record says so; "" for nothing

	dir  string
	tail *tail // the log of the trial; nil without one
}

// Boot replaces this process by the program that the boot record says, or returns if that is
// this one. It is the first thing that a program does: before it reads flags or settings, which
// may be those of a newer program. It never fails: when a program of a slot cannot run, Boot
// returns in the base and Start says why.
func Boot(cfg BootConfig) Start {
	return booter{dir: filepath.Join(cfg.DataDir, SlotsDir), command: cfg.Command, disk: osDisk{}, exec: execProgram, now: time.Now, args: os.Args}.start()
}

// booter is Boot with what tests replace.
type booter struct {
	dir     string // the slots
	self    string // path of this program
	command bool
	disk    disk
	exec    func(path string, args, env []string) error
	now     func() time.Time
	args    []string
}

// start finds out whether this is the base or the program of a slot, and goes on as that.
func (b booter) start() Start {
	slot, inSlot := os.LookupEnv(envSlot)
	base, problem := os.Getenv(envBase), os.Getenv(envWhy)
	for _, name := range []string{envSlot, envBase, envWhy} {
		_ = os.Unsetenv(name) // it can only fail for a wrong name
	}
	self, err := os.Executable()
	if err != nil {
		return Start{dir: b.dir, Problem: "the path of this program is not known: " + err.Error()}
	}
	b.self = strings.TrimSuffix(self, " (deleted)")
	if inSlot && Slot(slot).valid() {
		return b.inSlot(Slot(slot), base, problem)
	}
	if within(b.self, b.dir) { // started by hand
		return Start{Slot: Slot(filepath.Base(filepath.Dir(b.self))), dir: b.dir, Problem: "this program of a slot was not started by the base"}
	}
	return b.boot()
}

// inSlot is the start of a slot's program.
func (b booter) inSlot(slot Slot, base, problem string) Start {
	s := Start{Slot: slot, Base: base, Problem: problem, dir: b.dir}
	if b.command {
		return s
	}
	r, err := load(b.dir)
	if err != nil {
		s.Problem = err.Error()
	}
	if s.Trial = r.Phase == Trial && r.Candidate == slot && r.Started; s.Trial {
		s.tail = openTail(b.dir)
	}
	return s
}

// boot is the start of the base.
func (b booter) boot() Start {
	s := Start{Base: b.self, dir: b.dir}
	r, err := load(b.dir)
	if err != nil {
		s.Problem = err.Error()
		b.save(&s, r) // so that it is said once
	}
	if r.Active == Base && r.Phase != Trial {
		return s
	}
	same, touched := r.Base.isFile(b.self)
	switch {
	case !same && b.command:
		return s
	case !same:
		b.save(&s, r.replaced(b.now()))
		s.Problem = "this program is not the one of the boot record: a package has replaced it, and the slots do not count any more"
		return s
	case touched != nil && !b.command:
		r = r.clone()
		r.Base = *touched
		b.save(&s, r)
	}
	if r.Phase == Trial && !b.command {
		if r = b.try(&s, r); s.Asked {
			return s
		}
	}
	return b.runActive(s, r)
}

// try starts the trial. It returns the record to go on with if it does not. A signal that asks this
// process to end while it counts the start takes the count back: else it would be like a crash. One
// that comes while it rolls the trial back ends the process after that.
func (b booter) try(s *Start, r record) record {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, os.Interrupt, syscall.SIGTERM)
	defer func() {
		signal.Stop(asked)
		s.Asked = len(asked) > 0 // nobody else has got it
	}()
	var reason string
	switch {
	case r.Started:
		reason = "it was started, and ended neither committed nor in order: it crashed, or the power was cut"
	case r.Tries >= MaxTries:
		reason = fmt.Sprintf("it was started %d times without being committed", r.Tries)
	default:
		reason = b.problem(r, r.Candidate, fullCheck)
	}
	if reason == "" {
		next, err := r.started()
		if err == nil {
			err = save(b.disk, b.dir, next)
		}
		if err != nil {
			s.Problem = fmt.Sprintf("the trial of %s is not started, because it cannot be counted: %v", r.Slots[r.Candidate].Version, err)
			return r
		}
		signal.Stop(asked) // what comes later ends the process, and what came before is in the channel
		if len(asked) > 0 {
			b.save(s, r)
			return r
		}
		r = next
		reason = fmt.Sprintf("it cannot be started: %v", b.run(r.Candidate, ""))
	}
	s.Problem = reason
	next, err := r.rolledBack(reason, b.now())
	if err != nil {
		return r
	}
	b.save(s, next)
	return next
}

// runActive starts the committed program. It returns when that is the base.
func (b booter) runActive(s Start, r record) Start {
	for r.Active != Base {
		problem := b.problem(r, r.Active, quickCheck)
		if problem == "" {
			problem = fmt.Sprintf("it cannot be started: %v", b.run(r.Active, s.Problem))
		}
		s.Problem = fmt.Sprintf("the program %s in slot %s is not run: %s", r.release(r.Active).Version, r.Active, problem)
		r = r.dropped("", s.Problem, b.now())
		if !b.command {
			b.save(&s, r)
		}
	}
	return s
}

// save writes the record. If that fails the program goes on: the next start comes to the same
// decision.
func (b booter) save(s *Start, r record) {
	if b.command {
		return
	}
	if err := save(b.disk, b.dir, r); err != nil {
		s.Problem = strings.TrimSuffix(s.Problem+"; the boot record cannot be written: "+err.Error(), "; ")
	}
}

// run replaces this process by the program of a slot. It returns only if that fails.
func (b booter) run(slot Slot, problem string) error {
	env := append(os.Environ(), envSlot+"="+string(slot), envBase+"="+b.self, envWhy+"="+short(problem))
	return b.exec(filepath.Join(b.dir, string(slot), Program), b.args, env)
}

// depth says how much of a program is checked.
type depth int

const (
	quickCheck depth = iota // size, mode and owner
	fullCheck               // and the digest
)

// problem says why the program in a slot must not run; "" for nothing.
func (b booter) problem(r record, slot Slot, how depth) string {
	name, want := filepath.Join(b.dir, string(slot), Program), r.Slots[slot]
	info, err := os.Lstat(name)
	switch {
	case err != nil:
		return err.Error()
	case !info.Mode().IsRegular():
		return name + " is not a regular file"
	case info.Size() != want.Size:
		return fmt.Sprintf("%s has %d bytes and should have %d", name, info.Size(), want.Size)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Sprintf("%s may be written by others (mode %s)", name, info.Mode().Perm())
	case !ownedByUs(info):
		return name + " belongs to another user"
	case how == quickCheck:
		return ""
	}
	if digest, err := fileDigest(name); err != nil {
		return err.Error()
	} else if digest != want.Digest {
		return name + " is damaged: its digest is not the one that was verified"
	}
	return ""
}

// isFile reports whether the file is the recorded base. If it is although its time or inode is
// another, touched is the new identity.
func (f baseFile) isFile(name string) (same bool, touched *baseFile) {
	now, err := identify(name)
	if err != nil {
		return false, nil
	}
	if now.Path == f.Path && now.Size == f.Size && now.ModTime.Equal(f.ModTime) && now.Inode == f.Inode {
		return true, nil
	}
	if now.Size != f.Size {
		return false, nil
	}
	if now.Digest, err = fileDigest(name); err != nil || now.Digest != f.Digest {
		return false, nil
	}
	f.Path, f.ModTime, f.Inode = now.Path, now.ModTime, now.Inode
	return true, &f
}

// identify describes a file without reading it.
func identify(name string) (baseFile, error) {
	info, err := os.Stat(name)
	if err != nil {
		return baseFile{}, err
	}
	return baseFile{Path: name, ModTime: info.ModTime().UTC(), Inode: inode(info), Release: Release{Size: info.Size()}}, nil
}

// fileDigest is the digest of a file's content.
func fileDigest(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

// within reports whether a file is in a slot of dir.
func within(name, dir string) bool {
	parent, err := os.Stat(filepath.Dir(filepath.Dir(name)))
	if err != nil {
		return false
	}
	slots, err := os.Stat(dir)
	return err == nil && os.SameFile(parent, slots)
}

// Stopped notes that this process has ended in order though no Upgrader ran in it, so that a trial
// is started again and not rolled back. Without a trial it does nothing.
func (s Start) Stopped() error {
	if !s.Trial {
		return nil
	}
	r, err := load(s.dir)
	if err == nil && r.Phase == Trial && r.Started && r.Candidate == s.Slot {
		if r, err = r.stopped(); err == nil {
			err = save(osDisk{}, s.dir, r)
		}
	}
	if err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	return nil
}

// Restart replaces this process by the base, which starts the program that the boot record then
// says. The program must have ended in order before. It returns only if that fails; a supervisor
// must then start the program again.
func (s Start) Restart() error {
	base := s.Base
	if base == "" {
		return fmt.Errorf("%w: the path of the base is not known", ErrUnsupported)
	}
	return execProgram(base, os.Args, os.Environ())
}
