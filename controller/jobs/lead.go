package jobs

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/leader"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// Bounds of the work of jobs.
const (
	parallelWrites = 8
	maxWrites      = 200 // of one round; the next goes on
	maxPause       = 30 * time.Second
	listPage       = 500
)

// work is the work of jobs while this cloudcore leads. One goroutine uses it.
type work struct {
	c       *Controller
	fleet   *fleet
	settled map[string]time.Time // uid of a job that has ended: when to look at it again; zero: never
	written map[string]time.Time // uid: when its status was last written
	budget  int                  // writes that are left in this round
}

// lead does the work of jobs until ctx ends.
func (c *Controller) lead(ctx context.Context) {
	c.counts.leading.Store(1)
	defer func() {
		c.counts.leading.Store(0)
		c.counts.active.Store(0)
		c.counts.working.Store(0)
	}()
	for pause := time.Second; ; pause = min(2*pause, maxPause) {
		err := c.refresh(ctx)
		if err == nil {
			break
		}
		if ctx.Err() == nil {
			c.log.Warn("jobs cannot be read from the API server; trying again", "err", err)
		}
		if !leader.Sleep(ctx, pause) {
			return
		}
	}
	c.log.Info("this cloudcore does the work of jobs")
	l := &work{c: c, settled: make(map[string]time.Time), written: make(map[string]time.Time)}
	var pause time.Duration
	for leader.Sleep(ctx, 0) {
		next, err := l.round(ctx)
		switch {
		case err == nil:
			pause = 0
		case ctx.Err() == nil:
			pause = min(max(2*pause, c.cfg.Every), maxPause)
			c.log.Warn("what was decided about a job cannot be written; trying again", "err", err, "pause", pause)
		}
		if !leader.Wait(ctx, c.wake, next, max(pause, c.cfg.Every)) {
			return
		}
	}
}

// refresh reads jobs and results from the API server itself: the watch of this cloudcore may
// not have what the one that led before has written.
func (c *Controller) refresh(ctx context.Context) error {
	opts := metav1.ListOptions{Limit: listPage}
	for {
		page, err := c.resultClient().List(ctx, opts)
		if err != nil {
			return fmt.Errorf("controller/jobs: %w", err)
		}
		for i := range page.Items {
			res, err := cache.Decode[v1alpha2.NodeJobResult](&page.Items[i])
			if err != nil {
				c.log.Warn("a result cannot be read", "result", page.Items[i].GetName(), "err", err)
				continue
			}
			strip(res)
			c.putResult(res)
		}
		if opts.Continue = page.GetContinue(); opts.Continue == "" {
			break
		}
	}
	if err := refreshJobs(ctx, c, v1alpha2.NodeUpgradeJobs, newUpgrade); err != nil {
		return err
	}
	if err := refreshJobs(ctx, c, v1alpha2.ImagePrePullJobs, newPrePull); err != nil {
		return err
	}
	return refreshJobs(ctx, c, v1alpha2.ConfigUpdateJobs, newConfigUpdate)
}

func refreshJobs[T any, P interface {
	*T
	cache.Object
}](ctx context.Context, c *Controller, resource string, parse func(P) *job) error {
	list, err := c.cfg.Dynamic.Resource(v1alpha2.GroupVersion().WithResource(resource)).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("controller/jobs: %w", err)
	}
	for i := range list.Items {
		o, err := cache.Decode[T, P](&list.Items[i])
		if err != nil {
			c.log.Warn("a job cannot be read", "job", list.Items[i].GetName(), "err", err)
			continue
		}
		c.putJob(parse(o))
	}
	return nil
}

// round looks at all jobs once, the oldest first, and carries out what follows. It returns when
// to look again at the latest; zero is never.
func (l *work) round(ctx context.Context) (next time.Time, err error) {
	jobs, dirty := l.snapshot()
	now := time.Now()
	l.budget = maxWrites
	results := make(map[string]map[string]*v1alpha2.NodeJobResult, len(jobs))
	disturbed := make(map[string]bool)
	jobs = slices.DeleteFunc(jobs, func(j *job) bool {
		uid := string(j.meta.UID)
		due, settled := l.settled[uid]
		if settled && !dirty[uid] && (due.IsZero() || due.After(now)) {
			next = earlier(next, due)
			return true
		}
		results[uid] = l.c.results.results(uid)
		if j.disturbs {
			disturb(disturbed, results[uid])
		}
		return false
	})
	busy := make(map[string]string)
	active, working := 0, 0
	for _, j := range jobs {
		d := decide(input{job: j, fleet: l.fleet, results: results[string(j.meta.UID)], busy: busy, disturbed: disturbed, now: now})
		for _, name := range d.holds {
			if busy[name] == "" {
				busy[name] = j.kind + " " + j.meta.Name
			}
		}
		for _, g := range d.grants {
			if j.disturbs && g.phase == v1alpha2.Apply {
				disturbed[g.node] = true
			}
		}
		if d.status.CompletionTime == nil {
			active++
		}
		working += int(d.status.Nodes.InProgress)
		again, failed := l.carryOut(ctx, j, &d, now)
		next = earlier(next, again)
		err = cmp.Or(err, failed)
	}
	l.c.counts.active.Store(int64(active))
	l.c.counts.working.Store(int64(working))
	return next, err
}

