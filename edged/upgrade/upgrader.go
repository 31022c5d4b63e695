package upgrade

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/edgekit/edgekit/edged/internal/lifecycle"
)

// Config sets up an Upgrader. DataDir and Release are required.
type Config struct {
	DataDir string  // of the node, as for Boot
	Start   Start   // what Boot returned
	Release Release // of this program: version and formats; its digest and size are read when needed
	Fetcher Fetcher // nil: Download is refused
	// Linked reports whether there is a link to the cloud. nil means that there never is one.
	Linked func() bool
	// Pods returns the pods that this node is to run, by namespace/name, and whether each is ready.
	// Static pods count. nil means that there are none.
	Pods func() map[string]bool
	// Check returns what else is wrong with the node, for example that its store takes no writes. A
	// trial is not healthy while it is not nil. A nil Check finds nothing.
	Check  func() error
	Logger *slog.Logger     // nil discards
	Now    func() time.Time // for the times in outcomes; nil means time.Now
}

// Upgrader replaces the program of this node. See the package for its guarantees.
type Upgrader struct {
	cfg   Config
	dir   string
	disk  disk
	guard lifecycle.Guard

	noExec    func(dir string) bool
	downloads sync.Mutex    // held by Download
	restart   chan struct{} // closed when the program must start again
	once      sync.Once

	mu       sync.Mutex
	loaded   bool
	rec      record
	loadErr  error
	problem  string // of the trial
	switched bool   // Switch has begun a trial, which the next process is
	failed   bool   // the trial has failed, also if that could not be written
	progress [2]int64
	changed  chan struct{} // closed at each change
}

// New makes an Upgrader.
func New(cfg Config) (*Upgrader, error) {
	switch {
	case cfg.DataDir == "":
		return nil, errors.New("upgrade: Config.DataDir is required")
	case cfg.Release.Version == "":
		return nil, errors.New("upgrade: Config.Release.Version is required")
	}
	if cfg.Linked == nil {
		cfg.Linked = func() bool { return false }
	}
	if cfg.Pods == nil {
		cfg.Pods = func() map[string]bool { return nil }
	}
	if cfg.Check == nil {
		cfg.Check = func() error { return nil }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Upgrader{
		cfg: cfg, dir: filepath.Join(cfg.DataDir, SlotsDir), disk: osDisk{}, noExec: noExec,
		restart: make(chan struct{}), changed: make(chan struct{}),
	}, nil
}

// State returns the state of upgrades. It reads the boot record at the first call.
func (u *Upgrader) State() State {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.stateLocked()
}

func (u *Upgrader) stateLocked() State {
	u.loadLocked()
	s := State{
		Phase: u.rec.Phase, ID: u.rec.ID, Running: u.cfg.Start.Slot, Active: u.rec.Active, Version: u.cfg.Release.Version,
		Tries: u.rec.Tries, Problem: u.problem, Done: u.progress[0], Total: u.progress[1],
	}
	if u.rec.Phase == Verified || u.rec.Phase == Trial {
		candidate := u.rec.Slots[u.rec.Candidate]
		s.Candidate = &candidate
	}
	switch {
	case u.rec.Phase == Trial:
		s.Before = u.rec.release(u.rec.Active).Version
	case u.rec.Active != Base:
		s.Before = u.rec.release(u.rec.Previous).Version
	}
	if u.rec.Outcome != nil {
		outcome := *u.rec.Outcome
		s.Outcome = &outcome
	}
	return s
}

// Watch returns the state now and after changes, until ctx ends. It never blocks an upgrade:
// who reads late gets the latest state only.
func (u *Upgrader) Watch(ctx context.Context) iter.Seq[State] {
	return func(yield func(State) bool) {
		for {
			u.mu.Lock()
			state, changed := u.stateLocked(), u.changed
			u.mu.Unlock()
			if ctx.Err() != nil || !yield(state) {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

// Log returns the end of the log of the latest trial, at most MaxLog bytes; "" if there was none.
// It is the log of the program that was rolled back, if one was.
func (u *Upgrader) Log() (string, error) { return readTail(u.dir) }

// Restart makes Run return ErrRestart. A runner calls it after Switch or Rollback, when it has
// stored its own state.
func (u *Upgrader) Restart() { u.once.Do(func() { close(u.restart) }) }

// loadLocked reads the boot record once.
func (u *Upgrader) loadLocked() {
	if u.loaded {
		return
	}
	u.loaded = true
	if u.rec, u.loadErr = load(u.dir); u.loadErr != nil {
		u.cfg.Logger.Error("the boot record is damaged; the base runs at the next start", "err", u.loadErr)
	}
}

// step makes a step durable and then visible.
func (u *Upgrader) step(next func(record) (record, error)) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.loadLocked()
	r, err := next(u.rec)
	if err != nil {
		return err
	}
	if err := save(u.disk, u.dir, r); err != nil {
		return fmt.Errorf("upgrade: the boot record cannot be written: %w", err)
	}
	u.rec = r
	u.notifyLocked()
	return nil
}

// current is the record now.
func (u *Upgrader) current() record {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.loadLocked()
	return u.rec
}

func (u *Upgrader) notifyLocked() {
	close(u.changed)
	u.changed = make(chan struct{})
}

func (u *Upgrader) setProblem(problem string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if problem != u.problem {
		u.problem = problem
		u.notifyLocked()
	}
}

// base describes the base's file as it is on the disk.
func (u *Upgrader) base() (baseFile, error) {
	path := u.cfg.Start.Base
	if path == "" {
		var err error
		if path, err = os.Executable(); err != nil {
			return baseFile{}, err
		}
	}
	f, err := identify(path)
	if err != nil {
		return baseFile{}, err
	}
	size := f.Size
	f.Release = u.cfg.Release
	f.Size = size
	f.Digest, err = fileDigest(path)
	return f, err
}
