package rules

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/leader"
)

// fieldManager is cloudcore's name in server-side apply.
const fieldManager = "edgekit-rules"

// statusWrites is how many statuses are written at the same time.
const statusWrites = 4

// tally is what happened to a rule's messages since its status was written.
type tally struct {
	nodes map[string]*v1.NodeCount
	last  *v1.RuleError
	dead  []v1.DeadLetter // the newest first
	given int64           // dead letters
}

// statuses counts, and writes the counts into Rules now and then.
type statuses struct {
	c    *Controller
	wake chan struct{}

	mu      sync.Mutex
	tallies map[cache.Name]*tally
	judge   map[cache.Name]struct{} // rules whose condition may have changed

	succeeded, failed, given, dropped atomic.Uint64 // since the start, of all rules
}

// Stats are counts of this cloudcore since the start.
type Stats struct {
	Delivered   uint64 // messages and requests that their target took
	Failed      uint64 // tries that failed, and messages that were given up
	DeadLetters uint64 // messages that were given up
	Dropped     uint64 // messages of nodes that no rule is for, or that cannot be read
	Waiting     int    // messages that wait in the API server for nodes that are away
}

// Stats returns the counts so far.
func (c *Controller) Stats() Stats {
	s := c.statuses
	return Stats{
		Delivered: s.succeeded.Load(), Failed: s.failed.Load(), DeadLetters: s.given.Load(), Dropped: s.dropped.Load(), Waiting: c.messages.Len(),
	}
}

func newStatuses(c *Controller) *statuses {
	return &statuses{c: c, wake: make(chan struct{}, 1), tallies: make(map[cache.Name]*tally), judge: make(map[cache.Name]struct{})}
}

// change changes the tally of a rule.
func (s *statuses) change(name cache.Name, f func(*tally)) {
	s.mu.Lock()
	t := s.tallies[name]
	if t == nil {
		t = &tally{nodes: make(map[string]*v1.NodeCount)}
		s.tallies[name] = t
	}
	f(t)
	s.mu.Unlock()
	s.notify()
}

func (s *statuses) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (t *tally) node(node string) *v1.NodeCount {
	n := t.nodes[node]
	if n == nil {
		n = &v1.NodeCount{Node: node}
		t.nodes[node] = n
	}
	n.LastTime = metav1.Now()
	return n
}

func (s *statuses) success(name cache.Name, node string) {
	s.succeeded.Add(1)
	s.change(name, func(t *tally) { t.node(node).SuccessMessages++ })
}

func (s *statuses) failure(name cache.Name, node, text string) {
	s.failed.Add(1)
	s.change(name, func(t *tally) {
		t.node(node).FailMessages++
		t.last = &v1.RuleError{Time: metav1.Now(), Node: node, Text: clip(text)}
	})
}

func (s *statuses) dead(name cache.Name, letter v1.DeadLetter) {
	s.given.Add(1)
	s.change(name, func(t *tally) {
		t.given++
		t.dead = slices.Insert(t.dead, 0, letter)
		t.dead = t.dead[:min(len(t.dead), v1.MaxDeadLetters)]
	})
}

// judged has the condition of a rule written if it is not what the Rule has.
func (s *statuses) judged(r *resolved) {
	if settled(r) {
		return
	}
	s.mu.Lock()
	s.judge[r.name] = struct{}{}
	s.mu.Unlock()
	s.notify()
}

// condition is what the condition Resolved of a rule must be.
func condition(r *resolved) metav1.Condition {
	status := metav1.ConditionFalse
	if r.ok() {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: v1.ConditionResolved, Status: status, Reason: r.reason, Message: clip(r.message), ObservedGeneration: r.rule.Generation}
}

// settled reports whether a Rule has its condition.
func settled(r *resolved) bool {
	have, want := meta.FindStatusCondition(r.rule.Status.Conditions, v1.ConditionResolved), condition(r)
	return have != nil && have.Status == want.Status && have.Reason == want.Reason && have.Message == want.Message && have.ObservedGeneration == want.ObservedGeneration
}

// judgeDelay is how long a change may wait for changes that come with it.
const judgeDelay = 200 * time.Millisecond

// run writes statuses until ctx ends. Conditions are written soon, counts at most every
// Config.StatusEvery.
func (s *statuses) run(ctx context.Context) error {
	var counted time.Time
	var pause time.Duration // after a write that failed
	for {
		select {
		case <-ctx.Done():
			s.last(ctx)
			return nil
		case <-s.wake:
		}
		if !s.wait(ctx, counted, pause) {
			s.last(ctx)
			return nil
		}
		due := time.Now()
		all := due.Sub(counted) >= s.c.cfg.StatusEvery
		if all {
			counted = due
		}
		left, failed := s.flush(ctx, all)
		if left {
			s.notify()
		}
		pause = min(max(2*pause, time.Second), s.c.cfg.StatusEvery)
		if !failed {
			pause = 0
		}
	}
}

