package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/internal/feed"
)

// firstRevisionShift makes the first revision of a new store a time: seconds
// since 1970, shifted by this. A store that replaces a lost one then goes on
// above the revisions of its forerunner, which others may remember, as long as
// that wrote less than a million batches a second and the clock did not go
// back.
const firstRevisionShift = 20

// Open opens the store in Config.Dir, or makes it. It returns only when the
// store can be used; how long that takes depends on the size of the data.
//
// Damaged files are set aside, see the package comment; then Open succeeds with
// an empty store. It fails with an error that wraps ErrInUse when another
// process has the folder, and with one that wraps a *meta.CorruptError when
// damaged files could not be set aside.
func Open(cfg Config) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	lock, err := claim(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, log: cfg.Logger, lock: lock,
		queue: make(chan *request), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if err := s.open(); err != nil {
		lock.Close()
		return nil, err
	}
	go s.committer()
	return s, nil
}

// open opens badger, with a fresh folder if the one that is there is damaged.
func (s *Store) open() error {
	data := filepath.Join(s.cfg.Dir, dataName)
	if err := probe(data); err != nil {
		return folderError(data, err)
	}
	_, err := os.Stat(filepath.Join(data, badger.ManifestFilename))
	key, err := readKey(s.cfg.KeyFile, errors.Is(err, os.ErrNotExist))
	if err != nil {
		return err
	}
	reason := s.openData(data, key)
	if reason == nil || !damage(reason) {
		return explain(s.cfg, reason)
	}
	corrupt := &meta.CorruptError{Path: s.cfg.Dir, Reason: reason}
	if corrupt.Aside, err = setAside(s.cfg.Dir, s.cfg.Now()); err != nil {
		return fmt.Errorf("badgerstore: %w; setting it aside failed: %w", corrupt, err)
	}
	s.log.Error("store is damaged; starting with an empty one", "dir", s.cfg.Dir, "aside", corrupt.Aside, "err", reason)
	s.cfg.Damaged(corrupt)
	return explain(s.cfg, s.openData(data, key))
}

// openData opens what is in the folder and brings it in order. Both the checks
// and badger panic on some damage.
func (s *Store) openData(data string, key []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("badger panicked: %v", p)
		}
	}()
	o := profile(data, key, s.log)
	if err := errors.Join(sweep(data), verify(data, o)); err != nil {
		return err
	}
	db, err := badger.OpenManaged(o)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	if len(key) > 0 {
		if err := db.VerifyChecksum(); err != nil {
			return err
		}
	}
	revision, floor, err := s.recover(db)
	if err != nil {
		return err
	}
	if s.pieces, err = countPieces(db, revision); err != nil {
		return err
	}
	s.db = db
	s.durable.Store(revision)
	s.feed = feed.New(feed.Limits{}, floor, revision)
	return nil
}

// recover reads the newest revision, undoes what a crash left unfinished, and
// makes the keys of a new store. floor is the revision after which a watcher
// can follow.
func (s *Store) recover(db *badger.DB) (revision, floor uint64, err error) {
	newest := db.MaxVersion()
	if newest == 0 {
		revision = max(1, uint64(max(0, s.cfg.Now().Unix()))<<firstRevisionShift)
		return revision, 0, write(db, revision, []entry{{[]byte(schemaKey), binary.AppendUvarint(nil, schema)}})
	}
	if revision, err = readRevision(db); err != nil || newest == revision {
		return revision, revision, err
	}
	leftovers, err := undo(db, revision)
	if err != nil {
		return 0, 0, err
	}
	s.log.Warn("undoing a batch that a crash cut off", "dir", s.cfg.Dir, "entries", len(leftovers))
	return newest + 1, newest + 1, write(db, newest+1, leftovers)
}

// readRevision reads the newest revision, and checks the schema first.
func readRevision(db *badger.DB) (revision uint64, err error) {
	err = db.View(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte(schemaKey))
		if err != nil {
			return fmt.Errorf("schema key: %w", err)
		}
		if err := item.Value(func(b []byte) error {
			if v, n := binary.Uvarint(b); n <= 0 || v != schema {
				return &newerError{v}
			}
			return nil
		}); err != nil {
			return err
		}
		if item, err = txn.Get([]byte(revisionKey)); err != nil {
			return fmt.Errorf("revision key: %w", err)
		}
		return item.Value(func(b []byte) error {
			if len(b) != 8 {
				return errForm
			}
			revision = binary.BigEndian.Uint64(b)
			return nil
		})
	})
	return revision, err
}

// undo lists the entries that bring all keys with a version after revision
// back to what they were at it.
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

// countPieces finds the values that are stored in pieces.
func countPieces(db *badger.DB, revision uint64) (map[string]int, error) {
	txn := db.NewTransactionAt(revision, false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{pieceByte}})
	defer it.Close()
	pieces := make(map[string]int)
	for it.Rewind(); it.Valid(); it.Next() {
		k := it.Item().Key()
		if len(k) < 4 {
			return nil, errForm
		}
		pieces[string(k[1:len(k)-2])]++
	}
	return pieces, nil
}

// newerError says that a newer release wrote the store.
type newerError struct{ schema uint64 }

func (e *newerError) Error() string {
	return fmt.Sprintf("the store has schema %d, this program knows %d: use the newer program, or another folder", e.schema, schema)
}

// damage reports whether an error from opening means that the files are no
// good. badger turns the errors of the system into text, so that text is all
// there is to tell a full disk from a broken file; what is not known to come
// from outside counts as damage, since a node that cannot start is worse than
// one that starts empty.
func damage(err error) bool {
	var newer *newerError
	if errors.As(err, &newer) || errors.Is(err, badger.ErrEncryptionKeyMismatch) {
		return false
	}
	for _, outside := range []string{
		"no space left", "disk quota exceeded", "too many open files", "cannot allocate memory",
		"permission denied", "operation not permitted", "read-only file system", "directory lock",
	} {
		if strings.Contains(err.Error(), outside) {
			return false
		}
	}
	return true
}

// explain adds the remedy to an error from opening.
func explain(cfg Config, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, badger.ErrEncryptionKeyMismatch) && cfg.KeyFile == "":
		return fmt.Errorf("badgerstore: store %s is encrypted: name its key file", cfg.Dir)
	case errors.Is(err, badger.ErrEncryptionKeyMismatch):
		return fmt.Errorf("badgerstore: the key in %s is not the one that store %s was made with", cfg.KeyFile, cfg.Dir)
	}
	return fmt.Errorf("badgerstore: opening %s: %w", cfg.Dir, err)
}
