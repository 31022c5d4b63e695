package upgrade

import (
	"fmt"
	"strings"
	"time"
)

// The steps of an upgrade are functions from a record to the next one. They read no clock and
// no disk. A step that does not fit the phase is refused and changes nothing.

// begin starts a download into the free slot. The programs that run or that one may go back to
// stay.
func (r record) begin(id, request string, base baseFile) (record, error) {
	if r.Phase == Trial {
		return r, ErrBusy
	}
	r = r.clone()
	if r.Active == Base {
		r.Base = base
	}
	r.Phase, r.Candidate, r.ID, r.Request = Downloading, r.Active.other(), id, request
	return r.withoutTrial(), nil
}

// abandon ends a download that can have no success.
func (r record) abandon() (record, error) {
	if r.Phase != Downloading && r.Phase != Verified {
		return r, ErrNothing
	}
	r = r.clone()
	r.Phase, r.Candidate, r.ID, r.Request = Idle, Base, "", ""
	if r.Outcome != nil {
		r.Phase = r.Outcome.Phase
	}
	return r.withoutTrial(), nil
}

// empty forgets the program in the candidate's slot, before it is replaced.
func (r record) empty() (record, error) {
	if r.Phase != Downloading {
		return r, ErrNothing
	}
	r = r.clone()
	if r.Previous == r.Candidate {
		r.Previous = Base
	}
	delete(r.Slots, r.Candidate)
	return r, nil
}

// verified notes that the candidate's slot holds a verified program.
func (r record) verified(release Release) (record, error) {
	r, err := r.empty()
	if err != nil {
		return r, err
	}
	r.Phase = Verified
	r.Slots[r.Candidate] = release
	return r, nil
}

// switched begins the trial, which starts at the next Boot.
func (r record) switched(h Health, from string, link bool, pods []string) (record, error) {
	switch {
	case r.Phase == Trial:
		return r, ErrBusy
	case r.Phase != Verified:
		return r, ErrNothing
	}
	r = r.clone()
	r.Phase, r.Health, r.From, r.Link, r.Pods = Trial, h, from, link, pods
	return r, nil
}

// started counts a start of the trial.
func (r record) started() (record, error) {
	if r.Phase != Trial || r.Started || r.Tries >= MaxTries {
		return r, ErrNothing
	}
	r = r.clone()
	r.Tries++
	r.Started = true
	return r, nil
}

// stopped notes that the program of the trial has ended in order.
func (r record) stopped() (record, error) {
	if r.Phase != Trial || !r.Started {
		return r, ErrNothing
	}
	r = r.clone()
	r.Started = false
	return r, nil
}

// committed makes the candidate the program of this node.
func (r record) committed(now time.Time) (record, error) {
	if r.Phase != Trial || !r.Started {
		return r, ErrNothing
	}
	r = r.clone()
	r.Outcome = &Outcome{ID: r.ID, Phase: Committed, From: r.From, To: r.Slots[r.Candidate].Version, Time: now.UTC()}
	r.Previous, r.Active = r.Active, r.Candidate
	r.Phase, r.Candidate, r.ID, r.Request = Committed, Base, "", ""
	return r.withoutTrial(), nil
}

// rolledBack ends a trial without success. Repeating it changes nothing.
func (r record) rolledBack(reason string, now time.Time) (record, error) {
	if r.Phase != Trial {
		return r, ErrNothing
	}
	r = r.clone()
	r.Outcome = &Outcome{ID: r.ID, Phase: RolledBack, From: r.From, To: r.Slots[r.Candidate].Version, Reason: short(reason), Time: now.UTC()}
	delete(r.Slots, r.Candidate)
	r.Phase, r.Candidate, r.ID, r.Request = RolledBack, Base, "", ""
	return r.withoutTrial(), nil
}

// returned goes back from the committed program to the one before. Repeating it with the same id
// changes nothing.
func (r record) returned(id, reason string, now time.Time) (record, error) {
	switch {
	case r.Phase == Trial:
		return r, ErrBusy
	case id != "" && r.Phase == RolledBack && r.Outcome != nil && r.Outcome.ID == id:
		return r, nil // it was done before a crash
	case r.Active == Base:
		return r, ErrNothing
	}
	to, from := r.release(r.Previous), r.release(r.Active)
	if !to.reads(from.StoreFormat) {
		return r, &FormatError{Version: to.Version, Reason: fmt.Sprintf("the store has format %d, which it cannot read (it reads %v): upgrade to a version that can", from.StoreFormat, to.StoreFormatsRead)}
	}
	return r.dropped(id, reason, now), nil
}

// dropped is the record without the active slot, whose program cannot or shall not run.
func (r record) dropped(id, reason string, now time.Time) record {
	r = r.clone()
	from := r.release(r.Active)
	delete(r.Slots, r.Active)
	if r.Candidate != r.Previous { // the slot of a download may still hold the program to go back to
		delete(r.Slots, r.Candidate)
	}
	r.Active, r.Previous = r.Previous, Base
	r.Outcome = &Outcome{ID: id, Phase: RolledBack, From: from.Version, To: r.release(r.Active).Version, Reason: short(reason), Time: now.UTC()}
	r.Phase, r.Candidate, r.ID, r.Request = RolledBack, Base, "", ""
	return r.withoutTrial()
}

// replaced is the record after a package has replaced the base: no slot counts any more.
func (r record) replaced(now time.Time) record {
	const reason = "the package's program was replaced, which wins over the slots"
	next := record{Phase: Idle, Outcome: r.Outcome}
	if r.Phase == Trial {
		next.Outcome = &Outcome{ID: r.ID, Phase: RolledBack, From: r.From, To: r.Slots[r.Candidate].Version, Reason: reason, Time: now.UTC()}
	}
	if next.Outcome != nil {
		next.Phase = next.Outcome.Phase
	}
	return next
}

// withoutTrial clears what only a trial has.
func (r record) withoutTrial() record {
	r.trial, r.From = trial{}, ""
	return r
}

// short keeps a reason within the record.
func short(reason string) string {
	if len(reason) > maxReason {
		reason = reason[:maxReason]
	}
	return strings.ToValidUTF8(reason, "")
}
