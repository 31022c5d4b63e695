package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"runtime/debug"
	"sync"
	"syscall"

	"github.com/dgraph-io/badger/v4"

	"github.com/edgekit/edgekit/meta"
)

// pageBytes is about how much of a snapshot is read at a time.
const pageBytes = 256 << 10

// snapshot is a view at one revision. It holds no resources but that revision: each read opens
// badger's view again.
type snapshot struct {
	store    *Store
	revision uint64

	mu     sync.Mutex
	closed bool
}

// Snapshot returns the content at the newest revision; see meta.Store.
func (s *Store) Snapshot(ctx context.Context) (meta.Snapshot, error) {
	s.calls.RLock()
	defer s.calls.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Snapshots++
	return &snapshot{store: s, revision: s.enterLocked()}, nil
}

func (v *snapshot) Revision() uint64 { return v.revision }

func (v *snapshot) Get(ctx context.Context, key string) (r meta.Record, err error) {
	err = v.read(ctx, func(txn *badger.Txn) error {
		r, err = get(txn, key)
		return err
	})
	return r, err
}

func (v *snapshot) Records(ctx context.Context, prefix string) iter.Seq2[meta.Record, error] {
	return func(yield func(meta.Record, error) bool) {
		for from, more := prefix, true; more; {
			var page []meta.Record
			err := v.read(ctx, func(txn *badger.Txn) (err error) {
				page, from, err = scan(ctx, txn, prefix, from, pageBytes)
				return err
			})
			if err != nil {
				yield(meta.Record{}, err)
				return
			}
			for _, r := range page {
				if !yield(r, nil) {
					return
				}
			}
			more = from != ""
		}
	}
}

func (v *snapshot) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.closed {
		v.closed = true
		v.store.mu.Lock()
		defer v.store.mu.Unlock()
		v.store.stats.Snapshots--
		v.store.leaveLocked(v.revision)
	}
	return nil
}

// read runs one read under the locks of the store and the snapshot, so that neither is closed during
// it.
func (v *snapshot) read(ctx context.Context, f func(*badger.Txn) error) error {
	v.store.calls.RLock()
	defer v.store.calls.RUnlock()
	if err := v.store.usable(ctx); err != nil {
		return err
	}
	v.mu.Lock()
	closed := v.closed
	if !closed {
		v.store.mu.Lock()
		v.store.views[v.revision]++
		v.store.mu.Unlock()
	}
	v.mu.Unlock()
	if closed {
		return fmt.Errorf("badgerstore: snapshot is closed: %w", net.ErrClosed)
	}
	txn, release := v.store.viewAt(v.revision)
	defer release()
	return f(txn)
}

// view opens the newest durable revision for reading.
func (s *Store) view() (txn *badger.Txn, release func()) {
	s.mu.Lock()
	revision := s.enterLocked()
	s.mu.Unlock()
	return s.viewAt(revision)
}

// viewAt opens a revision that was entered; release leaves it.
func (s *Store) viewAt(revision uint64) (txn *badger.Txn, release func()) {
	s.swap.RLock()
	txn = s.db.NewTransactionAt(revision, false)
	return txn, func() {
		txn.Discard()
		s.swap.RUnlock()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.leaveLocked(revision)
	}
}

// enterLocked keeps badger from dropping the newest durable revision; it needs mu.
func (s *Store) enterLocked() uint64 {
	revision := s.durable.Load()
	s.views[revision]++
	return revision
}

func (s *Store) leaveLocked(revision uint64) {
	if s.views[revision]--; s.views[revision] == 0 {
		delete(s.views, revision)
	}
}

// oldestLocked is the oldest revision that somebody may still read; it needs
// mu.
func (s *Store) oldestLocked() uint64 {
	oldest := s.durable.Load()
	for revision := range s.views {
		oldest = min(oldest, revision)
	}
	return oldest
}

// get reads one key.
func get(txn *badger.Txn, key string) (r meta.Record, err error) {
	defer onFault(&err)()
	item, err := txn.Get(recordKey(key))
	if errors.Is(err, badger.ErrKeyNotFound) || key == "" {
		return r, fmt.Errorf("%w: %q", meta.ErrNotFound, key)
	}
	if err != nil {
		return r, fmt.Errorf("badgerstore: reading %q: %w", key, err)
	}
	return readRecord(txn, key, item)
}

// scan reads the keys with the prefix, starting at from, until it has most bytes or more. It returns
// the key to continue from, "" at the end.
func scan(ctx context.Context, txn *badger.Txn, prefix, from string, most int) (list []meta.Record, next string, err error) {
	defer onFault(&err)()
	// Values lie beside the keys, so that fetching them ahead by goroutines,
	// badger's default, only costs.
	it := txn.NewIterator(badger.IteratorOptions{Prefix: recordKey(prefix)})
	defer it.Close()
	for it.Seek(recordKey(from)); it.Valid(); it.Next() {
		if ctx.Err() != nil {
			return nil, "", context.Cause(ctx)
		}
		key := string(it.Item().Key()[1:])
		if most <= 0 {
			return list, key, nil
		}
		r, err := readRecord(txn, key, it.Item())
		if err != nil {
			return nil, "", err
		}
		list = append(list, r)
		most -= len(r.Key) + len(r.Value)
	}
	return list, "", nil
}

// scanKeys reads the keys with the prefix. badger copies each record into a buffer
// that the next one reuses.
func scanKeys(ctx context.Context, txn *badger.Txn, prefix string) (list []meta.Entry, err error) {
	defer onFault(&err)()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: recordKey(prefix)})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		e := meta.Entry{Key: string(it.Item().Key()[1:])}
		err := it.Item().Value(func(stored []byte) error {
			h, _, err := parseHead(stored)
			e.Revision = h.revision
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("badgerstore: reading %q: %w", e.Key, err)
		}
		list = append(list, e)
	}
	return list, nil
}

// onFault turns a fault of this goroutine into an error that wraps
// syscall.EIO: files are read through memory maps, and where the disk fails to
// give a page, the system sends a signal that would end the process. Use:
//
//	defer onFault(&err)()
func onFault(err *error) func() {
	before := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(before)
		p := recover()
		if p == nil {
			return
		}
		fault, is := p.(interface{ Addr() uintptr })
		if !is {
			panic(p)
		}
		*err = fmt.Errorf("badgerstore: %w: the disk failed to give what is at %#x", syscall.EIO, fault.Addr())
	}
}
