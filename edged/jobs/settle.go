package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/edged/upgrade"
	"github.com/edgekit/edgekit/meta"
)

const (
	// settledKey has what a node is like that has settled, so that a job after a power cut waits
	// for no more than was there before.
	settledKey = meta.Local + "jobs/settled"
	// observeEvery is how often the readiness of the pods is looked at while no job waits for it.
	observeEvery = 30 * time.Second
	// settleEvery is how often it is looked at while one does.
	settleEvery = time.Second
)

// unsettled is what keeps a node from being settled.
type unsettled struct {
	unknown bool     // the pods are not known yet
	pods    []string // that are not ready, and may have been before; sorted
	link    bool     // there was a link, and there is none
}

func (u unsettled) pending() bool { return u.unknown || u.link || len(u.pods) > 0 }

// without leaves out what a gate does not ask for.
func (u unsettled) without(h upgrade.Health) unsettled {
	if h.IgnorePods {
		u.unknown, u.pods = false, nil
	}
	u.link = u.link && !h.IgnoreLink
	return u
}

func (u unsettled) String() string {
	const shown = 5
	var parts []string
	if u.unknown {
		parts = append(parts, "the pods of this node are not known yet")
	}
	if n := len(u.pods); n > 0 {
		names := strings.Join(u.pods[:min(shown, n)], ", ")
		if n > shown {
			names += fmt.Sprintf(" and %d more", n-shown)
		}
		parts = append(parts, "pods are not ready: "+names)
	}
	if u.link {
		parts = append(parts, "there is no link to the cloud")
	}
	return strings.Join(parts, "; ")
}

// settled is what outlives the program.
type settled struct {
	Unready []string `json:"unready,omitempty"` // pods that were not ready for longer than the limit
	Link    bool     `json:"link,omitempty"`    // there was a link within the limit
}

// settling finds out whether the node has settled: each pod that it is to run is ready, or was
// not ready for longer than limit; and there is a link, or there was none for longer than limit.
// long and hadLink outlive the program: after a power cut no pod is ready and there is no link,
// and they say for what it makes sense to wait.
//
// It is a value that observe changes. Its times are those of a monotonic clock.
type settling struct {
	limit   time.Duration
	since   map[string]time.Time // of each pod that is not ready: when this process first saw it so
	long    map[string]bool      // pods that were not ready for longer than limit
	away    time.Time            // since when there is no link; zero: there is one
	hadLink bool                 // there was a link within limit
	last    unsettled            // of the latest observation
	from    time.Time            // since when the node has not been settled; zero: it is
}

// restore makes a settling that goes on from what was stored.
func restore(was settled, limit time.Duration) settling {
	s := settling{limit: limit, since: make(map[string]time.Time), long: make(map[string]bool), hadLink: was.Link}
	for _, key := range was.Unready {
		s.long[key] = true
	}
	return s
}

// settled is what is to be stored.
func (s *settling) settled() settled {
	return settled{Unready: slices.Sorted(maps.Keys(s.long)), Link: s.hadLink}
}

// observe takes what the node is like. It reports whether settled has changed.
func (s *settling) observe(now time.Time, pods map[string]bool, known, linked bool) (changed bool) {
	s.last = unsettled{unknown: !known}
	if known {
		changed = s.observePods(now, pods)
	}
	changed = s.observeLink(now, linked) || changed
	switch {
	case !s.last.pending():
		s.from = time.Time{}
	case s.from.IsZero():
		s.from = now
	}
	return changed
}

func (s *settling) observeLink(now time.Time, linked bool) (changed bool) {
	before := s.hadLink
	switch {
	case linked:
		s.away, s.hadLink = time.Time{}, true
	case s.away.IsZero():
		s.away = now
	case now.Sub(s.away) >= s.limit:
		s.hadLink = false
	}
	s.last.link = !linked && s.hadLink
	return s.hadLink != before
}

func (s *settling) observePods(now time.Time, pods map[string]bool) (changed bool) {
	for key := range s.since {
		if ready, there := pods[key]; ready || !there {
			delete(s.since, key)
		}
	}
	for key := range s.long {
		if ready, there := pods[key]; ready || !there {
			delete(s.long, key)
			changed = true
		}
	}
	for key, ready := range pods {
		if ready || s.long[key] {
			continue
		}
		since, seen := s.since[key]
		if !seen {
			since, s.since[key] = now, now
		}
		if now.Sub(since) >= s.limit {
			s.long[key] = true
			changed = true
			continue
		}
		s.last.pods = append(s.last.pods, key)
	}
	slices.Sort(s.last.pods)
	return changed
}

// waits says what a job with a gate must wait for at a time; over reports that it has waited long
// enough for it.
func (s *settling) waits(now time.Time, h upgrade.Health) (missing unsettled, over bool) {
	return s.last.without(h), !s.from.IsZero() && now.Sub(s.from) >= s.limit
}

