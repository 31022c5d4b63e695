package reclaim

import (
	"slices"
	"strings"
	"time"

	"github.com/edgekit/edgekit/edged/crilog"
)

// logFiles is what is on the disk of one container's log.
type logFiles struct {
	file   string   // name of the file that the container writes to: "0.log"
	size   int64    // its size in bytes; -1 if there is none
	beside []string // names of the other files of the folder
}

// logPolicy is when a log is rotated, and what is kept of it.
type logPolicy struct {
	maxSize  int64 // bytes of the file that the container writes to
	maxFiles int   // files of one log, that one included
}

// logPlan is what to do about one log, in this order.
type logPlan struct {
	remove   []string // files that are left of a crash, or too many
	reopen   bool     // the runtime must open the file: it was renamed and not opened again
	rotateTo string   // rename the file to this, and have the runtime open it; "" is no rotation
	compress []string
}

func (p logPlan) isEmpty() bool {
	return len(p.remove) == 0 && !p.reopen && p.rotateTo == "" && len(p.compress) == 0
}

// planLog decides about the log of a running container. It is the kubelet's rule
// (its container log manager): a file of maxSize or more is rotated; of the older
// ones as many stay as make maxFiles with the two newest; all of them but the newest
// are compressed, so that collectors can read that one to its end.
//
// It differs in two things. Times of rotations never go back, whatever the clock
// does, since the names are what shows which file is the oldest. And two rotations
// within a second get two names.
func planLog(f logFiles, policy logPolicy, now time.Time) logPlan {
	var p logPlan
	var old []string // rotated files, oldest first
	newest := time.Time{}
	for _, name := range f.beside {
		at, rest, ok := crilog.RotatedAt(f.file, name)
		switch {
		case !ok:
			continue
		case rest == crilog.TemporaryName, rest == "" && slices.Contains(f.beside, name+crilog.CompressedName):
			p.remove = append(p.remove, name) // of a compression that was cut off, before or after its end
			continue
		case rest != "" && rest != crilog.CompressedName:
			continue // somebody else's
		}
		old = append(old, name)
		if at.After(newest) {
			newest = at
		}
	}
	slices.Sort(old)
	slices.Sort(p.remove)
	switch {
	case f.size < 0:
		// The container may still write to the newest of them.
		p.reopen = len(old) > 0
		return p
	case f.size < policy.maxSize:
		return p
	}
	if !now.Truncate(time.Second).After(newest) {
		now = newest.Add(time.Second)
	}
	p.rotateTo = crilog.RotatedName(f.file, now)
	if excess := len(old) - max(policy.maxFiles-2, 0); excess > 0 {
		p.remove = append(p.remove, old[:excess]...)
		old = old[excess:]
	}
	for _, name := range old {
		if !strings.HasSuffix(name, crilog.CompressedName) {
			p.compress = append(p.compress, name)
		}
	}
	return p
}
