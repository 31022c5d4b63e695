package badgerstore

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/dgraph-io/badger/v4"
)

// room is the space on a disk.
type room struct {
	free     int64 // bytes for this process
	readOnly bool
}

// The ballast is a file that only occupies space. badger writes through memory maps, where a full
// disk kills the process, and it must write a little to open and to close. The ballast is removed for
// that and made again.
const (
	ballastName = "ballast"
	ballastSize = 8 << 20
	ballastMin  = 1 << 20
	// roomToMove is what badger may need to open or close: it writes out all
	// memtables, of which there are two.
	roomToMove = 2 * memTable
)

// unpark opens badger again with compaction, after the disk was full.
func (s *Store) unpark() error {
	s.swap.Lock()
	defer s.swap.Unlock()
	if err := s.db.Close(); err != nil {
		return err
	}
	db, err := badger.OpenManaged(s.options)
	if err != nil {
		return err // the old one stays, closed: it answers with errors
	}
	s.db, s.parked = db, false
	return nil
}

// mayWrite returns an error if the disk cannot take a batch now. It wraps syscall.ENOSPC or
// syscall.EROFS, and may go away.
func (s *Store) mayWrite() error {
	left, err := diskRoom(s.cfg.Dir)
	switch {
	case err != nil:
		return fmt.Errorf("badgerstore: %w", err)
	case left.readOnly:
		return fmt.Errorf("badgerstore: %s: %w: mount that disk writable", s.cfg.Dir, syscall.EROFS)
	case left.free < s.cfg.Reserve:
		return fmt.Errorf("badgerstore: %s: %w: %d bytes are left, %d are kept in reserve: make room on that disk", s.cfg.Dir, syscall.ENOSPC, left.free, s.cfg.Reserve)
	}
	return nil
}

// dropBallast removes the ballast if the disk is so full that badger could not open or close, and
// fails if that is not enough.
func (s *Store) dropBallast() error {
	if s.cfg.Reserve < 0 {
		return nil
	}
	left, err := diskRoom(s.cfg.Dir)
	if err != nil || left.free >= roomToMove+ballastSize {
		return err
	}
	if err := removeFile(filepath.Join(s.cfg.Dir, ballastName)); err != nil {
		return err
	}
	if left, err = diskRoom(s.cfg.Dir); err == nil && left.free < roomToMove {
		err = fmt.Errorf("badgerstore: %s: %w: %d bytes are left, %d are needed to open the store: make room on that disk", s.cfg.Dir, syscall.ENOSPC, left.free, roomToMove)
	}
	return err
}

// takeBallast makes the ballast as large as there is room for. Without one the
// store works as well until the disk is full.
func (s *Store) takeBallast() {
	name := filepath.Join(s.cfg.Dir, ballastName)
	if _, err := os.Stat(name); s.cfg.Reserve < 0 || err == nil {
		return
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	for size := int64(ballastSize); size >= ballastMin; size /= 2 {
		if err = allocate(f, size); err == nil {
			break
		}
	}
	if err != nil {
		_ = os.Remove(name)
	}
}
