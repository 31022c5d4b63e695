package upgrade

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Folders of a download, in the slots' folder.
const (
	freshDir = "new"      // what is being unpacked
	cacheDir = "download" // unfinished downloads
)

// Download fetches and verifies a program into the free slot and returns that. It waits for
// another download. When the same program was verified before, it returns at once. It ends when
// ctx ends, or with an error that a new attempt does not mend: a signature, a digest, a limit, a
// full disk, a *FormatError. ErrBusy: a trial is on.
func (u *Upgrader) Download(ctx context.Context, req Request) (Slot, error) {
	if err := u.checkRequest(req); err != nil {
		return Base, err
	}
	u.downloads.Lock()
	defer u.downloads.Unlock()
	if r := u.current(); r.Phase == Verified && r.Request == req.fingerprint() && u.intact(r) {
		err := u.step(func(r record) (record, error) { r.ID = req.ID; return r, nil })
		return r.Candidate, err
	}
	var base baseFile
	if u.current().Active == Base {
		var err error
		if base, err = u.base(); err != nil {
			return Base, fmt.Errorf("upgrade: the program of the package: %w", err)
		}
	}
	if err := u.step(func(r record) (record, error) { return r.begin(req.ID, req.fingerprint(), base) }); err != nil {
		return Base, err
	}
	slot, err := u.fetch(ctx, req)
	if err != nil && ctx.Err() == nil {
		u.setProgress(0, 0)
		err = errors.Join(err, u.step(record.abandon), u.disk.remove(filepath.Join(u.dir, freshDir)), u.disk.remove(filepath.Join(u.dir, cacheDir)))
	}
	return slot, err
}

// checkRequest refuses what no fetch can mend.
func (u *Upgrader) checkRequest(req Request) error {
	switch {
	case u.cfg.Fetcher == nil:
		return ErrUnsupported
	case req.Source == "":
		return errors.New("upgrade: Request.Source is required: oci://HOST/REPOSITORY:TAG, https://... or the path of a file")
	case len(req.ID) > maxID:
		return fmt.Errorf("upgrade: Request.ID has %d bytes, at most %d are allowed", len(req.ID), maxID)
	case u.current().Phase == Trial:
		return ErrBusy
	}
	dir := u.dir
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) { // it will be made there
		dir = u.cfg.DataDir
	}
	if u.noExec(dir) {
		return fmt.Errorf("upgrade: programs in %s cannot be run, because its file system is mounted with noexec: mount it without, or put %s on another file system", dir, u.dir)
	}
	return nil
}

// fetch fetches into a new folder and puts that into the slot.
func (u *Upgrader) fetch(ctx context.Context, req Request) (Slot, error) {
	fresh, cache := filepath.Join(u.dir, freshDir), filepath.Join(u.dir, cacheDir)
	if err := errors.Join(u.disk.remove(fresh), u.disk.mkdir(fresh), u.disk.mkdir(cache)); err != nil {
		return Base, fmt.Errorf("upgrade: %w", err)
	}
	release, err := u.cfg.Fetcher.Fetch(ctx, req, Destination{Dir: fresh, Cache: cache, Accept: u.accept, Progress: u.setProgress})
	if err != nil {
		return Base, err
	}
	if err := u.accept(release); err != nil {
		return Base, err
	}
	text, err := json.Marshal(release)
	if err != nil {
		return Base, err
	}
	slot := u.current().Candidate
	place := filepath.Join(u.dir, string(slot))
	err = errors.Join(u.disk.write(filepath.Join(fresh, Manifest), append(text, '\n')), u.disk.syncDir(fresh))
	if err == nil {
		err = u.step(record.empty)
	}
	if err == nil {
		err = u.disk.remove(place)
	}
	if err == nil {
		err = u.disk.rename(fresh, place)
	}
	if err == nil {
		err = u.disk.syncDir(u.dir)
	}
	if err != nil {
		return Base, fmt.Errorf("upgrade: the program cannot be put into its slot: %w", err)
	}
	if err := u.step(func(r record) (record, error) { return r.verified(release) }); err != nil {
		return Base, err
	}
	u.cfg.Logger.Info("a program is verified and ready to be tried", "version", release.Version, "slot", slot.String(), "artifact", release.Artifact, "signedBy", release.SignedBy)
	return slot, errors.Join(u.disk.remove(cache))
}

// accept refuses a program for the formats of the store.
func (u *Upgrader) accept(next Release) error {
	r, now := u.current(), u.cfg.Release
	switch {
	case !next.reads(now.StoreFormat):
		return &FormatError{next.Version, fmt.Sprintf("the node's store has format %d, and it reads only %v: take a version that reads it", now.StoreFormat, next.StoreFormatsRead)}
	case !now.reads(next.StoreFormat):
		return &FormatError{next.Version, fmt.Sprintf("it would bring the store to format %d, which %s could not read after a rollback (it reads %v): upgrade to a version between them first", next.StoreFormat, now.Version, now.StoreFormatsRead)}
	case !r.Base.reads(next.StoreFormat):
		return &FormatError{next.Version, fmt.Sprintf("it would bring the store to format %d, which the package's program %s could not read (it reads %v): upgrade the package first", next.StoreFormat, r.Base.Version, r.Base.StoreFormatsRead)}
	}
	return nil
}

// intact reports whether the candidate's slot still holds what was verified.
func (u *Upgrader) intact(r record) bool {
	b := booter{dir: u.dir}
	return b.problem(r, r.Candidate, fullCheck) == ""
}

func (u *Upgrader) setProgress(done, total int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.progress != [2]int64{done, total} {
		u.progress = [2]int64{done, total}
		u.notifyLocked()
	}
}

// Switch makes the verified program the one of a trial, which the next start begins. It
// remembers whether there is a link and which pods are ready. The caller then stops the program
// in order (Restart). ErrNothing: the slot holds no verified program.
func (u *Upgrader) Switch(_ context.Context, slot Slot, h Health) error {
	if err := h.check(); err != nil {
		return err
	}
	link, pods := u.cfg.Linked(), readyPods(u.cfg.Pods())
	return u.step(func(r record) (record, error) {
		if r.Candidate != slot || slot == Base {
			return r, ErrNothing
		}
		next, err := r.switched(h, u.cfg.Release.Version, link, pods)
		u.switched = u.switched || err == nil
		return next, err
	})
}

// Discard forgets a program that is verified and not tried, or a download that was interrupted.
// ErrBusy: a trial is on. Without either it does nothing.
func (u *Upgrader) Discard(context.Context) error {
	u.downloads.Lock()
	err := u.step(record.abandon)
	u.downloads.Unlock()
	switch {
	case u.current().Phase == Trial:
		return ErrBusy
	case errors.Is(err, ErrNothing):
		return nil
	case err != nil:
		return err
	}
	u.setProgress(0, 0)
	u.clean()
	return nil
}

// fingerprint is what makes two requests the same.
func (r Request) fingerprint() string {
	r.ID = ""
	text, err := json.Marshal(r)
	if err != nil {
		return "" // strings always have a form in JSON
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
