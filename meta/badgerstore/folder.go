package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// ErrInUse is returned by Open for a folder that another store has open. The text names the
// process.
var ErrInUse = errors.New("folder is in use")

const (
	dataName = "data"
	lockName = "lock"
	// restoringName is the folder in which a store is made that is to replace
	// another.
	restoringName = "restoring"
)

// claim prepares the folder and takes its lock, until the returned file is closed.
func claim(dir string) (*os.File, error) {
	f, err := claimFolder(dir)
	if err != nil {
		return nil, err
	}
	if err := settle(dir); err != nil {
		return nil, errors.Join(folderError(dir, err), f.Close())
	}
	return f, nil
}

func claimFolder(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, folderError(dir, err)
	}
	name := filepath.Join(dir, lockName)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if takesNothing(err) {
		if there, err := os.Open(name); err == nil { // a lock needs no right to write
			return lock(dir, name, there)
		}
	}
	if err != nil {
		return nil, folderError(dir, err)
	}
	return lock(dir, name, f)
}

func lock(dir, name string, f *os.File) (*os.File, error) {
	taken, err := lockFile(f)
	if err != nil {
		f.Close()
		return nil, folderError(dir, err)
	}
	if taken {
		// The content is only for the error text of another process.
		if f.Truncate(0) == nil {
			_, _ = fmt.Fprintf(f, "process %d (%s)", os.Getpid(), filepath.Base(os.Args[0]))
		}
		return f, nil
	}
	f.Close()
	who, _ := os.ReadFile(name)
	return nil, fmt.Errorf("badgerstore: %s: %w by %s: stop that process, or choose another folder", dir, ErrInUse, owner(who))
}

func owner(text []byte) string {
	if len(text) == 0 || len(text) > 200 {
		return "another process"
	}
	return string(text)
}

// folderError explains why a folder cannot be used, and what to do.
func folderError(dir string, err error) error {
	remedy := "check the folder"
	switch {
	case errors.Is(err, fs.ErrPermission):
		remedy = "give this user the right to write there, or choose another folder"
	case strings.Contains(err.Error(), "read-only file system"):
		remedy = "mount it writable, or choose another folder"
	case strings.Contains(err.Error(), "not a directory"):
		remedy = "choose a folder, not a file"
	}
	return fmt.Errorf("badgerstore: cannot use folder %s: %w: %s", dir, err, remedy)
}

// probe writes a file in the data folder and removes it. badger's errors have no types, so
// this tells a folder that cannot be written from damage.
func probe(data string) error {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	name := filepath.Join(data, "probe")
	if err := os.WriteFile(name, []byte{1}, 0o600); err != nil {
		return err
	}
	return os.Remove(name)
}

// hasStore reports whether the folder has a store, complete or not.
func hasStore(data string) bool {
	for _, name := range []string{badger.ManifestFilename, badger.KeyRegistryFileName, formatName} {
		if _, err := os.Stat(filepath.Join(data, name)); err == nil {
			return true
		}
	}
	return false
}
