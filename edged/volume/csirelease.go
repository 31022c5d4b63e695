package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// csiTearDown takes a pod's volumes back from their drivers. What a driver has given
// back is noted, so that it is asked once.
func (m *Manager) csiTearDown(ctx context.Context, uid string) error {
	records, err := m.records(uid)
	errs := []error{err}
	for _, r := range records {
		if r.Kind != kindCSI {
			continue
		}
		if err := m.csiRelease(ctx, uid, r); err != nil {
			errs = append(errs, fmt.Errorf("UnmountVolume.TearDown failed for volume %q: %w", r.Name, err))
		}
	}
	return errors.Join(errs...)
}

// csiRelease unpublishes a volume, and unstages it after the last pod.
func (m *Manager) csiRelease(ctx context.Context, uid string, r record) error {
	defer m.locks.lock(r.Driver + "/" + r.Handle)()
	dir := m.stagingDir(r.Driver, r.Handle)
	have, err := readStaging(dir)
	if err != nil {
		return err
	}
	others, err := m.others(uid, r)
	if err != nil {
		return err
	}
	state := csiState{staged: have.Driver != "", published: !r.Unpublished, shared: len(others) > 0}
	for {
		step := nextCSI(false, false, state)
		if step == csiNothing {
			return nil
		}
		node, err := m.driverNode(r.Driver)
		if err != nil {
			return err
		}
		if err := m.giveBack(ctx, node, step, uid, &r, dir); err != nil {
			return err
		}
		if step == csiUnpublish {
			state.published = false
		} else {
			state.staged = false
		}
	}
}

// giveBack does one step of csiRelease.
func (m *Manager) giveBack(ctx context.Context, node CSINode, step csiStep, uid string, r *record, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, csiTimeout)
	defer cancel()
	if step == csiUnpublish {
		if err := node.Unpublish(ctx, r.Handle, r.Path); err != nil {
			return err
		}
		r.Unpublished, r.Done = true, false
		return m.writeRecord(uid, *r)
	}
	if err := node.Unstage(ctx, r.Handle, stagingMount(dir)); err != nil {
		return err
	}
	// Not with what is in it: a driver may say that it has unmounted what it has not.
	for _, path := range []string{stagingMount(dir), stagingFile(dir), dir} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// keyedLocks is a lock for each key that is in use.
type keyedLocks struct {
	mu    sync.Mutex
	locks map[string]*keyedLock
}

type keyedLock struct {
	sync.Mutex
	users int
}

// lock waits for the lock of a key, and gives what unlocks it.
func (k *keyedLocks) lock(key string) (unlock func()) {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = make(map[string]*keyedLock)
	}
	l := k.locks[key]
	if l == nil {
		l = &keyedLock{}
		k.locks[key] = l
	}
	l.users++
	k.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(k.locks, key)
		}
	}
}
