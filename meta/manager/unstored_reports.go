package manager

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
)

// inMemory are reports that the store does not take, by key: the cloud is told of
// them in place of what is stored. StateOutbox.mu guards them.
type inMemory map[meta.Key]unstored

type unstored struct {
	object meta.Object
	at     place
	acked  bool
}

// place orders what the outbox tells of one key: by the store's revision, and
// after what is stored as of one by the number of the report in memory. It is a
// version, "7" or "7+1", to the link.
type place struct{ revision, after uint64 }

func (p place) version() string {
	if p.after == 0 {
		return version(p.revision)
	}
	return version(p.revision) + "+" + version(p.after)
}

// placeOf reads a version. An unparsable version sorts before every other.
func placeOf(version string) place {
	of, after, _ := strings.Cut(version, "+")
	n, _ := strconv.ParseUint(after, 10, 64)
	return place{revision(of), n}
}

// UpdateInMemory tells the cloud a new value of an object although the store
// cannot take it, since its disk takes nothing; see meta.TakesNothing. It is for
// what an operator must know just then, as the node's own condition, and is
// reported anew by each start: the value is in memory only, and is gone with the
// process. Report it by Update before and after; from the next report that is
// stored on, only that counts. At most 16 objects are kept: one more is refused
// with ErrOutboxFull.
func (m *Manager) UpdateInMemory(ctx context.Context, o meta.Object) error {
	if !o.Key.Valid() {
		return fmt.Errorf("meta/manager: %w", invalid(o.Key, "key cannot be stored"))
	}
	now, err := m.store.Apply(ctx) // nothing: it gives the revision
	if err != nil {
		return fmt.Errorf("meta/manager: %w", err)
	}
	if err := m.up.keepInMemory(o, now); err != nil {
		return err
	}
	m.up.notify(o.Key)
	return nil
}

// keepInMemory notes what the cloud is to be told at the store's revision now.
func (b *StateOutbox) keepInMemory(o meta.Object, now uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	last, known := b.unstored[o.Key]
	if !known && len(b.unstored) >= maxInMemory {
		return fmt.Errorf("%w: %s", ErrOutboxFull, o.Key)
	}
	o.Deleted = false
	b.unstored[o.Key] = unstored{object: o, at: place{max(now, last.at.revision), last.at.after + 1}}
	return nil
}

const maxInMemory = 16

// isUnstored reports whether the cloud was told of a newer value than is stored.
func (b *StateOutbox) isUnstored(key meta.Key) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, is := b.unstored[key]
	return is
}

// stored drops what was told of key from memory, now that a newer value is
// stored. The link may have loaded the old one meanwhile, so that it is told.
func (b *StateOutbox) stored(key meta.Key) {
	b.mu.Lock()
	_, is := b.unstored[key]
	delete(b.unstored, key)
	b.mu.Unlock()
	if is {
		b.notify(key)
	}
}

// loadUnstored returns the newest value of one report if it is in memory.
func (b *StateOutbox) loadUnstored(key meta.Key) (hub.Object, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	u, is := b.unstored[key]
	return hub.Object{Key: hub.Key(key), Version: u.at.version(), Body: u.object.Body}, is
}

// ackUnstored notes what the cloud has of what is in memory.
func (b *StateOutbox) ackUnstored(acked []hub.Object) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range acked {
		if u, is := b.unstored[meta.Key(o.Key)]; is && u.at == placeOf(o.Version) {
			u.acked = true
			b.unstored[meta.Key(o.Key)] = u
		}
	}
}

func (b *StateOutbox) allUnstored() inMemory {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.unstored)
}
