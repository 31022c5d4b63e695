package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/edgekit/edgekit/meta"
)

// When the disk is read-only or completely full at Open, the store uses a copy of its files
// in memory. It serves reads from the copy and refuses every batch. The first batch for
// which the disk is writable again moves the store back to its folder, where nothing can
// have changed since.

// takesNothing is meta.TakesNothing for badger's errors, which contain the system's errors
// as text only, and for quotas.
func takesNothing(err error) bool {
	return meta.TakesNothing(err) || errors.Is(err, syscall.EDQUOT) ||
		err != nil && (strings.Contains(err.Error(), "no space left") || strings.Contains(err.Error(), "read-only file system"))
}

// openCopy opens a copy of the folder, which cannot be opened itself because of
// cause.
func (s *Store) openCopy(data string, cause error) (opened, error) {
	key, err := settleKey(s.cfg, data)
	if err == nil {
		err = mayOpen(s.cfg, data, key)
	}
	if err != nil {
		return opened{}, err
	}
	scratch, err := s.copyData(data)
	if err != nil {
		return opened{}, fmt.Errorf("%w; reading it from a copy failed: %w", cause, err)
	}
	o, err := s.openData(scratch, key)
	if err != nil {
		err = errors.Join(err, os.RemoveAll(scratch))
		if damage(err) {
			err = &meta.CorruptError{Path: s.cfg.Dir, Reason: err}
		}
		return opened{}, fmt.Errorf("%w; and it cannot be repaired: %w", err, cause)
	}
	o.scratch, o.cause = scratch, cause
	s.log.Error("the store's disk cannot be written: the store is read from a copy in memory and refuses all writes until the disk is writable", "dir", s.cfg.Dir, "copy", scratch, "err", cause)
	return o, nil
}

// moveBack brings a store that lives on a copy back to its folder. If that
// still cannot be written, it stays where it is.
func (s *Store) moveBack() {
	data := filepath.Join(s.cfg.Dir, dataName)
	err := errors.Join(s.dropBallast(), probe(data))
	var key []byte
	if err == nil {
		key, err = settleKey(s.cfg, data)
	}
	var o opened
	if err == nil {
		o, err = s.openData(data, key)
	}
	if err == nil && (o.at.content != s.content || o.at.revision < s.durable.Load()) {
		err = errors.Join(fmt.Errorf("the store has changed while its disk could not be written: %w", errContent), o.db.Close(), o.mark.Close(), os.RemoveAll(o.valueLog))
	}
	if takesNothing(err) {
		s.cause = err
		return
	}
	if err != nil {
		s.fail(err)
		return
	}
	s.swap.Lock()
	old := opened{db: s.db, mark: s.mark, scratch: s.scratch}
	s.install(o)
	s.swap.Unlock()
	if err := errors.Join(old.db.Close(), old.mark.Close(), os.RemoveAll(old.scratch)); err != nil {
		s.log.Warn("the copy of the store was not removed", "copy", old.scratch, "err", err)
	}
	s.allowDrops()
	s.takeBallast()
	s.log.Info("the store's disk can be written again", "dir", s.cfg.Dir)
}

// scratchFolder is a folder in memory, where the system has one.
func (c Config) scratchFolder() string {
	const memory = "/dev/shm"
	if c.Scratch != "" {
		return c.Scratch
	}
	if info, err := os.Stat(memory); err == nil && info.IsDir() {
		return memory
	}
	return os.TempDir()
}

// copyData copies badger's files and ours into a new folder, 0700, and removes
// those that killed processes have left of the same store.
func (s *Store) copyData(data string) (scratch string, err error) {
	pattern, err := s.scratchName("store")
	if err != nil {
		return "", err
	}
	s.removeLeft(s.cfg.scratchFolder(), pattern)
	if scratch, err = os.MkdirTemp(s.cfg.scratchFolder(), pattern); err != nil {
		return "", err
	}
	files, err := os.ReadDir(data)
	for _, f := range files {
		if err == nil && f.Type().IsRegular() && filepath.Ext(f.Name()) != ".vlog" {
			err = copySparse(filepath.Join(scratch, f.Name()), filepath.Join(data, f.Name()))
		}
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(scratch))
	}
	return scratch, nil
}

// copySparse copies a file without its zeros: badger allocates its logs at full length and
// fills them slowly.
func copySparse(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	block, zero := make([]byte, 16<<10), make([]byte, 16<<10)
	var at int64
	for more := true; more && err == nil; {
		var n int
		n, err = io.ReadFull(in, block)
		if more = err == nil; errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = nil
		}
		if err == nil && !bytes.Equal(block[:n], zero[:n]) {
			_, err = out.WriteAt(block[:n], at)
		}
		at += int64(n)
	}
	if err == nil {
		err = out.Truncate(at)
	}
	return errors.Join(err, out.Close())
}
