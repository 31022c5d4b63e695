package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/edgekit/edgekit/meta"
)

// The areas in the store.
const (
	downPrefix   = meta.Down + Resource + "/"
	recordPrefix = meta.Local + "jobs/record/"
)

// follow keeps r.jobs as the store has them until ctx ends. It returns an error when the store
// is closed.
func (r *Runner) follow(ctx context.Context) error {
	for {
		err := r.followOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case isClosed(err):
			return fmt.Errorf("jobs: %w", err)
		}
		r.log.Warn("listing jobs again", "err", err)
		if !sleep(ctx, retryPause) {
			return nil
		}
	}
}

func (r *Runner) followOnce(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	records, revision, err := r.cfg.Store.List(ctx, downPrefix)
	if err != nil {
		return err
	}
	all := make(map[string]*seenJob, len(records))
	for _, rec := range records {
		if name, ok := jobName(rec.Key); ok {
			all[name] = r.decode(name, rec)
		}
	}
	r.mu.Lock()
	for name, job := range all {
		if job == nil { // it cannot be read: its former form stays
			all[name] = r.jobs[name]
		}
		if all[name] == nil {
			delete(all, name)
		}
	}
	r.jobs, r.listed = all, true
	r.mu.Unlock()
	r.notify()
	events, err := r.cfg.Store.Watch(ctx, downPrefix, revision)
	if err != nil {
		return err
	}
	for batch := range events {
		r.mu.Lock()
		for _, e := range batch {
			name, ok := jobName(e.Key)
			if !ok {
				continue
			}
			if e.Deleted {
				delete(r.jobs, name)
			} else if job := r.decode(name, e.Record); job != nil {
				r.jobs[name] = job
			}
		}
		r.mu.Unlock()
		r.notify()
	}
	return errors.New("the watch has ended")
}

// jobName is the name of a job's key in the store.
func jobName(key string) (string, bool) {
	k, ok := meta.ParsePath(strings.TrimPrefix(key, meta.Down))
	return k.Name, ok && k.Namespace == "" && k.Resource == Resource
}

// decode reads a stored job; nil if it cannot be read: a newer cloud may send what this
// release does not know.
func (r *Runner) decode(name string, rec meta.Record) *seenJob {
	o, err := meta.DecodeObject(meta.Down, rec)
	if err == nil {
		var job *NodeJob
		if job, err = DecodeNodeJob(o.Body); err == nil {
			if Key(job.Kind, job.Name) == name {
				return &seenJob{NodeJob: *job, revision: rec.Revision}
			}
			err = fmt.Errorf("it is %s %s", job.Kind, clip(job.Name))
		}
	}
	r.log.Warn("a job cannot be read and is left alone", "job", name, "err", err)
	return nil
}
