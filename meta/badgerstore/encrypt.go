package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/edgekit/edgekit/meta"
)

// Plain reports whether there is a store in the folder that is not encrypted.
func Plain(dir string) bool {
	data := filepath.Join(dir, dataName)
	if !hasStore(data) {
		return false
	}
	if f, ok := readFormat(data); ok {
		return f.key == noKey
	}
	return isPlain(data)
}

// Encrypt returns the closed, unencrypted store of cfg the key in cfg.KeyFile, which
// is made if it is not there. All records are copied into a new store, which then
// takes the place of the old one; that is removed. Cut off at any point, the store
// is the old one or the new one, whole. The disk needs room for both. Records get
// new revisions, so that what the node reports is reported once more.
//
// Removing a file does not wipe a disk: what was in clear on it may be found there
// by who has the disk, until its blocks are used again.
func Encrypt(ctx context.Context, cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	if cfg.KeyFile == "" {
		return errors.New("badgerstore: Config.KeyFile is required to encrypt a store")
	}
	lock, err := claim(cfg.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if !Plain(cfg.Dir) {
		return fmt.Errorf("badgerstore: there is no unencrypted store in %s", cfg.Dir)
	}
	fresh := cfg
	fresh.Dir = filepath.Join(cfg.Dir, restoringName)
	if err := os.RemoveAll(fresh.Dir); err != nil { // of one that was cut off
		return fmt.Errorf("badgerstore: encrypt: %w", err)
	}
	defer func() { _ = os.RemoveAll(fresh.Dir) }() // what stays is removed by the next
	if err := copyStore(ctx, cfg, fresh); err != nil {
		return fmt.Errorf("badgerstore: encrypt: %w", err)
	}
	before := filepath.Join(cfg.Dir, plainName)
	if err := errors.Join(replace(cfg.Dir, fresh.Dir, before), os.RemoveAll(before)); err != nil {
		return fmt.Errorf("badgerstore: encrypt: %w", err)
	}
	return nil
}

// copyStore copies the unencrypted store of cfg, whose lock is held, into a new one.
func copyStore(ctx context.Context, cfg, fresh Config) (err error) {
	cfg.KeyFile, cfg.OnDamage = "", Fail
	from, err := openClaimed(cfg, nil, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := openAbove(fresh, from.durable.Load())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	view, err := from.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer view.Close()
	var ops []meta.Op
	size := 0
	for r, err := range view.Records(ctx, "") {
		if err != nil {
			return err
		}
		if n := len(r.Key) + len(r.Value); size > 0 && size+n > meta.MaxBatch/4 {
			if _, err := to.Apply(ctx, ops...); err != nil {
				return err
			}
			ops, size = ops[:0], 0
		}
		ops, size = append(ops, meta.Op{Key: r.Key, Value: r.Value}), size+len(r.Key)+len(r.Value)
	}
	_, err = to.Apply(ctx, ops...)
	return err
}