// wait waits until something is due, and reports whether ctx is still alive. Conditions do not wait
// for the time of counts.
func (s *statuses) wait(ctx context.Context, counted time.Time, pause time.Duration) bool {
	begun := time.Now()
	return leader.WaitDue(ctx, s.wake, func() time.Time {
		s.mu.Lock()
		conditions := len(s.judge) > 0
		s.mu.Unlock()
		due := begun.Add(max(judgeDelay, pause))
		if at := counted.Add(s.c.cfg.StatusEvery); at.After(due) && !conditions {
			return at
		}
		return due
	})
}

// lastWrite is how long the counts may take to be written when cloudcore stops.
const lastWrite = 5 * time.Second

// last writes the counts when cloudcore stops.
func (s *statuses) last(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWrite)
	defer cancel()
	s.flush(ctx, true)
}

// flush writes what is due and reports whether something is left, and whether a write failed.
func (s *statuses) flush(ctx context.Context, counts bool) (left, failed bool) {
	s.mu.Lock()
	names := make(map[cache.Name]*tally)
	for name := range s.judge {
		names[name] = nil
	}
	clear(s.judge)
	if counts {
		for name, t := range s.tallies {
			names[name] = t
		}
		clear(s.tallies)
	}
	left = len(s.tallies) > 0
	s.mu.Unlock()
	var group errgroup.Group
	group.SetLimit(statusWrites)
	var mu sync.Mutex
	for name, t := range names {
		group.Go(func() error {
			err := s.write(ctx, name, t)
			if err == nil || ctx.Err() != nil {
				return nil
			}
			s.c.log.Warn("the status of a rule cannot be written; trying again", "rule", name.Namespace+"/"+name.Name, "err", err)
			s.restore(name, t)
			mu.Lock()
			left, failed = true, true
			mu.Unlock()
			return nil
		})
	}
	_ = group.Wait() // the functions return nil
	return left, failed
}

// restore adds a tally that was not written to what was counted since.
func (s *statuses) restore(name cache.Name, old *tally) {
	if old == nil {
		s.mu.Lock()
		s.judge[name] = struct{}{}
		s.mu.Unlock()
		return
	}
	s.change(name, func(t *tally) {
		for node, n := range old.nodes {
			now := t.nodes[node]
			if now == nil {
				t.nodes[node] = n
				continue
			}
			now.SuccessMessages += n.SuccessMessages
			now.FailMessages += n.FailMessages
		}
		if t.last == nil {
			t.last = old.last
		}
		t.given += old.given
		t.dead = append(t.dead, old.dead...)
		t.dead = t.dead[:min(len(t.dead), v1.MaxDeadLetters)]
	})
}

// write writes the status of one Rule. The version of the Rule that it starts from is a
// condition of the write, so that two cloudcores lose no counts.
func (s *statuses) write(ctx context.Context, name cache.Name, t *tally) error {
	client := s.c.ruleClient(name.Namespace)
	for try := 0; ; try++ {
		u, err := client.Get(ctx, name.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		rule, err := cache.Decode[v1.Rule](u)
		if err != nil {
			return err
		}
		before, err := json.Marshal(rule.Status)
		if err != nil {
			return err
		}
		merge(&rule.Status, t)
		if r := s.c.rule(name); r != nil && r.rule.UID == rule.UID && r.rule.Generation == rule.Generation {
			meta.SetStatusCondition(&rule.Status.Conditions, condition(r))
			rule.Status.ObservedGeneration = rule.Generation
		}
		after, err := json.Marshal(rule.Status)
		if err != nil || string(before) == string(after) {
			return err
		}
		body, err := json.Marshal(map[string]any{
			"apiVersion": v1.GroupVersion().String(), "kind": "Rule",
			"metadata": map[string]any{"name": name.Name, "namespace": name.Namespace, "uid": rule.UID, "resourceVersion": rule.ResourceVersion},
			"status":   json.RawMessage(after),
		})
		if err != nil {
			return err
		}
		_, err = client.Patch(ctx, name.Name, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: fieldManager, Force: new(true)}, "status")
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case apierrors.IsConflict(err) && try < 4:
			continue
		}
		return err
	}
}

// merge adds what happened to a status.
func merge(st *v1.RuleStatus, t *tally) {
	if t == nil {
		return
	}
	for node, n := range t.nodes {
		st.SuccessMessages += n.SuccessMessages
		st.FailMessages += n.FailMessages
		i := slices.IndexFunc(st.PerNode, func(have v1.NodeCount) bool { return have.Node == node })
		if i < 0 {
			st.PerNode = append(st.PerNode, *n)
			continue
		}
		st.PerNode[i].SuccessMessages += n.SuccessMessages
		st.PerNode[i].FailMessages += n.FailMessages
		st.PerNode[i].LastTime = n.LastTime
	}
	slices.SortFunc(st.PerNode, func(a, b v1.NodeCount) int {
		return cmp.Or(b.LastTime.Compare(a.LastTime.Time), cmp.Compare(a.Node, b.Node))
	})
	st.PerNode = st.PerNode[:min(len(st.PerNode), v1.MaxNodes)]
	if t.last != nil {
		st.LastError, st.Errors = t.last, []string{t.last.Text}
	}
	st.DeadLetterMessages += t.given
	st.DeadLetters = append(slices.Clone(t.dead), st.DeadLetters...)
	st.DeadLetters = st.DeadLetters[:min(len(st.DeadLetters), v1.MaxDeadLetters)]
}
