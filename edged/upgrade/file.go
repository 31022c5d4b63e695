package upgrade

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// The boot record's files.
const (
	bootFile = "boot"
	prevFile = "boot.prev"
	newFile  = "boot.new"
)

// disk is what changes files: the operating system's, or in tests one that loses its power.
// Each method is durable when it returns, but rename and remove need a syncDir.
type disk interface {
	write(name string, content []byte) error // a whole file of mode 0600, synced
	rename(from, to string) error
	remove(name string) error // with all below it; nil if it is not there
	mkdir(name string) error  // with all above it; nil if it is there
	syncDir(dir string) error
}

// osDisk is the operating system's.
type osDisk struct{}

func (osDisk) write(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

func (osDisk) rename(from, to string) error { return os.Rename(from, to) }
func (osDisk) remove(name string) error     { return os.RemoveAll(name) }
func (osDisk) mkdir(name string) error      { return os.MkdirAll(name, 0o700) }

func (osDisk) syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// save replaces the boot record in dir. The one before stays as boot.prev. After a power cut
// load returns the one before or r.
func save(d disk, dir string, r record) error {
	text, err := r.encode()
	if err != nil {
		return err
	}
	if err := d.mkdir(dir); err != nil {
		return err
	}
	file, prev, fresh := filepath.Join(dir, bootFile), filepath.Join(dir, prevFile), filepath.Join(dir, newFile)
	if err := d.write(fresh, text); err != nil {
		return errors.Join(err, d.remove(fresh)) // on a full disk its blocks are needed
	}
	if err := d.rename(file, prev); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := d.rename(fresh, file); err != nil {
		return err
	}
	return d.syncDir(dir)
}

// load reads the boot record in dir. Without one it returns that of a node without upgrades. It
// returns an error, with the record to go on with, for one that is damaged: of the record before
// only the committed program counts then.
func load(dir string) (record, error) {
	current, err := readRecord(filepath.Join(dir, bootFile))
	if err == nil {
		return current, nil
	}
	before, prevErr := readRecord(filepath.Join(dir, prevFile))
	switch {
	case errors.Is(err, fs.ErrNotExist) && errors.Is(prevErr, fs.ErrNotExist):
		return record{Phase: Idle}, nil
	case errors.Is(err, fs.ErrNotExist) && prevErr == nil:
		return before, nil // the power was cut between the two renames
	case prevErr != nil:
		return record{Phase: Idle}, errors.Join(err, prevErr)
	}
	if before.Phase == Trial { // it may have been started, and have failed, since
		return before.damaged(), err
	}
	return before, err
}

// damaged is the record without its trial, whose count is lost.
func (r record) damaged() record {
	r = r.clone()
	delete(r.Slots, r.Candidate)
	r.Outcome = &Outcome{ID: r.ID, Phase: RolledBack, From: r.From, Reason: "the boot record was damaged during the trial"}
	r.Phase, r.Candidate, r.ID, r.Request = RolledBack, Base, "", ""
	return r.withoutTrial()
}

func readRecord(name string) (record, error) {
	text, err := readBounded(name, maxRecord)
	if err != nil {
		return record{}, err
	}
	return decodeRecord(text)
}

// replaceFile replaces a file durably: a power cut leaves the old one or the new one.
func replaceFile(d disk, name string, content []byte, mode fs.FileMode) error {
	fresh := name + ".edgekit-new"
	err := d.write(fresh, content)
	if err == nil {
		err = os.Chmod(fresh, mode)
	}
	if err != nil {
		return errors.Join(err, d.remove(fresh))
	}
	if err := d.rename(fresh, name); err != nil {
		return errors.Join(err, d.remove(fresh))
	}
	return d.syncDir(filepath.Dir(name))
}

// readBounded reads a file that has at most limit bytes.
func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return text, err
}
