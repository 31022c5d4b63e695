package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/internal/feed"
)

// Store is a meta.Store in a folder. Make one with Open. It owns one goroutine,
// the committer, and those of badger; Close waits for all of them.
type Store struct {
	cfg  Config
	log  *slog.Logger
	lock *os.File
	db   *badger.DB
	feed *feed.Feed

	queue chan *request // to the committer; unbuffered, so that a caller waits for its turn
	stop  chan struct{} // closed when the committer is to end
	done  chan struct{} // closed when it has

	// calls is held for reading by every call under way, for writing by Close.
	calls  sync.RWMutex
	closed bool

	// durable is the newest revision that is synced. Readers see no other.
	durable atomic.Uint64
	// readers is held for reading while a snapshot is read. badger may drop
	// versions that a newer durable revision hides only when nobody holds it.
	readers sync.RWMutex

	// The rest belongs to the committer.
	pieces map[string]int // keys whose values are in pieces, with how many
	failed error          // why writing has ended
	held   int            // commits since badger was last told what it may drop
}

// request is one call of Apply on its way through the committer.
type request struct {
	ctx      context.Context // bounds the wait for a turn
	ops      []meta.Op
	revision uint64
	err      error
	events   []meta.Event
	answered chan struct{}
}

var _ meta.Store = (*Store)(nil)

// Close waits for calls under way, ends all watches and lets go of the folder.
// Twice is nil; later calls wrap net.ErrClosed.
func (s *Store) Close() error {
	s.calls.Lock()
	defer s.calls.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	close(s.stop)
	<-s.done
	s.feed.Close()
	err := errors.Join(s.db.Close(), s.lock.Close())
	if err != nil {
		return fmt.Errorf("badgerstore: closing %s: %w", s.cfg.Dir, err)
	}
	return nil
}

// Apply makes the ops durable as one batch; see meta.Store. Several calls at
// the same time share one sync of the disk.
func (s *Store) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	if err := meta.CheckOps(ops); err != nil {
		return 0, err
	}
	s.calls.RLock()
	defer s.calls.RUnlock()
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	if len(ops) == 0 {
		return s.durable.Load(), nil
	}
	r := &request{ctx: ctx, ops: ops, answered: make(chan struct{})}
	select {
	case s.queue <- r:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	<-r.answered
	return r.revision, r.err
}

// Get reads one key; see meta.Store.
func (s *Store) Get(ctx context.Context, key string) (meta.Record, error) {
	s.calls.RLock()
	defer s.calls.RUnlock()
	if err := s.usable(ctx); err != nil {
		return meta.Record{}, err
	}
	txn, release := s.snapshot()
	defer release()
	item, err := txn.Get(recordKey(key))
	if errors.Is(err, badger.ErrKeyNotFound) || key == "" {
		return meta.Record{}, fmt.Errorf("%w: %q", meta.ErrNotFound, key)
	}
	if err != nil {
		return meta.Record{}, fmt.Errorf("badgerstore: reading %q: %w", key, err)
	}
	return readRecord(txn, key, item)
}

// List reads all keys with the prefix; see meta.Store.
func (s *Store) List(ctx context.Context, prefix string) ([]meta.Record, uint64, error) {
	s.calls.RLock()
	defer s.calls.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, 0, err
	}
	txn, release := s.snapshot()
	defer release()
	// Values lie beside the keys, so that fetching them ahead by goroutines,
	// badger's default, only costs.
	it := txn.NewIterator(badger.IteratorOptions{Prefix: recordKey(prefix)})
	defer it.Close()
	var list []meta.Record
	for it.Rewind(); it.Valid(); it.Next() {
		if ctx.Err() != nil {
			return nil, 0, context.Cause(ctx)
		}
		r, err := readRecord(txn, string(it.Item().Key()[1:]), it.Item())
		if err != nil {
			return nil, 0, err
		}
		list = append(list, r)
	}
	return list, txn.ReadTs(), nil
}

// Watch follows the keys with the prefix; see meta.Store. The last 4,096
// changes or 1 MiB of them are remembered, whichever is less, and none from
// before the store was opened.
func (s *Store) Watch(ctx context.Context, prefix string, after uint64) (<-chan []meta.Event, error) {
	s.calls.RLock()
	defer s.calls.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	return s.feed.Watch(ctx, prefix, after)
}

// Size gives the bytes that the store's files take on disk.
func (s *Store) Size() (int64, error) {
	var total int64
	entries, err := os.ReadDir(filepath.Join(s.cfg.Dir, dataName))
	for _, e := range entries {
		if info, err := e.Info(); err == nil { // a file may go meanwhile
			total += allocated(info)
		}
	}
	if err != nil {
		return total, fmt.Errorf("badgerstore: %w", err)
	}
	return total, nil
}

// usable is called with calls held.
func (s *Store) usable(ctx context.Context) error {
	if s.closed {
		return fmt.Errorf("badgerstore: store %s is closed: %w", s.cfg.Dir, net.ErrClosed)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// snapshot opens the newest durable revision for reading.
func (s *Store) snapshot() (txn *badger.Txn, release func()) {
	s.readers.RLock()
	txn = s.db.NewTransactionAt(s.durable.Load(), false)
	return txn, func() {
		txn.Discard()
		s.readers.RUnlock()
	}
}
