package badgerstore

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ErrInUse is what Open returns for a folder that another store has open; the
// text says which process.
var ErrInUse = errors.New("folder is in use")

const (
	dataName     = "data"
	lockName     = "lock"
	asidePrefix  = "damaged-"
	asideLayout  = "20060102T150405Z"
	asidesToKeep = 3
	keyBytes     = 32
)

// claim makes the folder ready and takes its lock; closing the file lets go.
func claim(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, folderError(dir, err)
	}
	name := filepath.Join(dir, lockName)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, folderError(dir, err)
	}
	taken, err := lockFile(f)
	if err == nil && taken {
		// What is written here is only for the text of somebody else's error.
		who := fmt.Sprintf("process %d (%s)", os.Getpid(), filepath.Base(os.Args[0]))
		if err = f.Truncate(0); err == nil {
			_, err = f.WriteAt([]byte(who), 0)
		}
	}
	if err != nil {
		f.Close()
		return nil, folderError(dir, err)
	}
	if !taken {
		f.Close()
		who, _ := os.ReadFile(name)
		return nil, fmt.Errorf("badgerstore: %s: %w by %s: stop that process, or choose another folder", dir, ErrInUse, owner(who))
	}
	return f, nil
}

func owner(text []byte) string {
	if len(text) == 0 || len(text) > 200 {
		return "another process"
	}
	return string(text)
}

// folderError says what keeps a folder from being used, and what to do.
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

// probe writes a file in the data folder and removes it, so that badger's
// errors, which carry no type, need not be told apart from damage.
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

// setAside renames the data folder and removes the oldest ones set aside.
func setAside(dir string, now time.Time) (string, error) {
	aside := filepath.Join(dir, asidePrefix+now.UTC().Format(asideLayout))
	for n := 2; ; n++ {
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			break
		}
		aside = filepath.Join(dir, fmt.Sprintf("%s%s-%d", asidePrefix, now.UTC().Format(asideLayout), n))
	}
	if err := os.Rename(filepath.Join(dir, dataName), aside); err != nil {
		return "", err
	}
	all, err := filepath.Glob(filepath.Join(dir, asidePrefix+"*"))
	if err != nil {
		return aside, nil // only for a pattern that is wrong
	}
	slices.Sort(all)
	for _, old := range all[:max(0, len(all)-asidesToKeep)] {
		if old != aside {
			if err := os.RemoveAll(old); err != nil {
				return aside, nil // space is lost, the store is not
			}
		}
	}
	return aside, nil
}

// readKey reads the key file. mayMake says that no store exists yet, so that a
// missing key is made.
func readKey(name string, mayMake bool) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && mayMake:
		return makeKey(name)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("badgerstore: key file %s is gone and the store cannot be read without it: put the key back, or remove the store's data folder to start anew", name)
	case err != nil:
		return nil, fmt.Errorf("badgerstore: key file: %w", err)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("badgerstore: key file %s can be read by others (mode %#o): chmod 600 it", name, info.Mode().Perm())
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("badgerstore: key file: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != keyBytes {
		return nil, fmt.Errorf("badgerstore: key file %s must hold %d hexadecimal digits", name, 2*keyBytes)
	}
	return key, nil
}

// makeKey writes a new key and syncs it before anything is encrypted with it.
// The name appears only with the whole key behind it.
func makeKey(name string) ([]byte, error) {
	key := make([]byte, keyBytes)
	rand.Read(key)                                                        // never fails
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+"-*") // makes it 0600
	if err == nil {
		_, err = f.WriteString(hex.EncodeToString(key) + "\n")
		err = errors.Join(err, f.Sync(), f.Close())
		if err == nil {
			err = os.Rename(f.Name(), name)
		}
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}
	if err == nil {
		err = syncDir(filepath.Dir(name))
	}
	if err != nil {
		return nil, fmt.Errorf("badgerstore: making key file %s: %w", name, err)
	}
	return key, nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
