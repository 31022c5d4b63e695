package manager

import (
	"context"
	"errors"
	"fmt"

	"github.com/edgekit/edgekit/meta"
)

// Absent reports whether the object is known not to exist, without asking the cloud.
// It is for objects that the cloud sends as long as a pod here refers to them. since
// is the store's revision at which the newest such pod was stored. A "not found" of
// the cloud counts if it is not older than that revision. One that was received over
// the present connection stays valid as long as the connection: if the object is
// created, the link delivers it. While the node is offline any "not found" counts.
func (m *Manager) Absent(ctx context.Context, key meta.Key, since uint64) (bool, error) {
	if !key.Valid() {
		return false, fmt.Errorf("meta/manager: %w", invalid(key, "key cannot be stored"))
	}
	if _, here, err := m.stored(ctx, meta.Down, key); here || err != nil {
		return false, err
	}
	r, err := m.store.Get(ctx, cacheArea+key.Path())
	if errors.Is(err, meta.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("meta/manager: %w", err)
	}
	kept, err := meta.DecodeObject(cacheArea, r)
	if err != nil || !kept.Deleted {
		return false, nil // Query logs what cannot be read
	}
	if !m.offline() {
		stands := m.linkAt.Load()
		if stands == 0 || r.Revision < stands || r.Revision < since {
			return false, nil
		}
	}
	m.stats.local.Add(1)
	return true, nil
}
