package badgerstore

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/internal/feed"
)

// Open opens the store in Config.Dir, or makes it. It returns only when the
// store can be used; how long that takes depends on the size of the data.
//
// Damaged files are set aside, see the package comment; then Open succeeds with
// an empty store. It fails with an error that wraps
//
//   - ErrInUse when another process has the folder,
//   - ErrKey when the key is not that of the store,
//   - a *meta.NewerError when a newer release wrote the store,
//   - syscall.ENOSPC or syscall.EROFS when the disk is full or read-only and
//     holds no store yet, or one of which no copy could be made,
//   - a *meta.CorruptError when damaged files could not be set aside, or with
//     OnDamage: Fail;
//
// All of these leave the store unchanged. If the disk cannot be written, the store is read from a
// copy in memory until the disk is writable again.
func Open(cfg Config) (*Store, error) { return openAbove(cfg, 0) }

// openAbove opens a store whose revisions, if it is new, are to be above reached.
func openAbove(cfg Config, reached uint64) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := checkAllocator(); err != nil {
		return nil, err
	}
	lock, err := claim(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s, err := openClaimed(cfg, lock, reached)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// openClaimed opens a store whose lock is held. The Store owns the lock from then on, or the
// caller if lock is nil.
func openClaimed(cfg Config, lock *os.File, reached uint64) (*Store, error) {
	s := &Store{
		cfg: cfg, log: cfg.Logger, lock: lock,
		queue: make(chan *request), stop: make(chan struct{}), done: make(chan struct{}), failing: make(chan struct{}),
		views: make(map[uint64]int), reached: reached,
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	s.takeBallast()
	go s.committer()
	return s, nil
}

// open opens the folder, or a copy of it if the disk cannot be written.
func (s *Store) open() error {
	data := filepath.Join(s.cfg.Dir, dataName)
	o, err := s.openFolder(data)
	if takesNothing(err) && hasStore(data) {
		o, err = s.openCopy(data, err)
	}
	if err != nil {
		return err
	}
	s.feed = feed.New(feed.Limits{}, o.floor, o.at.revision)
	s.install(o)
	s.allowDrops()
	if o.lost != nil {
		s.log.Error("the newest writes of the store are gone; going on with what is left", "dir", s.cfg.Dir, "err", o.lost.Reason)
		s.cfg.Damaged(o.lost)
	}
	return nil
}

// install makes an opened database the store's.
func (s *Store) install(o opened) {
	s.db, s.options, s.parked, s.mark = o.db, o.options, o.parked, o.mark
	s.scratch, s.cause, s.valueLog = o.scratch, o.cause, o.valueLog
	s.content = o.at.content
	s.durable.Store(o.at.revision)
}

// openFolder opens badger, with a fresh folder if the one that is there is
// damaged.
func (s *Store) openFolder(data string) (opened, error) {
	if err := s.dropBallast(); err != nil {
		return opened{}, err
	}
	if err := probe(data); err != nil {
		return opened{}, folderError(data, err)
	}
	key, err := settleKey(s.cfg, data)
	if err != nil {
		return opened{}, err
	}
	if hasStore(data) {
		if err := mayOpen(s.cfg, data, key); err != nil {
			return opened{}, err
		}
	}
	o, err := s.openData(data, key)
	if err != nil && damage(err) {
		if s.cfg.OnDamage == Fail {
			return opened{}, fmt.Errorf("badgerstore: %w; restore a backup (Restore), or open it with OnDamage: SetAside to start with an empty one: nothing was changed", &meta.CorruptError{Path: s.cfg.Dir, Reason: err})
		}
		if err = s.setAside(err); err == nil {
			o, err = s.openData(data, key)
		}
	}
	if err != nil {
		return opened{}, fmt.Errorf("badgerstore: opening %s: %w", s.cfg.Dir, err)
	}
	return o, nil
}

// opened is a store that is open and in order.
type opened struct {
	recovered
	db      *badger.DB
	options badger.Options
	parked  bool
	mark    *mark
	scratch string // the copy that it lives on; empty when it lives in its folder
	cause   error  // why it lives on a copy

	valueLog string // the folder in memory of badger's value log; empty if it is beside the tables
}

// openData opens and repairs the content of the folder. Both the checks and badger panic on some
// damage.
func (s *Store) openData(data string, key []byte) (_ opened, err error) {
	valueLog := ""
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(valueLog)) // nothing if it is empty
		}
	}()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("its files are damaged in a way that badger does not survive: %v", p)
		}
	}()
	if err := os.MkdirAll(data, 0o700); err != nil {
		return opened{}, err
	}
	o := profile(data, key, s.log)
	if data == filepath.Join(s.cfg.Dir, dataName) { // a copy is in memory anyway
		if valueLog = s.valueLogFolder(); valueLog != "" {
			o = o.WithValueDir(valueLog)
		}
	}
	mark, reached, missing, err := openMark(data)
	if err != nil {
		return opened{}, err
	}
	s.reached = max(s.reached, reached)
	if err := errors.Join(mendRegistry(data), sweep(data)); err != nil {
		return opened{}, errors.Join(err, mark.Close())
	}
	waiting, err := verify(data, o)
	if err != nil {
		return opened{}, errors.Join(err, mark.Close())
	}
	// badger must not compact on a full disk (see mayWrite). It must not compact before fold
	// either: until it is told which versions it may drop, it keeps all of them.
	first, parked := o, s.mayWrite() != nil
	if parked || waiting.tooMuch() {
		first = o.WithNumCompactors(0).WithNumLevelZeroTablesStall(math.MaxInt)
	}
	db, err := badger.OpenManaged(first)
	if err != nil {
		return opened{}, errors.Join(err, mark.Close())
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close(), mark.Close())
		}
	}()
	r, err := s.recover(db, reached, missing)
	if err != nil {
		return opened{}, err
	}
	if waiting.tooMuch() && !parked {
		if db, err = fold(db, o, r.at.revision); err != nil {
			return opened{}, err
		}
	}
	mark.set(r.at.revision)
	if err := errors.Join(mark.f.Sync(), writeFormat(data, format{schema: schema, key: fingerprint(key)})); err != nil {
		return opened{}, err
	}
	return opened{recovered: r, db: db, options: o, parked: parked, mark: mark, valueLog: valueLog}, nil
}

