package badgerstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/dgraph-io/badger/v4"

	"github.com/edgekit/edgekit/meta"
)

// maxHeld is after how many commits the committer waits for readers, so that
// badger can drop what is hidden; before that it only tries.
const maxHeld = 1000

// state is how a group of batches leaves one key.
type state struct {
	revision uint64  // 0: the key is absent
	value    []byte  // not to be changed
	pieces   int     // of its value; 0 for one that is whole
	entries  []entry // what brings badger to this state
}

// group is what one sync makes durable: batches in the order they came.
type group struct {
	requests []*request // accepted
	revision uint64     // of the last of them
	keys     []string   // touched, in order
	states   map[string]state
	bytes    int
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
		g := &group{revision: s.durable.Load(), states: make(map[string]state)}
		s.accept(g, first)
		carried = s.gather(g)
		if len(g.requests) == 0 {
			continue
		}
		err := s.commit(g)
		for _, r := range g.requests {
			if r.err = err; err == nil {
				s.feed.Publish(r.revision, r.events)
			} else {
				r.revision = 0 // nothing of the batch counts
			}
			close(r.answered)
		}
		s.allowDrops()
	}
}

// gather accepts what waits as long as all of it fits into one transaction. It
// returns a batch that no longer did.
func (s *Store) gather(g *group) *request {
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
		last := before[op.Key]
		if st, touched := g.states[op.Key]; touched {
			last = meta.Record{Value: st.value, Revision: st.revision}
		}
		if op.Delete && last.Revision == 0 {
			continue
		}
		e := meta.Event{Record: meta.Record{Key: op.Key, Revision: r.revision}, Deleted: op.Delete}
		st := state{}
		if op.Delete {
			e.Value = last.Value
			st.entries = append([]entry{{key: recordKey(op.Key)}}, drop(op.Key, 0, s.pieces[op.Key])...)
		} else {
			st.revision = r.revision
			st.entries, st.value, st.pieces = encode(op.Key, op.Value, r.revision, s.pieces[op.Key])
			e.Value = st.value
		}
		g.set(op.Key, st)
		r.events = append(r.events, e)
	}
}

// before gives the records that the batch deletes or has a condition on, as
// they are before it, and fails if a condition does not hold or the batch has
// lost its turn. Values are read for deletions only.
func (s *Store) before(g *group, r *request) (map[string]meta.Record, error) {
	if s.failed != nil {
		return nil, s.failed
	}
	if r.ctx.Err() != nil {
		return nil, context.Cause(r.ctx)
	}
	txn, release := s.snapshot()
	defer release()
	before := make(map[string]meta.Record)
	for _, op := range r.ops {
		if !op.Delete && op.If == nil {
			continue
		}
		have, err := g.recordOf(txn, op)
		if err != nil {
			return nil, err
		}
		if op.If != nil && *op.If != have.Revision {
			return nil, fmt.Errorf("%w: %q is at revision %d, not %d", meta.ErrConflict, op.Key, have.Revision, *op.If)
		}
		before[op.Key] = have
	}
	return before, nil
}

// recordOf gives the record of op's key as the group leaves it so far, with
// revision 0 for an absent one, and with its value if op deletes it.
func (g *group) recordOf(txn *badger.Txn, op meta.Op) (meta.Record, error) {
	if st, touched := g.states[op.Key]; touched {
		return meta.Record{Value: st.value, Revision: st.revision}, nil
	}
	item, err := txn.Get(recordKey(op.Key))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return meta.Record{}, nil
	}
	if err == nil && op.Delete {
		return readRecord(txn, op.Key, item)
	}
	var r meta.Record
	if err == nil {
		err = item.Value(func(stored []byte) (err error) {
			r.Revision, _, _, err = head(stored)
			return err
		})
	}
	if err != nil {
		return meta.Record{}, fmt.Errorf("badgerstore: reading %q: %w", op.Key, err)
	}
	return r, nil
}

// set replaces what the group does to a key.
func (g *group) set(key string, st state) {
	old, touched := g.states[key]
	if !touched {
		g.keys = append(g.keys, key)
	}
	for _, e := range old.entries {
		g.bytes -= e.size()
	}
	for _, e := range st.entries {
		g.bytes += e.size()
	}
	g.states[key] = st
}

// commit makes the group durable and then visible. Any failure ends writing
// for good: after a failed write or sync nobody knows what the disk holds.
func (s *Store) commit(g *group) error {
	if left, err := free(s.cfg.Dir); err != nil {
		return fmt.Errorf("badgerstore: %w", err)
	} else if left < s.cfg.Reserve {
		return fmt.Errorf("badgerstore: %s: %w: %d bytes are left, %d are kept in reserve: make room on that disk", s.cfg.Dir, syscall.ENOSPC, left, s.cfg.Reserve)
	}
	var entries []entry
	for _, key := range g.keys {
		entries = append(entries, g.states[key].entries...)
	}
	if err := write(s.db, g.revision, entries); err != nil {
		s.failed = fmt.Errorf("badgerstore: writing to %s has ended, open the store again: %w", s.cfg.Dir, err)
		return s.failed
	}
	for _, key := range g.keys {
		if n := g.states[key].pieces; n > 0 {
			s.pieces[key] = n
		} else {
			delete(s.pieces, key)
		}
	}
	s.durable.Store(g.revision)
	return nil
}

// write puts the entries and the revision key into badger as of one version,
// in as many transactions as they need, and syncs each. The revision key is in
// the last one: without it Open undoes the others.
func write(db *badger.DB, revision uint64, entries []entry) error {
	entries = append(entries, entry{[]byte(revisionKey), binary.BigEndian.AppendUint64(nil, revision)})
	for len(entries) > 0 {
		n, size := 0, 0
		for n < len(entries) && n < txnOps && (n == 0 || size+entries[n].size() <= txnBytes) {
			size += entries[n].size()
			n++
		}
		if err := writeTxn(db, revision, entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// writeTxn is one transaction and its sync. badger syncs the newest log only,
// which is the one that the transaction went to, since nobody else writes.
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

// allowDrops tells badger that versions which the durable revision hides may
// go, when no snapshot needs them.
func (s *Store) allowDrops() {
	if !s.readers.TryLock() {
		if s.held++; s.held < maxHeld {
			return
		}
		s.readers.Lock()
	}
	s.held = 0
	s.db.SetDiscardTs(s.durable.Load())
	s.readers.Unlock()
}
