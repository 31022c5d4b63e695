package upgrade

import (
	"context"
	"path/filepath"
	"time"
)

// checkEvery is how often a trial is looked at, at least.
const checkEvery = time.Second

// Run judges the trial that this start is in, if it is in one, commits or rolls back, and removes
// the slots that are not needed any more. Then it waits. It returns nil when ctx ends, and
// ErrRestart when the program must end in order and start again: after a trial that failed, and
// after Restart.
func (u *Upgrader) Run(ctx context.Context) error {
	if err := u.guard.Start(); err != nil {
		return err
	}
	if p := u.cfg.Start.Problem; p != "" {
		u.cfg.Logger.Error("the program that runs is not the one of an upgrade", "reason", p, "running", u.cfg.Start.Slot.String())
	}
	r := u.current()
	if r.Phase == Trial && !u.hasSwitched() { // else it begins at the next start
		if !u.onTrial(r) {
			// Boot did not start it and could not write so.
			u.take(func(r record) (record, error) {
				return r.rolledBack("the trial could not be started: "+u.cfg.Start.Problem, u.cfg.Now())
			}, "the trial that did not start is rolled back")
		} else if done, err := u.try(ctx, r); !done || err != nil {
			return err
		}
	}
	u.clean()
	select {
	case <-u.restart:
		return ErrRestart
	case <-ctx.Done():
		return nil
	}
}

// try judges the trial. done says that it was committed.
func (u *Upgrader) try(ctx context.Context, r record) (done bool, err error) {
	candidate := r.Slots[r.Candidate].Version
	g := gate{health: r.Health.withDefaults(), begun: time.Now()}
	u.cfg.Logger.Info("this program is on trial", "version", candidate, "from", r.From, "try", r.Tries, "timeout", g.health.Timeout, "stable", g.health.Stable)
	tick := time.NewTicker(min(checkEvery, max(g.health.Stable/4, 10*time.Millisecond)))
	defer tick.Stop()
	for {
		if u.current().Phase != Trial { // Commit or Rollback were called
			return u.afterTrial(ctx)
		}
		problem := u.look(r)
		u.setProblem(problem)
		var say verdict
		switch g, say = g.judge(time.Now(), problem); say {
		case commit:
			if err := u.Commit(ctx); err == nil {
				continue
			} else if time.Since(g.begun) < g.health.Timeout { // a disk that is full may not stay so
				u.cfg.Logger.Warn("the trial cannot be committed yet", "err", err)
				break
			}
			problem = "the boot record cannot be written"
			fallthrough
		case rollBack:
			u.setFailed()
			u.take(func(r record) (record, error) {
				return r.rolledBack(g.reason(problem), u.cfg.Now())
			}, "the trial has failed and is rolled back")
			return false, ErrRestart // also if that could not be written: Boot rolls back what was not committed
		}
		select {
		case <-tick.C:
		case <-u.restart: // the trial goes on at the next start, if it has not ended
			return false, ErrRestart
		case <-ctx.Done():
			return false, nil
		}
	}
}

// afterTrial goes on when a trial has ended by Commit or Rollback.
func (u *Upgrader) afterTrial(ctx context.Context) (bool, error) {
	if u.current().Phase == Committed {
		return true, nil
	}
	select { // who rolled back calls Restart when it has stored its own state
	case <-u.restart:
		return false, ErrRestart
	case <-ctx.Done():
		return false, nil
	}
}

// look says what is wrong with the node of a trial.
func (u *Upgrader) look(r record) string {
	if err := u.cfg.Check(); err != nil {
		return err.Error()
	}
	return r.problem(u.cfg.Linked(), u.cfg.Pods())
}

// take makes a step and logs it. An error is logged: the next Boot comes to the same decision.
func (u *Upgrader) take(next func(record) (record, error), message string) {
	if err := u.step(next); err != nil {
		u.cfg.Logger.Error("the boot record could not be changed", "step", message, "err", err)
		return
	}
	if o := u.current().Outcome; o != nil {
		u.cfg.Logger.Warn(message, "from", o.From, "to", o.To, "reason", o.Reason)
	}
}

// clean removes the programs that nothing refers to, and what unfinished downloads left.
func (u *Upgrader) clean() {
	if !u.downloads.TryLock() {
		return // the download at hand cleans up
	}
	defer u.downloads.Unlock()
	r := u.current()
	names := []string{freshDir}
	if r.Candidate == Base {
		names = append(names, cacheDir)
	}
	for _, slot := range []Slot{A, B} {
		if _, used := r.Slots[slot]; !used && slot != r.Candidate {
			names = append(names, string(slot))
		}
	}
	for _, name := range names {
		if err := u.disk.remove(filepath.Join(u.dir, name)); err != nil {
			u.cfg.Logger.Warn("what an upgrade left could not be removed", "err", err)
		}
	}
}

// Commit ends the trial with success, whatever the gate says. ErrNothing: this program is not on
// trial.
func (u *Upgrader) Commit(context.Context) error {
	if !u.onTrial(u.current()) {
		return ErrNothing
	}
	if err := u.step(func(r record) (record, error) { return r.committed(u.cfg.Now()) }); err != nil {
		return err
	}
	u.setProblem("")
	if u.cfg.Start.tail != nil {
		u.cfg.Start.tail.close()
	}
	u.cfg.Logger.Info("the upgrade is committed", "version", u.cfg.Release.Version)
	return nil
}

// Rollback goes back: from a trial to the committed program, and else from the committed program
// to the one before. The caller then stops the program in order (Restart). A *FormatError: the
// program before cannot read the store as it is. ErrNothing: the base runs. A caller that crashed
// may repeat it with the same id: it goes back once.
func (u *Upgrader) Rollback(_ context.Context, id, reason string) error {
	return u.step(func(r record) (record, error) {
		if r.Phase == Trial {
			return r.rolledBack(reason, u.cfg.Now())
		}
		return r.returned(id, reason, u.cfg.Now())
	})
}

// Stopped notes that this program has ended in order, so that a trial is started again and not
// rolled back. It is called last, when all else has ended without an error. Without a trial it
// does nothing.
func (u *Upgrader) Stopped(context.Context) error {
	u.mu.Lock()
	failed := u.failed
	u.mu.Unlock()
	if failed || !u.onTrial(u.current()) {
		return nil
	}
	return u.step(record.stopped)
}

// onTrial reports whether the trial of a record is the one that this process is.
func (u *Upgrader) onTrial(r record) bool {
	return u.cfg.Start.Trial && r.Phase == Trial && r.Started && r.Candidate == u.cfg.Start.Slot
}

// hasSwitched reports whether this process has begun the trial of the record.
func (u *Upgrader) hasSwitched() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.switched
}

// setFailed lets Stopped be without effect: the next Boot must not start this trial again.
func (u *Upgrader) setFailed() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failed = true
}
