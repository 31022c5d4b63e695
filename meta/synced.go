package meta

import (
	"context"
	"errors"
	"fmt"
)

// SyncedKey is the record that says that this store has once held everything that
// the cloud listed for the node. A store that is new, restored from a backup, or
// that replaces a damaged one does not have the record: the cloud may still send
// objects that are not in its Down area, so an absent object is no reason to stop a
// pod. The record survives restarts and does not go away while the node is offline.
const SyncedKey = Local + "meta/synced"

// MarkSynced writes the record, unless it is there. It is called when everything
// that the cloud listed is durable in the store.
func MarkSynced(ctx context.Context, s Store) error {
	if done, err := Synced(ctx, s); done || err != nil {
		return err
	}
	if _, err := s.Apply(ctx, Op{Key: SyncedKey, Value: []byte{1}}); err != nil {
		return fmt.Errorf("meta: marking the store as synced: %w", err)
	}
	return nil
}

// Synced reports whether the record is there.
func Synced(ctx context.Context, s Store) (bool, error) {
	_, err := s.Get(ctx, SyncedKey)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
