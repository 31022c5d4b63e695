package badgerstore

import (
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"syscall"
)

// valueLogRoom is what a folder in memory must have free for badger's value log, which takes a few
// pages of it. badger writes them through a memory map, where a full folder would end the process.
const valueLogRoom = 8 << 20

// valueLogFolder makes a folder in memory, 0700, for badger's value log, and removes those that
// killed processes have left of the same store. badger syncs the value log with each commit, though
// nothing is ever written to it; in memory that costs nothing. It returns "" if there is no memory
// for it: the value log is beside the tables then.
func (s *Store) valueLogFolder() string {
	parent := s.cfg.scratchFolder()
	if free, ok := memoryRoom(parent); !ok || free < valueLogRoom {
		return ""
	}
	pattern, err := s.scratchName("log")
	if err != nil {
		return ""
	}
	s.removeLeft(parent, pattern)
	dir, err := os.MkdirTemp(parent, pattern)
	if err != nil {
		return ""
	}
	return dir
}

// scratchName is how the names of this store's folders of one kind in Config.Scratch begin.
func (s *Store) scratchName(kind string) (string, error) {
	whole, err := filepath.Abs(s.cfg.Dir)
	if err != nil {
		return "", err
	}
	name := fnv.New64a()
	name.Write([]byte(whole))
	return fmt.Sprintf("edgekit-%s-%016x-", kind, name.Sum(nil)), nil
}

// removeLeft removes what killed processes have left. Containers may share the folder in memory, and
// have stores at the same path: what badger has locked is in use.
func (s *Store) removeLeft(parent, pattern string) {
	left, _ := filepath.Glob(filepath.Join(parent, pattern+"*")) // fails only for a bad pattern
	for _, dir := range left {
		if inUse(dir) {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			s.log.Warn("an old folder of the store was not removed", "folder", dir, "err", err)
		}
	}
}

// inUse reports whether badger of some process has locked the folder. Anybody may write in
// /dev/shm: what has the name of a folder may be a FIFO, which must not hold up the caller.
func inUse(dir string) bool {
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	free, err := lockFile(f)
	return err == nil && !free
}
