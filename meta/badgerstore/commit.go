package badgerstore

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/edgekit/edgekit/meta"
)

// last is a key before a batch: its head and its value, which must not be changed. The
// value is known only if the group wrote it or the batch deletes it.
type last struct {
	head
	value []byte
}

// change is what a group does to one key.
type change struct {
	was     head    // in badger before the group
	is      last    // as the group leaves it
	entries []entry // what brings badger there
}

// group is what one sync makes durable: batches in their order of arrival.
type group struct {
	requests []*request // accepted
	revision uint64     // of the last of them
	keys     []string   // touched, in order
	changes  map[string]change
	bytes    int
	begun    time.Time
}

// committer gathers the batches that wait and commits them together, until the
// store is closed.
func (s *Store) committer() {
	defer close(s.done)
	var carried *request
	for {
		first := carried
		if first == nil {
			select {
			case first = <-s.queue:
			case <-s.stop:
				return
			}
		}
		if s.scratch != "" && s.failed == nil && s.mayWrite() == nil {
			s.moveBack()
		}
		g := &group{begun: time.Now(), revision: s.durable.Load(), changes: make(map[string]change)}
		s.accept(g, first)
		carried = s.gather(g)
		if len(g.requests) == 0 {
			continue
		}
		err := s.commit(g)
		s.count(g, err)
		for _, r := range g.requests {
			if r.err = err; err == nil {
				s.feed.Publish(r.revision, r.events)
			} else {
				r.revision = 0 // nothing of the batch was applied
			}
			close(r.answered)
		}
		s.allowDrops()
	}
}

// gather accepts the waiting batches as long as they fit into one transaction. It returns
// the first batch that does not fit.
func (s *Store) gather(g *group) *request {
	// The callers that the last commit has just answered get the chance to send their
	// next batch: with 8 writers that makes groups of 7 instead of 5.
	runtime.Gosched()
	for {
		select {
		case r := <-s.queue:
			size := 0
			for _, op := range r.ops {
				size += 2*len(op.Key) + len(op.Value) + 64
			}
			if g.bytes+size > txnBytes {
				return r
			}
			s.accept(g, r)
		default:
			return nil
		}
	}
}

// accept adds a batch to the group if its conditions hold, else answers it.
func (s *Store) accept(g *group, r *request) {
	before, err := s.before(g, r)
	if err != nil {
		r.err = err
		close(r.answered)
		return
	}
	g.revision++
	r.revision = g.revision
	g.requests = append(g.requests, r)
	for _, op := range r.ops {
		c, touched := g.changes[op.Key]
		if !touched {
			c.is = before[op.Key]
			c.was = c.is.head
		}
		if op.Delete && c.is.revision == 0 {
			continue
		}
		e := meta.Event{Record: meta.Record{Key: op.Key, Revision: r.revision}, Deleted: op.Delete}
		if op.Delete {
			e.Value, c.is = c.is.value, last{}
			c.entries = append([]entry{{key: recordKey(op.Key)}}, drop(op.Key, 0, c.was.pieces)...)
		} else {
			c.is.revision = r.revision
			c.entries, c.is.value, c.is.pieces = encode(op.Key, op.Value, r.revision, c.was.pieces)
			e.Value = c.is.value
		}
		g.set(op.Key, c)
		r.events = append(r.events, e)
	}
}

// before returns the batch's keys as they are before it, and fails if a condition
// does not hold or the batch has lost its turn.
func (s *Store) before(g *group, r *request) (before map[string]last, err error) {
	if s.failed != nil {
		return nil, s.failed
	}
	if r.ctx.Err() != nil {
		return nil, context.Cause(r.ctx)
	}
	defer onFault(&err)()
	txn, release := s.view()
	defer release()
	before = make(map[string]last, len(r.ops))
	for _, op := range r.ops {
		have, err := g.last(txn, op)
		if err != nil {
			return nil, err
		}
		if op.If != nil && *op.If != have.revision {
			return nil, fmt.Errorf("%w: %q is at revision %d, not %d", meta.ErrConflict, op.Key, have.revision, *op.If)
		}
		if known, again := before[op.Key]; !again || known.value == nil {
			before[op.Key] = have
		}
	}
	return before, nil
}

// last returns op's key as the group leaves it so far.
func (g *group) last(txn *badger.Txn, op meta.Op) (last, error) {
	if c, touched := g.changes[op.Key]; touched {
		return c.is, nil
	}
	h, err := readHead(txn, op.Key)
	if err != nil || h.revision == 0 || !op.Delete {
		return last{head: h}, err
	}
	r, err := get(txn, op.Key)
	return last{h, r.Value}, err
}

// set replaces what the group does to a key.
func (g *group) set(key string, c change) {
	old, touched := g.changes[key]
	if !touched {
		g.keys = append(g.keys, key)
	}
	for _, e := range old.entries {
		g.bytes -= e.size()
	}
	for _, e := range c.entries {
		g.bytes += e.size()
	}
	g.changes[key] = c
}

// commit makes the group durable and then visible. After a failed write or sync the content
// of the disk is unknown, so the store does not write any more.
func (s *Store) commit(g *group) error {
	if err := s.mayWrite(); err != nil {
		return err
	}
	if s.scratch != "" {
		return s.cause
	}
	now := state{g.revision, s.content}
	var entries []entry
	for _, key := range g.keys {
		c := g.changes[key]
		entries = append(entries, c.entries...)
		now.content = now.content.replace(key, c.was, c.is.head)
	}
	var err error
	if s.parked {
		err = s.unpark()
	}
	if err == nil {
		err = write(s.db, now, entries)
	}
	if err != nil {
		s.fail(err)
		return s.failed
	}
	s.content = now.content
	s.durable.Store(now.revision)
	s.mark.set(now.revision)
	return nil
}

// fail ends writing for good.
func (s *Store) fail(err error) {
	s.failed = fmt.Errorf("%w in %s, open the store again: %w", meta.ErrFailed, s.cfg.Dir, err)
	close(s.failing)
}

// write puts the entries and the state into badger as of the state's revision,
// in as many transactions as they need, and syncs each. The state is in the
// last one: without it Open undoes the others.
func write(db *badger.DB, now state, entries []entry) error {
	entries = append(entries, now.entry())
	for len(entries) > 0 {
		n, size := 0, 0
		for n < len(entries) && n < txnOps && (n == 0 || size+entries[n].size() <= txnBytes) {
			size += entries[n].size()
			n++
		}
		if err := writeTxn(db, now.revision, entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// writeTxn is one transaction and its sync. badger syncs the newest log only. The
// transaction went to that log, because nothing else writes.
func writeTxn(db *badger.DB, revision uint64, entries []entry) error {
	txn := db.NewTransactionAt(revision, true)
	defer txn.Discard()
	for _, e := range entries {
		var err error
		if e.value == nil {
			err = txn.Delete(e.key)
		} else {
			err = txn.Set(e.key, e.value)
		}
		if err != nil {
			return err
		}
	}
	if err := txn.CommitAt(revision, nil); err != nil {
		return err
	}
	return db.Sync()
}

// allowDrops tells badger which versions it may drop: those that newer ones hide, from the
// durable revision and from every open view.
func (s *Store) allowDrops() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.db.SetDiscardTs(s.oldestLocked())
}
