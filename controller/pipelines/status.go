package pipelines

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/leader"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/hub"
)

// statuses keeps what nodes report, and writes it into Pipelines now and then.
type statuses struct {
	c      *Controller
	wake   chan struct{}
	counts counters

	mu      sync.Mutex
	tallies map[cache.Name]*tally
	dirty   map[cache.Name]bool // true: at once, for a new generation
}

type counters struct{ delivered, failed, expired, dropped, reports, refused atomic.Uint64 }

// Stats are counts of this cloudcore since the start.
type Stats struct {
	Pipelines int    // that there are
	Delivered uint64 // events that URLs took
	Failed    uint64 // tries of batches that failed
	Expired   uint64 // events that were given up
	Dropped   uint64 // batches that no pipeline is for, or that cannot be read
	Reports   uint64 // of nodes
	Refused   uint64 // reports that cannot be read, or are of another's pipeline
}

// Stats returns the counts so far.
func (c *Controller) Stats() Stats {
	n := &c.statuses.counts
	return Stats{
		Pipelines: c.pipelines.Len(), Delivered: n.delivered.Load(), Failed: n.failed.Load(), Expired: n.expired.Load(),
		Dropped: n.dropped.Load(), Reports: n.reports.Load(), Refused: n.refused.Load(),
	}
}

func newStatuses(c *Controller) *statuses {
	return &statuses{c: c, wake: make(chan struct{}, 1), tallies: make(map[cache.Name]*tally), dirty: make(map[cache.Name]bool)}
}

// Writers returns the writers of a node's reports, by resource.
func (c *Controller) Writers() map[string]nodesync.Writer {
	return map[string]nodesync.Writer{wire.Reports: c.writeReport}
}

// Resend are the reports that a node sends when its session begins: another cloudcore may have
// had them.
func (c *Controller) Resend(node string) []hub.Key {
	var keys []hub.Key
	for _, p := range c.pipelines.Objects() {
		if c.isFor(p, node) {
			keys = append(keys, hub.Key{Resource: wire.Reports, Namespace: p.Namespace, Name: p.Name})
		}
	}
	return keys
}

// writeReport takes what a node says of a Pipeline. It is in memory only: the node says it again
// to the next cloudcore.
func (c *Controller) writeReport(_ context.Context, node string, obj hub.Object) error {
	s := c.statuses
	name := cache.Name{Namespace: obj.Key.Namespace, Name: obj.Key.Name}
	if obj.Deleted {
		s.remove(name, node)
		return nil
	}
	r, err := wire.DecodeReport(obj.Body)
	if err != nil {
		s.counts.refused.Add(1)
		return nodesync.Invalid(obj.Key, err)
	}
	item, ok := c.pipelines.Load(name)
	if !ok {
		return nil // it is gone, or not known yet: the node reports again
	}
	if !c.isFor(item.Object, node) {
		s.counts.refused.Add(1)
		s.remove(name, node)
		return nil
	}
	s.counts.reports.Add(1)
	if string(item.Object.UID) == r.UID {
		s.report(name, node, r)
	}
	return nil
}

// tallyLocked returns the tally of a Pipeline. It needs mu.
func (s *statuses) tallyLocked(name cache.Name) *tally {
	t := s.tallies[name]
	if t == nil {
		t = &tally{nodes: make(map[string]answer)}
		s.tallies[name] = t
	}
	return t
}

// report notes what a node says.
func (s *statuses) report(name cache.Name, node string, r *wire.Report) {
	s.mu.Lock()
	t := s.tallyLocked(name)
	t.nodes[node] = answer{r.State, r.Generation}
	t.reported = slices.DeleteFunc(t.reported, func(f v1alpha1.Failure) bool { return f.Node == node })
	for _, f := range r.Failures[:min(len(r.Failures), maxNodeFailures)] {
		t.reported = addFailure(t.reported, node, f)
	}
	s.dirty[name] = s.dirty[name] || false
	s.mu.Unlock()
	s.notify()
}

// failure notes that events of a node were not taken, or given up.
func (s *statuses) failure(name cache.Name, node string, f wire.Failure, expired int) {
	s.counts.failed.Add(1)
	s.counts.expired.Add(uint64(expired))
	f.Message, f.Time = wire.Clip(f.Message, wire.MaxMessage), time.Now().Truncate(time.Second)
	s.mu.Lock()
	t := s.tallyLocked(name)
	f.Count = 1
	t.deliveries = slices.DeleteFunc(t.deliveries, func(have v1alpha1.Failure) bool {
		same := have.Node == node && have.Step == f.Step && have.Reason == f.Reason
		if same {
			f.Count += have.Count
		}
		return same
	})
	t.expired += int64(expired)
	t.deliveries = addFailure(t.deliveries, node, f)
	s.dirty[name] = s.dirty[name] || false
	s.mu.Unlock()
	s.notify()
}

// taken notes that a URL took events: that it did not before no longer counts.
func (s *statuses) taken(name cache.Name, node, sink string, events int) {
	s.counts.delivered.Add(uint64(events))
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tallies[name]
	if t == nil {
		return
	}
	before := len(t.deliveries)
	t.deliveries = slices.DeleteFunc(t.deliveries, func(f v1alpha1.Failure) bool {
		return f.Node == node && f.Step == sink && f.Reason == v1alpha1.ReasonSinkRetrying
	})
	if len(t.deliveries) != before {
		s.dirty[name] = s.dirty[name] || false
		s.notify()
	}
}

// remove forgets what a node said of a Pipeline.
func (s *statuses) remove(name cache.Name, node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removeLocked(name, node)
	s.notify()
}

