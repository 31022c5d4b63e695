package badgerstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// A store takes the place of another in three steps, each of which a power cut
// leaves done or not: the new one, whole and synced, is renamed to nextName; the
// old one goes out of the way; the new one becomes dataName. settle finishes, or
// takes back, what was cut off.
const (
	nextName  = "next"
	plainName = "plain" // the unencrypted store that Encrypt has replaced, until it is removed
)

// replace puts the data folder of fresh in the place of that of dir, which is
// renamed to before.
func replace(dir, fresh, before string) error {
	data, next := filepath.Join(dir, dataName), filepath.Join(dir, nextName)
	for _, step := range []struct{ from, to string }{{filepath.Join(fresh, dataName), next}, {data, before}, {next, data}} {
		err := os.Rename(step.from, step.to)
		if errors.Is(err, fs.ErrNotExist) && step.from == data {
			continue // there was none
		}
		if err == nil {
			err = syncDir(dir)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// settle brings the folder in order after a replace that was cut off. As long as
// the old store is in its place, it counts.
func settle(dir string) error {
	data, next, plain := filepath.Join(dir, dataName), filepath.Join(dir, nextName), filepath.Join(dir, plainName)
	var err error
	switch there := hasStore(data); {
	case hasStore(next) && !there:
		if err = errors.Join(os.RemoveAll(data), os.Rename(next, data)); err == nil {
			err = syncDir(dir)
		}
	case there:
		err = os.RemoveAll(next)
	}
	if err == nil && hasStore(data) {
		err = os.RemoveAll(plain)
	}
	if takesNothing(err) && hasStore(data) {
		return nil // it can wait
	}
	return err
}
