// Package durable replaces files so that a power cut leaves the old content or the new.
package durable

import (
	"errors"
	"os"
	"path/filepath"
)

// WriteFile replaces a file, which only its owner may read. The new content is on the disk
// when it returns. A crash may leave a file with ".new" behind the name, which the next
// call overwrites. Calls for one name must not overlap.
func WriteFile(name string, content []byte) error {
	fresh := name + ".new"
	f, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(fresh, name); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(name))
}

// SyncDir makes durable what was renamed or removed in a folder.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
