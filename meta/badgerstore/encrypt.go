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

// Encrypt encrypts the closed, plain store of cfg with the key in cfg.KeyFile, which it makes
// if it does not exist. It copies all records into a new store, which then replaces the old
// one. If it is interrupted, the folder holds the old store or the new one, complete. The disk
// needs room for both. Records get new revisions, so the node sends all its reports again.
//
// Removing a file does not wipe a disk: whoever has the disk may find the plain data on it
// until its blocks are used again.
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

// copyStore copies the plain store of cfg, whose lock is held, into a new one.
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