// recovered is a store that has been brought in order.
type recovered struct {
	at    state
	floor uint64             // the revision after which a watcher can follow
	lost  *meta.CorruptError // the newest writes, if they are gone
}

// recover reads the newest state of the store and checks that it is complete. It removes what a
// crash left unfinished, upgrades a store of an older schema, and makes the keys of a new store.
// reached is the revision that the store is known to have had, 0 if unknown; missing says that it
// was known once.
func (s *Store) recover(db *badger.DB, reached uint64, missing bool) (recovered, error) {
	newest := db.MaxVersion()
	if newest == 0 {
		if reached > 0 || missing {
			return recovered{}, fmt.Errorf("all records are gone, the store had revision %d", reached)
		}
		now := state{revision: max(s.reached+1, s.firstRevision())}
		return recovered{at: now}, write(db, now, []entry{schemaEntry()})
	}
	have, now, err := readState(db)
	if err != nil {
		return recovered{}, err
	}
	db.SetDiscardTs(now.revision) // compaction may have started, and would keep all versions
	if have > schema {
		return recovered{}, newer(s.cfg, have)
	}
	changes, err := upgrade(db, have, &now)
	if err != nil {
		return recovered{}, err
	}
	if have < schema {
		s.log.Info("upgrading the store", "dir", s.cfg.Dir, "from", have, "to", schema)
	} else if err := check(db, now); err != nil {
		return recovered{}, err
	}
	if newest != now.revision {
		leftovers, err := undo(db, now.revision)
		if err != nil {
			return recovered{}, err
		}
		s.log.Warn("undoing a batch that a crash cut off", "dir", s.cfg.Dir, "entries", len(leftovers))
		changes = append(leftovers, changes...)
	}
	r := recovered{at: now}
	if reached > now.revision || missing {
		if s.cfg.OnDamage == Fail {
			return recovered{}, fmt.Errorf("it is at revision %d and had revision %d (0: not known): its newest writes are gone", now.revision, reached)
		}
		r.lost = &meta.CorruptError{Path: s.cfg.Dir, Reason: fmt.Errorf("it is at revision %d and had revision %d (0: not known): its newest writes are gone", now.revision, reached)}
		unsynced, err := forgetSynced(db, &r.at)
		if err != nil {
			return recovered{}, err
		}
		changes = append(changes, unsynced...)
		newest = max(newest, reached, s.firstRevision()) // what was reported since may have had any number up to that
	}
	if len(changes) > 0 || newest != now.revision {
		r.at.revision = newest + 1
		err = write(db, r.at, changes)
	}
	r.floor = r.at.revision
	return r, err
}

// firstRevision makes the first revision of a new store from the time: seconds since 1970, shifted.
// A store that replaces a lost one then continues above its revisions, which the cloud may
// remember. That holds if the lost store wrote less than a million batches a second and the clock
// did not go back.
func (s *Store) firstRevision() uint64 { return uint64(max(0, s.cfg.Now().Unix())) << 20 }

// forgetSynced removes SyncedKey: what the store has lost may have been part of what the cloud
// listed.
func forgetSynced(db *badger.DB, now *state) ([]entry, error) {
	txn := db.NewTransactionAt(now.revision, false)
	defer txn.Discard()
	h, err := readHead(txn, meta.SyncedKey)
	if err != nil || h.revision == 0 {
		return nil, err
	}
	now.content = now.content.replace(meta.SyncedKey, h, head{})
	return []entry{{key: recordKey(meta.SyncedKey)}}, nil
}

// undo lists the entries that restore every key with a version after revision to its value at
// revision.
func undo(db *badger.DB, revision uint64) ([]entry, error) {
	now := db.NewTransactionAt(db.MaxVersion(), false)
	defer now.Discard()
	then := db.NewTransactionAt(revision, false)
	defer then.Discard()
	it := now.NewIterator(badger.IteratorOptions{AllVersions: true, SinceTs: revision})
	defer it.Close()
	var entries []entry
	for it.Rewind(); it.Valid(); it.Next() {
		e := entry{key: it.Item().KeyCopy(nil)}
		item, err := then.Get(e.key)
		if err == nil {
			e.value, err = item.ValueCopy([]byte{})
		}
		if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// sweep removes files that are useless and that badger cannot open after a crash: empty logs, in
// which nothing can have been acknowledged; and the value log, which is never used, with badger's
// notes about it.
func sweep(data string) error {
	for _, pattern := range []string{"*.mem", "*.vlog", "DISCARD"} {
		names, err := filepath.Glob(filepath.Join(data, pattern))
		if err != nil {
			return err
		}
		for _, name := range names {
			if info, err := os.Stat(name); err != nil || info.Size() > 0 && pattern == "*.mem" {
				continue
			}
			if err := os.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}