// rest is the settling of a Runner, and its place in the store.
type rest struct {
	mu      sync.Mutex
	state   settling
	loaded  bool
	unsaved bool // what is in the store is older than state
}

// observe looks at the node, and makes durable what outlives the program.
func (r *Runner) observe(ctx context.Context) {
	pods, known := r.cfg.Pods()
	linked := r.cfg.Linked()
	r.rest.mu.Lock()
	defer r.rest.mu.Unlock()
	if !r.rest.loaded {
		was, err := r.loadSettled(ctx)
		if err != nil {
			if ctx.Err() == nil {
				r.log.Warn("it is not known yet what the node was like before", "err", err)
			}
			return
		}
		r.rest.state, r.rest.loaded = restore(was, r.cfg.SettleTimeout), true
	}
	if r.rest.state.observe(time.Now(), pods, known, linked) {
		r.rest.unsaved = true
	}
	if !r.rest.unsaved {
		return
	}
	if err := r.saveSettled(ctx, r.rest.state.settled()); err != nil {
		if ctx.Err() == nil {
			r.log.Warn("it cannot be stored what the node is like", "err", err)
		}
		return
	}
	r.rest.unsaved = false
}

// keepObserving observes until ctx ends.
func (r *Runner) keepObserving(ctx context.Context) {
	for ok := true; ok; ok = sleep(ctx, observeEvery) {
		r.observe(ctx)
	}
}

// settle waits until the node has settled, as far as a gate asks for it, so that the gate asks for
// all that was there before a power cut. It waits for at most Config.SettleTimeout since the node
// was last settled, and then returns what was missing. While it waits the report says so. An error
// is the end of ctx, or of the job.
func (r *Runner) settle(ctx context.Context, name string, h upgrade.Health) (missing string, err error) {
	said, at := "", time.Time{}
	for {
		r.observe(ctx)
		r.rest.mu.Lock()
		loaded := r.rest.loaded
		what, over := r.rest.state.waits(time.Now(), h)
		r.rest.mu.Unlock()
		switch {
		case loaded && !what.pending():
			return "", nil
		case over:
			r.log.Warn("a job goes on though the node has not settled", "job", name, "waited", r.cfg.SettleTimeout, "missing", what.String())
			return what.String(), nil
		case what.String() != said && time.Since(at) >= observeEvery: // each report is written to the disk
			said, at = what.String(), time.Now()
			if err := r.saySettling(ctx, name, said); err != nil {
				return "", err
			}
		}
		if !sleep(ctx, settleEvery) {
			return "", ctx.Err()
		}
	}
}

// saySettling notes in the report that a job waits until the node has settled.
func (r *Runner) saySettling(ctx context.Context, name, what string) error {
	message := fmt.Sprintf("waits, at most %s, until the node has settled after its start: %s", r.cfg.SettleTimeout, what)
	return r.change(ctx, name, func(next *record) {
		next.say(next.Report.Phase, ReasonSettling, message)
	})
}

// settleAccepted is settle for a job that has begun. The report says to its end what was missing.
func (r *Runner) settleAccepted(ctx context.Context, name string, h upgrade.Health) error {
	missing, err := r.settle(ctx, name, h)
	if err != nil {
		return err
	}
	if missing == "" {
		return r.sayNotSettling(ctx, name)
	}
	return r.change(ctx, name, func(next *record) {
		next.say(next.Report.Phase, "", "")
		next.set(v1alpha2.ActionBackUp, metav1.ConditionTrue, fmt.Sprintf("the node had not settled within %s, and the health gate does not ask for what was missing: %s", r.cfg.SettleTimeout, missing), r.cfg.Now())
	})
}

// sayNotSettling takes back what saySettling noted, if it did.
func (r *Runner) sayNotSettling(ctx context.Context, name string) error {
	if rec, ok := r.current(ctx, name); !ok || rec.Report.Reason != ReasonSettling {
		return nil
	}
	return r.change(ctx, name, func(next *record) { next.say(next.Report.Phase, "", "") })
}

func (r *Runner) loadSettled(ctx context.Context) (was settled, err error) {
	rec, err := r.cfg.Store.Get(ctx, settledKey)
	if errors.Is(err, meta.ErrNotFound) {
		return was, nil
	}
	if err != nil {
		return was, err
	}
	if err := json.Unmarshal(rec.Value, &was); err != nil {
		r.log.Error("what the node was like before cannot be read: jobs wait for all pods", "err", err)
		return settled{}, nil
	}
	return was, nil
}

func (r *Runner) saveSettled(ctx context.Context, is settled) error {
	text, err := json.Marshal(is)
	if err != nil {
		return err
	}
	_, err = r.cfg.Store.Apply(ctx, meta.Op{Key: settledKey, Value: text})
	return err
}
