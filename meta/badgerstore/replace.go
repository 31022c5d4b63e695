package badgerstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// A store replaces another in three steps, and a power cut leaves each step done or not done: the
// new store, complete and synced, is renamed to nextName; the old one is moved away; the new one is
// renamed to dataName. settle finishes or undoes what was interrupted.
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

// settle finishes or undoes an interrupted replacement. While the old store is in its place, it is
// the valid one.
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
