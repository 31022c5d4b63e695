package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/edgekit/edgekit/edged/internal/lifecycle"
)

// SettingsStart is what BootSettings found.
type SettingsStart struct {
	Trial   bool   // the settings of this start are on trial
	Problem string // why settings were taken back at this start; "" for nothing

	dir string // the slots, if they are on trial
}

// Stopped notes that this process has ended in order though no Settings ran in it, so that a trial
// goes on at the next start. Without a trial it does nothing.
func (s SettingsStart) Stopped() error {
	if !s.Trial || s.dir == "" {
		return nil
	}
	r, err := loadSettings(s.dir)
	if err == nil && r.Phase == Trial && r.Started {
		r.Started = false
		err = saveSettings(osDisk{}, s.dir, r)
	}
	if err != nil {
		return fmt.Errorf("upgrade: settings: %w", err)
	}
	return nil
}

// BootSettings prepares a start of the agent, before its settings are read. New settings that
// are to be tried come into force, and the start is counted. Those of a trial that was
// started and did not end in order go, and the settings before come back. Without such a
// trial it opens one file that is not there.
func BootSettings(dataDir string) SettingsStart {
	return bootSettings(osDisk{}, filepath.Join(dataDir, SlotsDir), time.Now)
}

func bootSettings(d disk, dir string, now func() time.Time) SettingsStart {
	r, err := loadSettings(dir)
	switch {
	case err != nil:
		return SettingsStart{Problem: err.Error()}
	case r.Phase != Trial:
		return SettingsStart{}
	}
	var reason string
	switch {
	case r.Started:
		reason = "edgecore was started with the new settings, and ended neither committed nor in order: it refused them or crashed, or the power was cut"
	case r.Tries >= MaxTries:
		reason = fmt.Sprintf("edgecore was started %d times with the new settings without being committed", r.Tries)
	default:
		next := r
		next.Tries++
		next.Started = true
		// First the record: settings that are in force are always counted.
		if err := saveSettings(d, dir, next); err != nil {
			reason = fmt.Sprintf("the start cannot be counted: %v", err)
		} else if err := r.put(d, dir); err != nil {
			reason = fmt.Sprintf("the new settings cannot be written: %v", err)
		} else {
			return SettingsStart{Trial: true, dir: dir}
		}
	}
	if err := r.restore(d, dir); err != nil {
		return SettingsStart{Trial: true, Problem: fmt.Sprintf("%s; the settings before cannot be brought back: %v", reason, err)}
	}
	s := SettingsStart{Problem: reason}
	if err := saveSettings(d, dir, r.rolledBack(reason, now())); err != nil {
		s.Problem += fmt.Sprintf("; the record cannot be written: %v", err) // the next start does the same again
	}
	return s
}

// SettingsConfig sets up a Settings. DataDir is required; the other fields are as in Config.
type SettingsConfig struct {
	DataDir string
	Start   SettingsStart // what BootSettings returned
	Linked  func() bool
	Pods    func() map[string]bool
	Check   func() error
	Logger  *slog.Logger
	Now     func() time.Time
}

// Settings tries changed settings of this program as an Upgrader tries another program: with a
// restart, a health gate, an explicit commit, and a return to the settings before when the gate
// fails or the program does. All methods may be called by several goroutines.
type Settings struct {
	cfg   SettingsConfig
	dir   string
	disk  disk
	guard lifecycle.Guard

	mu      sync.Mutex
	loaded  bool
	rec     settingsRecord
	problem string
	failed  bool // the trial has failed, also if the settings before could not be brought back
	changed chan struct{}
}

// SettingsState is the state of the latest trial of settings.
type SettingsState struct {
	Phase   Phase // Idle, Trial, Committed or RolledBack
	ID      string
	Problem string   // what keeps the trial from being healthy; "" for nothing
	Outcome *Outcome // of the latest trial; nil if there was none
}