func (s *statuses) removeLocked(name cache.Name, node string) {
	t := s.tallies[name]
	if t == nil {
		return
	}
	if _, ok := t.nodes[node]; ok {
		delete(t.nodes, node)
		s.dirty[name] = s.dirty[name] || false
	}
	of := func(f v1alpha1.Failure) bool { return f.Node == node }
	t.reported, t.deliveries = slices.DeleteFunc(t.reported, of), slices.DeleteFunc(t.deliveries, of)
}

// forget forgets what a node said, whose session has ended.
func (s *statuses) forget(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.tallies {
		s.removeLocked(name, node)
	}
	s.notify()
}

// pipelineChanged follows a change of a Pipeline.
func (s *statuses) pipelineChanged(name cache.Name, p *v1alpha1.Pipeline) {
	s.mu.Lock()
	if p == nil {
		delete(s.tallies, name)
		delete(s.dirty, name)
		s.mu.Unlock()
		return
	}
	if t := s.tallies[name]; t != nil && t.uid != string(p.UID) {
		if t.uid != "" {
			*t = tally{nodes: make(map[string]answer)}
		}
	}
	s.tallyLocked(name).uid = string(p.UID)
	s.dirty[name] = p.Status.ObservedGeneration != p.Generation
	s.mu.Unlock()
	s.notify()
}

// changed has the status of a Pipeline written.
func (s *statuses) changed(name cache.Name) {
	s.mu.Lock()
	s.dirty[name] = s.dirty[name] || false
	s.mu.Unlock()
	s.notify()
}

func (s *statuses) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// urgentDelay is how long a change may wait for changes that come with it.
const urgentDelay = 200 * time.Millisecond

// partsEvery is how often parts of cloudcores that have gone are looked for.
const partsEvery = 30 * time.Second

// checkParts has the statuses written that count nodes of cloudcores that have gone.
func (s *statuses) checkParts() {
	gone := s.c.cfg.Gone
	if gone == nil {
		return
	}
	for _, p := range s.c.pipelines.Objects() {
		if slices.ContainsFunc(p.Status.Parts, func(part v1alpha1.StatusPart) bool { return part.Cloudcore != s.c.cfg.ID && gone(part.Cloudcore) }) {
			s.changed(nameOf(p))
		}
	}
}

// statusChanged follows a change of a status: if another cloudcore has left out this one's part,
// it is written again.
func (s *statuses) statusChanged(p *v1alpha1.Pipeline) {
	s.mu.Lock()
	t := s.tallies[nameOf(p)]
	counts := t != nil && len(t.nodes) > 0
	s.mu.Unlock()
	if counts && !slices.ContainsFunc(p.Status.Parts, func(part v1alpha1.StatusPart) bool { return part.Cloudcore == s.c.cfg.ID }) {
		s.changed(nameOf(p))
	}
}

// statusWrites is how many statuses are written at the same time.
const statusWrites = 4

// run writes statuses until ctx ends: of a new generation soon, others at most every
// Config.StatusEvery.
func (s *statuses) run(ctx context.Context) error {
	if !cache.WaitSynced(ctx, s.c.pipelines.Synced(), s.c.cfg.Nodes.Synced()) {
		return nil
	}
	check := time.NewTicker(partsEvery)
	defer check.Stop()
	var last time.Time
	var pause time.Duration // after a write that failed
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-check.C:
			s.checkParts()
			continue
		case <-s.wake:
		}
		if !s.wait(ctx, last, pause) {
			return nil
		}
		all := time.Since(last) >= s.c.cfg.StatusEvery
		if all {
			last = time.Now()
		}
		pause = min(max(2*pause, time.Second), s.c.cfg.StatusEvery)
		if s.flush(ctx, all) {
			pause = 0
		}
	}
}

// wait waits until something is due, and reports whether ctx is still alive. What is urgent does
// not wait for the time of what is not.
func (s *statuses) wait(ctx context.Context, last time.Time, pause time.Duration) bool {
	begun := time.Now()
	return leader.WaitDue(ctx, s.wake, func() time.Time {
		due := begun.Add(max(urgentDelay, pause))
		if at := last.Add(s.c.cfg.StatusEvery); at.After(due) && !s.urgent() {
			return at
		}
		return due
	})
}

// urgent reports whether a status of a new generation is to be written.
func (s *statuses) urgent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, urgent := range s.dirty {
		if urgent {
			return true
		}
	}
	return false
}

// flush writes what is due and reports whether all writes went well.
func (s *statuses) flush(ctx context.Context, all bool) (ok bool) {
	s.mu.Lock()
	due := make(map[cache.Name]bool)
	for name, urgent := range s.dirty {
		if all || urgent {
			due[name] = urgent
			delete(s.dirty, name)
		}
	}
	left := len(s.dirty) > 0
	s.mu.Unlock()
	var failed atomic.Bool
	var group errgroup.Group
	group.SetLimit(statusWrites)
	for name, urgent := range maps.All(due) {
		group.Go(func() error {
			err := s.write(ctx, name)
			if err == nil || ctx.Err() != nil {
				return nil
			}
			s.c.log.Warn("the status of a pipeline cannot be written; trying again", "pipeline", name.Namespace+"/"+name.Name, "err", err)
			s.mu.Lock()
			s.dirty[name] = s.dirty[name] || urgent
			s.mu.Unlock()
			failed.Store(true)
			return nil
		})
	}
	_ = group.Wait() // the functions return nil
	if left || failed.Load() {
		s.notify()
	}
	return !failed.Load()
}
