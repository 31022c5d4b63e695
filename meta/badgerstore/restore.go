package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/edgekit/edgekit/meta"
)

// Restore replaces the store of cfg by a backup of meta.Backup. It first reads the whole backup into
// a new folder: if the backup is damaged, the store stays unchanged. It renames an existing store,
// damaged or not, and returns the new name of its folder; nothing removes that folder. With
// cfg.KeyFile the new store is encrypted, whether the old one was or not.
func Restore(ctx context.Context, cfg Config, backup io.Reader) (before string, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return "", err
	}
	lock, err := claim(cfg.Dir)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	fresh := cfg
	fresh.Dir = filepath.Join(cfg.Dir, restoringName)
	if err := os.RemoveAll(fresh.Dir); err != nil { // of one that was cut off
		return "", fmt.Errorf("badgerstore: restore: %w", err)
	}
	defer func() { _ = os.RemoveAll(fresh.Dir) }() // what stays is removed by the next
	data := filepath.Join(cfg.Dir, dataName)
	var reached uint64
	if hasStore(data) {
		var m *mark
		if m, reached, _, err = openMark(data); err != nil {
			return "", fmt.Errorf("badgerstore: restore: %w", err)
		}
		m.Close()
	}
	s, err := openAbove(fresh, reached)
	if err != nil {
		return "", err
	}
	if err := errors.Join(meta.Restore(ctx, s, backup), s.Close()); err != nil {
		return "", fmt.Errorf("badgerstore: restore: %w", err)
	}
	before = filepath.Join(cfg.Dir, "replaced-"+cfg.Now().UTC().Format(asideLayout))
	err = replace(cfg.Dir, fresh.Dir, before)
	if _, gone := os.Stat(before); errors.Is(gone, fs.ErrNotExist) {
		before = ""
	}
	if err != nil {
		return before, fmt.Errorf("badgerstore: restore: %w", err)
	}
	return before, nil
}
