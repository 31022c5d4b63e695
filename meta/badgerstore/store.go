package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/internal/feed"
)

// Store is a meta.Store in a folder. Make one with Open. It owns one goroutine,
// the committer, and those of badger; Close waits for all of them.
type Store struct {
	cfg  Config
	log  *slog.Logger
	lock *os.File // nil if somebody else holds it
	feed *feed.Feed

	// swap is held for reading while badger is read, for writing while db is
	// replaced.
	swap sync.RWMutex
	db   *badger.DB

	queue   chan *request // to the committer; unbuffered, so that a caller waits for its turn
	stop    chan struct{} // closed when the committer is to end
	done    chan struct{} // closed when it has
	failing chan struct{} // closed when writing has ended

	// calls is held for reading by every running call, for writing by Close.
	calls  sync.RWMutex
	closed bool

	// durable is the newest revision that is synced. Readers see no other.
	durable atomic.Uint64

	// mu guards the rest of this block.
	mu    sync.Mutex
	views map[uint64]int // how many views are open at which revision
	stats meta.Stats     // the counts

	// The rest belongs to the committer.
	mark     *mark
	content  content // of the durable revision
	failed   error   // why writing has ended
	options  badger.Options
	reached  uint64 // the revision that the store in the folder, or one that was damaged, is known to have had
	parked   bool   // badger does not compact, because the disk was full when it was opened
	scratch  string // the copy in memory that is used because the disk could not be written; empty for none
	valueLog string // the folder in memory of badger's value log; empty for none
	cause    error  // why it lives there
}

// request is one call of Apply on its way through the committer.
type request struct {
	ctx      context.Context // bounds the wait until the batch is started
	ops      []meta.Op
	revision uint64
	err      error
	events   []meta.Event
	answered chan struct{}
}

var (
	_ meta.Store         = (*Store)(nil)
	_ meta.PrefixWatcher = (*Store)(nil)
)

// closePatience is how long Close waits for badger. On a broken disk badger tries again without end
// to write its logs into tables.
const closePatience = 20 * time.Second

// Close waits for running calls, ends all watches and snapshots, and releases the folder. A second
// Close returns nil; later calls return an error that wraps net.ErrClosed. If the disk is full or
// broken, Close returns an error after 20 seconds at most. Acknowledged batches are then in the logs;
// badger's goroutines and the folder's lock end with the process.
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
	if err := s.closeFiles(); err != nil {
		return fmt.Errorf("badgerstore: closing %s: %w", s.cfg.Dir, err)
	}
	return nil
}

func (s *Store) closeFiles() error {
	if s.scratch == "" {
		if err := s.dropBallast(); err != nil {
			return err
		}
	}
	closed := make(chan error, 1)
	go func() { closed <- s.db.Close() }()
	select {
	case err := <-closed:
		s.takeBallast()
		if s.scratch != "" {
			err = errors.Join(err, os.RemoveAll(s.scratch))
		}
		err = errors.Join(err, os.RemoveAll(s.valueLog)) // nothing if it is empty
		if s.lock != nil {
			err = errors.Join(err, s.lock.Close())
		}
		return errors.Join(err, s.mark.Close())
	case <-time.After(closePatience):
		return fmt.Errorf("the disk did not accept all writes within %v", closePatience)
	}
}

// Failing is closed when a write or a sync has failed, and with it all writing
// until the store is opened again; see meta.ErrFailed. A program ends then and
// is started again.
func (s *Store) Failing() <-chan struct{} { return s.failing }

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
	txn, release := s.view()
	defer release()
	return get(txn, key)
}

// List reads all keys with the prefix; see meta.Store.
func (s *Store) List(ctx context.Context, prefix string) ([]meta.Record, uint64, error) {
	s.calls.RLock()
	defer s.calls.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, 0, err
	}
	txn, release := s.view()
	defer release()
	list, _, err := scan(ctx, txn, prefix, prefix, math.MaxInt)
	if err != nil {
		return nil, 0, err
	}
	return list, txn.ReadTs(), nil
}

// Keys returns all keys with the prefix; see meta.Store.
func (s *Store) Keys(ctx context.Context, prefix string) ([]meta.Entry, uint64, error) {
	s.calls.RLock()
	defer s.calls.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, 0, err
	}
	txn, release := s.view()
	defer release()
	list, err := scanKeys(ctx, txn, prefix)
	if err != nil {
		return nil, 0, err
	}
	return list, txn.ReadTs(), nil
}

// Watch follows the keys with the prefix; see meta.Store. The store remembers the last 4,096 changes
// or 1 MiB of them, whichever is less, and none from before it was opened.
func (s *Store) Watch(ctx context.Context, prefix string, after uint64) (<-chan []meta.Event, error) {
	return s.WatchPrefixes(ctx, []string{prefix}, after)
}

// WatchPrefixes follows the keys with any of the prefixes; see
// meta.PrefixWatcher.
func (s *Store) WatchPrefixes(ctx context.Context, prefixes []string, after uint64) (<-chan []meta.Event, error) {
	s.calls.RLock()
	defer s.calls.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	return s.feed.Watch(ctx, after, slices.Clone(prefixes)...)
}

// usable returns an error if the store is closed. The caller holds calls.
func (s *Store) usable(ctx context.Context) error {
	if s.closed {
		return fmt.Errorf("badgerstore: store %s is closed: %w", s.cfg.Dir, net.ErrClosed)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}
