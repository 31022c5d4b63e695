package upgrade

import (
	"fmt"
	"path/filepath"
	"time"
)

// Next says what the next start of a node runs.
type Next struct {
	Slot    Slot   // its place
	Version string // of it
	Instead string // version of the program that would have run
}

// RollbackStopped is Rollback for a node whose program does not run, for example because it cannot
// start: it goes back in the boot record on the disk. to is the version to go back to, "" for
// whatever was before. The caller must see to it that no program of the node starts meanwhile.
// ErrNothing: the base runs. A *FormatError: the program before cannot read the store as it is.
func RollbackStopped(dataDir, to, reason string, now time.Time) (Next, error) {
	return rollbackStopped(osDisk{}, filepath.Join(dataDir, SlotsDir), to, reason, now)
}

func rollbackStopped(d disk, dir, to, reason string, now time.Time) (Next, error) {
	r, err := load(dir)
	if err != nil {
		return Next{}, fmt.Errorf("upgrade: %w: the next start repairs it, and runs a program that was committed", err)
	}
	back, instead := record.rolledBack, r.release(r.Candidate)
	if r.Phase != Trial {
		instead = r.release(r.Active)
		back = func(r record, reason string, now time.Time) (record, error) { return r.returned("", reason, now) }
	}
	next, err := back(r, reason, now)
	if err != nil {
		return Next{}, err
	}
	out := Next{Slot: next.Active, Version: next.release(next.Active).Version, Instead: instead.Version}
	if to != "" && to != out.Version {
		return Next{}, fmt.Errorf("upgrade: the node can go back to %s, and not to %.100s", out.Version, to)
	}
	if err := save(d, dir, next); err != nil {
		return Next{}, fmt.Errorf("upgrade: the boot record cannot be written: %w", err)
	}
	return out, nil
}