// earlier returns the earlier of two times; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// disturb adds the nodes that apply a job, or may begin at any time.
func disturb(all map[string]bool, results map[string]*v1alpha2.NodeJobResult) {
	for name, res := range results {
		s := &res.Status
		if !s.Phase.Final() && s.Phase != v1alpha2.NodeUnknown && (res.Spec.Phase == v1alpha2.Apply || s.ObservedAcceptedTime != nil) {
			all[name] = true
		}
	}
}

// snapshot returns all jobs by age, and the uids of those with news, and brings the fleet up to
// date.
func (l *work) snapshot() (jobs []*job, dirty map[string]bool) {
	c := l.c
	c.mu.Lock()
	jobs = slices.Collect(maps.Values(c.jobs))
	dirty, c.dirty = c.dirty, make(map[string]bool)
	stale := c.nodesChanged
	c.nodesChanged = false
	c.mu.Unlock()
	slices.SortFunc(jobs, older)
	if stale || l.fleet == nil {
		l.fleet = newFleet(c.cfg.Nodes)
	}
	known := make(map[string]bool, len(jobs))
	for _, j := range jobs {
		known[string(j.meta.UID)] = true
	}
	maps.DeleteFunc(l.settled, func(uid string, _ time.Time) bool { return !known[uid] })
	maps.DeleteFunc(l.written, func(uid string, _ time.Time) bool { return !known[uid] })
	return jobs, dirty
}

// carryOut does what was decided about a job, as far as this round may write. It returns when
// to look at the job again.
func (l *work) carryOut(ctx context.Context, j *job, d *decision, now time.Time) (time.Time, error) {
	uid := string(j.meta.UID)
	if d.expired {
		return time.Time{}, l.c.deleteJob(ctx, j)
	}
	next := d.next
	var writes []func(context.Context) error
	for _, v := range d.verdicts {
		writes = append(writes, func(ctx context.Context) error { return l.c.writeVerdict(ctx, uid, v, now) })
	}
	for _, g := range d.grants {
		writes = append(writes, func(ctx context.Context) error { return l.c.writeGrant(ctx, j, g, now) })
	}
	if len(writes) > l.budget {
		writes, next = writes[:l.budget], now
	}
	l.budget -= len(writes)
	err := l.c.writeAll(ctx, writes)
	again, failed := l.writeStatus(ctx, j, &d.status, now)
	err = cmp.Or(err, failed)
	next = earlier(next, again)
	delete(l.settled, uid)
	if d.status.CompletionTime != nil && d.status.Nodes.InProgress == 0 && len(d.grants) == 0 && len(d.verdicts) == 0 && again.IsZero() && err == nil {
		l.settled[uid] = next
	}
	return next, err
}

// writeStatus writes the status of a job if it has changed and it is time. It returns when
// it will be time if not.
func (l *work) writeStatus(ctx context.Context, j *job, st *v1alpha2.JobStatus, now time.Time) (time.Time, error) {
	if equality.Semantic.DeepEqual(&j.status, st) {
		return time.Time{}, nil
	}
	uid := string(j.meta.UID)
	old := &j.status
	urgent := old.Phase != st.Phase || old.Batch != st.Batch || (old.CompletionTime == nil) != (st.CompletionTime == nil) || old.ObservedGeneration != st.ObservedGeneration
	due := l.written[uid].Add(l.c.cfg.StatusEvery)
	if !urgent && due.After(now) {
		return due, nil
	}
	if err := l.c.writeJobStatus(ctx, j, st); err != nil {
		return now, err
	}
	l.written[uid] = now
	l.c.recordProgress(ctx, j, st)
	return time.Time{}, nil
}

// writeAll makes writes, some at a time, and returns the first error.
func (c *Controller) writeAll(ctx context.Context, writes []func(context.Context) error) error {
	var g errgroup.Group
	g.SetLimit(parallelWrites)
	for _, write := range writes {
		if err := c.limit.Wait(ctx); err != nil {
			break
		}
		g.Go(func() error {
			c.counts.writes.Add(1)
			err := write(ctx)
			if err != nil {
				c.counts.writesFailed.Add(1)
			}
			return err
		})
	}
	return g.Wait()
}

// newFleet lists the edge nodes.
func newFleet(store *cache.Store[*corev1.Node]) *fleet {
	nodes := store.Objects()
	f := &fleet{nodes: make([]node, 0, len(nodes)), byName: make(map[string]*node, len(nodes))}
	for _, n := range nodes {
		f.nodes = append(f.nodes, node{name: n.Name, labels: n.Labels, present: present(n)})
	}
	slices.SortFunc(f.nodes, func(a, b node) int { return strings.Compare(a.name, b.name) })
	for i := range f.nodes {
		f.byName[f.nodes[i].name] = &f.nodes[i]
	}
	return f
}
