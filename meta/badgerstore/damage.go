package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/edgekit/edgekit/meta"
)

const (
	asidePrefix = "damaged-"
	asideLayout = "20060102T150405Z"
	// How many damaged stores are kept, and how many bytes of those before the newest.
	asidesToKeep = 3
	asideBytes   = 64 << 20
)

// damage reports whether an error of opening means that the files are damaged. badger turns
// the system's errors into text, so only the text tells a full disk from a broken file. An
// unknown error counts as damage: a node that cannot start is worse than one that starts
// empty.
func damage(err error) bool {
	if _, newer := errors.AsType[*meta.NewerError](err); newer || errors.Is(err, ErrKey) {
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

// setAside renames the data folder, removes old ones to make room, and calls Config.Damaged.
func (s *Store) setAside(reason error) error {
	stamp := filepath.Join(s.cfg.Dir, asidePrefix+s.cfg.Now().UTC().Format(asideLayout))
	aside := stamp
	for n := 2; ; n++ {
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			break
		}
		aside = fmt.Sprintf("%s-%03d", stamp, n) // of one second; so they still sort by age
	}
	corrupt := &meta.CorruptError{Path: s.cfg.Dir, Aside: aside, Reason: reason}
	err := os.Rename(filepath.Join(s.cfg.Dir, dataName), aside)
	if err == nil {
		err = syncDir(s.cfg.Dir)
	}
	if err != nil {
		corrupt.Aside = ""
		return fmt.Errorf("badgerstore: %w; setting it aside failed: %w", corrupt, err)
	}
	s.trimAsides()
	if _, err := os.Lstat(aside); err != nil {
		corrupt.Aside = "" // the disk is too full to keep it
	}
	s.log.Error("store is damaged; starting with an empty one", "dir", s.cfg.Dir, "aside", corrupt.Aside, "err", reason)
	s.cfg.Damaged(corrupt)
	return nil
}

// trimAsides removes damaged stores, the oldest first, down to the bounds, or all of them if
// the disk is full. It ignores a folder that cannot be removed.
func (s *Store) trimAsides() {
	all := asides(s.cfg.Dir)
	var older int64 // bytes of those before the newest
	for _, name := range all[:max(0, len(all)-1)] {
		older += folderSize(name)
	}
	for i, name := range all {
		room, err := diskRoom(s.cfg.Dir)
		full := err == nil && room.free < s.cfg.Reserve
		newest := i == len(all)-1
		if !full && (newest || len(all)-i <= asidesToKeep && older <= asideBytes) {
			return
		}
		older -= folderSize(name)
		if err := os.RemoveAll(name); err != nil {
			s.log.Warn("a damaged store that was set aside could not be removed", "dir", name, "err", err)
		}
	}
}

// asides lists the damaged stores that are kept, the oldest first.
func asides(dir string) []string {
	all, _ := filepath.Glob(filepath.Join(dir, asidePrefix+"*")) // sorted; fails only for a bad pattern
	return all
}

// folderSize returns the bytes that the files right in a folder take on disk.
func folderSize(dir string) (total int64) {
	entries, _ := os.ReadDir(dir) // one that cannot be read counts as nothing
	for _, e := range entries {
		if info, err := e.Info(); err == nil { // a file may go meanwhile
			total += allocated(info)
		}
	}
	return total
}
