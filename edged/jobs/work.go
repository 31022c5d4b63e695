package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// work is what the Runner is at.
type work struct {
	name   string
	cancel context.CancelFunc
}

// task does what is next for a job. It returns nil when the job is a step further, or cannot go
// on for now; an error is one of this node that a later try may not meet.
type task func(ctx context.Context, name string) error

// beginLocked begins the work on the oldest job that has some, unless there is work already. Jobs
// that must wait for another one say so. What it starts is added to group.
func (r *Runner) beginLocked(ctx context.Context, group *sync.WaitGroup) error {
	for _, name := range r.namesLocked() {
		do := r.next(r.records[name])
		if do == nil || r.at != nil && r.at.name == name {
			continue
		}
		by := r.blockerLocked(name)
		if by == nil && r.at != nil {
			by = r.records[r.at.name]
		}
		if by != nil {
			if err := r.sayBlockedLocked(ctx, name, by); err != nil {
				return err
			}
			continue
		}
		if r.at == nil {
			r.startLocked(ctx, group, name, do)
		}
	}
	return nil
}

func (r *Runner) startLocked(ctx context.Context, group *sync.WaitGroup, name string, do task) {
	ctx, cancel := context.WithCancel(ctx)
	r.at = &work{name, cancel}
	group.Go(func() {
		defer cancel()
		if err := do(ctx, name); err != nil && ctx.Err() == nil && !errors.Is(err, errGivenUp) {
			r.log.Warn("a job is tried again", "job", name, "err", err)
			sleep(ctx, retryPause)
		}
		r.mu.Lock()
		r.at = nil
		r.mu.Unlock()
		r.notify()
	})
}

// next is what is to be done for a job now; nil for nothing.
func (r *Runner) next(rec *record) task {
	may := rec.permission()
	switch {
	case rec.givenUp():
	case rec.Step == stepDone:
	case rec.Step == stepSwitched:
		if r.outcomeOf(rec) != nil || r.onTrial(rec) {
			return nil
		}
		if rec.Job.ConfigUpdate != nil {
			return r.switchSettings
		}
		return r.switchProgram
	case rec.Job.ImagePrePull != nil:
		if rec.Step == stepAccepted || may == v1alpha2.Apply || may == v1alpha2.Download {
			return r.pull
		}
	case rec.Job.ConfigUpdate != nil:
		if may == v1alpha2.Apply {
			return r.prepareSettings
		}
	case rec.Step == stepNew:
		if may == v1alpha2.Apply || may == v1alpha2.Download {
			return r.download
		}
	case rec.Step == stepChecked && may == v1alpha2.Apply && !rec.waitsForConfirmation():
		return r.acceptUpgrade
	}
	return nil
}

// blockerLocked is the job that must end before another one may go on; nil for none. While a
// trial is on, or about to begin, nothing else is done. Of upgrades, and of changes of the
// configuration, one at a time is under way, the oldest; one that is paused before it has done
// anything holds up none.
func (r *Runner) blockerLocked(name string) *record {
	rec := r.records[name]
	names := r.namesLocked()
	for i, other := range names {
		o := r.records[other]
		switch {
		case other == name || o.Step == stepDone:
		case o.Step == stepSwitched:
			return o
		case i > slices.Index(names, name) || rec.Step == stepSwitched || rec.Job.ImagePrePull != nil:
		case (o.Job.ConfigUpdate != nil) != (rec.Job.ConfigUpdate != nil) || o.Job.ImagePrePull != nil:
		case o.Step == stepNew && o.permission() == v1alpha2.Paused:
		default:
			return o
		}
	}
	return nil
}

// sayBlockedLocked notes for whom a job waits. One that has begun says nothing: it only has a pause.
func (r *Runner) sayBlockedLocked(ctx context.Context, name string, by *record) error {
	message := fmt.Sprintf("the node does one job at a time: %s goes first", by.title())
	if rec := r.records[name]; rec.Report.Phase != v1alpha2.NodePending || rec.Report.Message == message {
		return nil
	}
	return r.changeLocked(ctx, name, func(next *record) {
		next.say(v1alpha2.NodePending, v1alpha2.ReasonWaitingForJob, message)
	})
}

// current is the record of a job that is worked on. ok is false when ctx has ended.
func (r *Runner) current(ctx context.Context, name string) (rec *record, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.records[name], ctx.Err() == nil
}

// errGivenUp ends the work on a job that was refused or cancelled since it began.
var errGivenUp = errors.New("jobs: the job is given up")

// change saves a changed copy of the record of a job that is worked on, unless ctx has ended or
// the job is given up. The caller must return if it gets an error.
func (r *Runner) change(ctx context.Context, name string, change func(*record)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if r.records[name].givenUp() {
		return errGivenUp
	}
	defer r.notify() // the report is to be sent
	return r.changeLocked(ctx, name, change)
}

// changeFrom is change for a task that begins a job. It changes nothing if the job has left the
// step from, or may not go on any more: it may have lost its permission while the task ran.
func (r *Runner) changeFrom(ctx context.Context, name string, from step, change func(*record)) (changed bool, err error) {
	err = r.change(ctx, name, func(next *record) {
		if changed = next.Step == from && r.next(next) != nil; changed {
			change(next)
		}
	})
	return changed, err
}

// send puts the reports into the outbox before the program ends. What cannot be put there is put
// there at the next start.
func (r *Runner) send(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.sendLocked(ctx); err != nil && ctx.Err() == nil {
		r.log.Warn("a report of a job is late", "err", err)
	}
}
