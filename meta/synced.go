package meta

import (
	"context"
	"errors"
	"fmt"
)

// SyncedKey is the record that says that this store has once held all that the
// cloud listed for the node. A store that is new, that replaces a damaged one,
// or that was restored from a backup is without it: what its Down area does
// not hold may still come, so that nothing may be ended because it is absent
// there. The record survives restarts, and being offline does not remove it.
const SyncedKey = Local + "meta/synced"

// MarkSynced writes the mark. It is called when everything that the cloud
// listed is durable here; when the mark is there already, it writes nothing.
func MarkSynced(ctx context.Context, s Store) error {
	if done, err := Synced(ctx, s); done || err != nil {
		return err
	}
	if _, err := s.Apply(ctx, Op{Key: SyncedKey, Value: []byte{1}}); err != nil {
		return fmt.Errorf("meta: marking the store as synced: %w", err)
	}
	return nil
}

// Synced reports whether the mark is there.
func Synced(ctx context.Context, s Store) (bool, error) {
	_, err := s.Get(ctx, SyncedKey)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
