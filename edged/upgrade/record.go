package upgrade

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Limits of the boot record.
const (
	maxPods   = 250  // pods whose readiness is remembered
	maxPodKey = 160  // bytes of the key of such a pod
	maxReason = 4096 // bytes
	maxID     = 256
)

// record is the boot record: all that survives a restart. The zero value with Phase Idle is
// that of a node without upgrades.
type record struct {
	Phase     Phase `json:"phase"`
	Active    Slot  `json:"active,omitempty"`
	Previous  Slot  `json:"previous,omitempty"`  // to go back to; has a meaning only if Active is a slot
	Candidate Slot  `json:"candidate,omitempty"` // Downloading, Verified and Trial have one

	ID      string `json:"id,omitempty"`
	Request string `json:"request,omitempty"` // fingerprint of the request of the candidate
	trial
	From string `json:"from,omitempty"` // version before the switch

	Base    baseFile         `json:"base,omitzero"`
	Slots   map[Slot]Release `json:"slots,omitempty"` // what is in the slots
	Outcome *Outcome         `json:"outcome,omitempty"`
}

// baseFile identifies the base.
type baseFile struct {
	Path    string    `json:"path,omitempty"`
	ModTime time.Time `json:"modTime,omitzero"`
	Inode   uint64    `json:"inode,omitempty"`
	Release           // Version, Digest, Size and the formats
}

const bootHead = "edgekit boot record"

var errRecord = errors.New("upgrade: the boot record is damaged")

// encode gives the content of the file.
func (r record) encode() ([]byte, error) { return seal(bootHead, r) }

// decodeRecord reads what encode wrote, and refuses all else.
func decodeRecord(text []byte) (record, error) {
	var r record
	if err := unseal(bootHead, text, &r); err != nil {
		return record{}, fmt.Errorf("%w: %w", errRecord, err)
	}
	return r, r.check()
}

// check refuses a record that no step leads to.
func (r record) check() error {
	candidate := r.Phase == Downloading || r.Phase == Verified || r.Phase == Trial
	_, filled := r.Slots[r.Candidate]
	_, active := r.Slots[r.Active]
	_, previous := r.Slots[r.Previous]
	switch {
	case !candidate && r.Phase != Idle && r.Phase != Committed && r.Phase != RolledBack:
		return fmt.Errorf("%w: phase %.20q", errRecord, r.Phase)
	case !r.Active.valid() || !r.Previous.valid() || !r.Candidate.valid():
		return fmt.Errorf("%w: a slot is neither a nor b", errRecord)
	case candidate != (r.Candidate != Base):
		return fmt.Errorf("%w: phase %s and candidate %s", errRecord, r.Phase, r.Candidate)
	case candidate && r.Candidate == r.Active:
		return fmt.Errorf("%w: candidate %s is the active slot", errRecord, r.Candidate)
	case (r.Phase == Verified || r.Phase == Trial) && !filled:
		return fmt.Errorf("%w: candidate %s has no program", errRecord, r.Candidate)
	case (r.Phase == Verified || r.Phase == Trial) && r.Candidate == r.Previous:
		return fmt.Errorf("%w: candidate %s is the previous slot", errRecord, r.Candidate)
	case r.Active != Base && !active || r.Previous != Base && !previous:
		return fmt.Errorf("%w: the active slot %s or the previous %s has no program", errRecord, r.Active, r.Previous)
	case r.Previous != Base && r.Previous == r.Active, r.Previous != Base && r.Active == Base:
		return fmt.Errorf("%w: the previous slot is %s and the active one %s", errRecord, r.Previous, r.Active)
	case r.Tries < 0 || r.Tries > MaxTries || r.Phase != Trial && (r.Tries != 0 || r.Started):
		return fmt.Errorf("%w: phase %s and %d tries", errRecord, r.Phase, r.Tries)
	case len(r.Pods) > maxPods || len(r.ID) > maxID:
		return fmt.Errorf("%w: too many pods, or too long an id", errRecord)
	}
	for s := range r.Slots {
		if s == Base || !s.valid() {
			return fmt.Errorf("%w: slot %.20q", errRecord, string(s))
		}
	}
	return r.Health.check()
}

func (s Slot) valid() bool { return s == Base || s == A || s == B }

// clone is a copy that shares nothing that a step changes.
func (r record) clone() record {
	slots := make(map[Slot]Release, len(r.Slots))
	for s, release := range r.Slots {
		slots[s] = release
	}
	r.Slots = slots
	r.Pods = slices.Clone(r.Pods)
	return r
}

// release describes the program of a place.
func (r record) release(s Slot) Release {
	if s == Base {
		return r.Base.Release
	}
	return r.Slots[s]
}