// NewSettings makes a Settings. It does no I/O.
func NewSettings(cfg SettingsConfig) (*Settings, error) {
	if cfg.DataDir == "" {
		return nil, errors.New("upgrade: SettingsConfig.DataDir is required")
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
	return &Settings{cfg: cfg, dir: filepath.Join(cfg.DataDir, SlotsDir), disk: osDisk{}, changed: make(chan struct{})}, nil
}

// Switch has the next start try other content of a file of settings, an absolute path. The
// caller then stops the program in order. ErrBusy: another trial is on. Repeating it with
// the same id changes nothing.
func (s *Settings) Switch(_ context.Context, id, file string, content []byte, h Health) error {
	if err := h.check(); err != nil {
		return err
	}
	switch {
	case !filepath.IsAbs(file):
		return fmt.Errorf("upgrade: settings: %q is no absolute path", file)
	case len(content) > maxSettings || len(id) > maxID:
		return fmt.Errorf("upgrade: settings: more than %d bytes, or too long an id", maxSettings)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loadLocked()
	if s.rec.Phase == Trial {
		if s.rec.ID == id {
			return nil
		}
		return ErrBusy
	}
	next := settingsRecord{
		Phase: Trial, ID: id, File: file, Outcome: s.rec.Outcome,
		trial: trial{Health: h, Link: s.cfg.Linked(), Pods: readyPods(s.cfg.Pods())},
	}
	if info, err := os.Stat(file); err == nil {
		next.Mode = uint32(info.Mode().Perm())
	}
	old, err := readBounded(file, maxSettings)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		next.Absent = true
	case err != nil:
		return fmt.Errorf("upgrade: settings: %w", err)
	}
	if err := s.disk.mkdir(s.dir); err != nil {
		return fmt.Errorf("upgrade: settings: %w", err)
	}
	err = errors.Join(s.disk.write(filepath.Join(s.dir, settingsOld), old), s.disk.write(filepath.Join(s.dir, settingsNew), content), s.disk.syncDir(s.dir))
	if err == nil {
		err = saveSettings(s.disk, s.dir, next)
	}
	if err != nil {
		return fmt.Errorf("upgrade: settings: %w", err)
	}
	s.setLocked(next)
	return nil
}

func (s *Settings) loadLocked() {
	if s.loaded {
		return
	}
	s.loaded = true
	var err error
	if s.rec, err = loadSettings(s.dir); err != nil {
		s.cfg.Logger.Error("what the latest change of the settings was is not known", "err", err)
	}
}

func (s *Settings) setLocked(r settingsRecord) {
	s.rec = r
	close(s.changed)
	s.changed = make(chan struct{})
}

// State returns the state of the latest trial.
func (s *Settings) State() SettingsState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stateLocked()
}

func (s *Settings) stateLocked() SettingsState {
	s.loadLocked()
	return SettingsState{Phase: s.rec.Phase, ID: s.rec.ID, Problem: s.problem, Outcome: s.rec.Outcome}
}

// Watch returns the state now and after changes, until ctx ends.
func (s *Settings) Watch(ctx context.Context) iter.Seq[SettingsState] {
	return func(yield func(SettingsState) bool) {
		for {
			s.mu.Lock()
			state, changed := s.stateLocked(), s.changed
			s.mu.Unlock()
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

// Run judges the trial that this start is in, if it is in one, and commits it, or brings the
// settings before back and returns ErrRestart. Then it waits until ctx ends, and returns nil.
func (s *Settings) Run(ctx context.Context) error {
	if err := s.guard.Start(); err != nil {
		return err
	}
	if p := s.cfg.Start.Problem; p != "" {
		s.cfg.Logger.Error("changed settings were taken back", "reason", p)
	}
	if s.cfg.Start.Trial && s.State().Phase == Trial {
		if err := s.try(ctx); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

// try judges the trial.
func (s *Settings) try(ctx context.Context) error {
	s.mu.Lock()
	r := s.rec
	s.mu.Unlock()
	g := gate{health: r.Health.withDefaults(), begun: time.Now()}
	s.cfg.Logger.Info("changed settings are on trial", "file", r.File, "try", r.Tries, "timeout", g.health.Timeout, "stable", g.health.Stable)
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		problem := s.look(r)
		var say verdict
		switch g, say = g.judge(time.Now(), problem); say {
		case commit:
			err := s.end(r.committed(s.cfg.Now()), nil)
			if err == nil {
				s.cfg.Logger.Info("the changed settings are committed", "file", r.File)
				return nil
			}
			s.cfg.Logger.Warn("the trial of settings cannot be committed yet", "err", err)
			if time.Since(g.begun) >= g.health.Timeout {
				s.setFailed()
				return ErrRestart // the next start takes back what was not committed
			}
		case rollBack:
			s.setFailed()
			if err := s.end(r.rolledBack(g.reason(problem), s.cfg.Now()), r.restore); err != nil {
				s.cfg.Logger.Error("the settings before cannot be brought back; the next start tries again", "err", err)
			}
			return ErrRestart
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// end makes a record durable, after before has done its part.
func (s *Settings) end(next settingsRecord, before func(disk, string) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before != nil {
		if err := before(s.disk, s.dir); err != nil {
			return err
		}
	}
	if err := saveSettings(s.disk, s.dir, next); err != nil {
		return err
	}
	s.problem = ""
	s.setLocked(next)
	return nil
}

// look says what is wrong with the node of a trial.
func (s *Settings) look(r settingsRecord) string {
	var problem string
	if err := s.cfg.Check(); err != nil {
		problem = err.Error()
	} else {
		problem = r.problem(s.cfg.Linked(), s.cfg.Pods())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if problem != s.problem {
		s.problem = problem
		s.setLocked(s.rec)
	}
	return problem
}

// setFailed lets Stopped be without effect: the next start must not try these settings again.
func (s *Settings) setFailed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = true
}

// Stopped notes that this program has ended in order, so that a trial goes on at the next start.
// Without a trial, or after one that failed, it does nothing.
func (s *Settings) Stopped(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loadLocked()
	if s.failed || !s.cfg.Start.Trial || s.rec.Phase != Trial || !s.rec.Started {
		return nil
	}
	next := s.rec
	next.Started = false
	if err := saveSettings(s.disk, s.dir, next); err != nil {
		return fmt.Errorf("upgrade: settings: %w", err)
	}
	s.setLocked(next)
	return nil
}
