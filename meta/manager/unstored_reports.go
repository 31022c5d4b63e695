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

// inMemory holds reports that the store could not write, by key. They are sent to the
// cloud in place of the stored ones. StateOutbox.mu guards them.
type inMemory map[meta.Key]unstored

type unstored struct {
	object meta.Object
	at     place
	acked  bool
}

// place orders the reports of one key: first by the store's revision, then by the number
// of the report in memory since that revision. On the link it is a version, "7" or "7+1".
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

// UpdateInMemory reports a new value of an object while the store cannot be written (see
// meta.TakesNothing). It is for what an operator must know just then, such as the node's
// conditions, and for what every start reports again: the value is in memory only and
// lost with the process. Call Update before and after; the next report that is stored
// replaces the one in memory. At most 16 objects are kept; a further one fails with
// ErrOutboxFull.
func (m *Manager) UpdateInMemory(ctx context.Context, o meta.Object) error {
	if !o.Key.Valid() {
		return fmt.Errorf("meta/manager: %w", invalid(o.Key, "key cannot be stored"))
	}
	now, err := m.store.Apply(ctx) // an empty batch returns the revision
	if err != nil {
		return fmt.Errorf("meta/manager: %w", err)
	}
	if err := m.up.keepInMemory(o, now); err != nil {
		return err
	}
	m.up.notify(o.Key)
	return nil
}

// keepInMemory keeps a report to be sent, at the store's present revision.
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

// isUnstored reports whether the cloud was sent a newer value than the stored one.
func (b *StateOutbox) isUnstored(key meta.Key) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, is := b.unstored[key]
	return is
}

// stored removes the report of key from memory, after a newer value was stored. The link
// may have loaded the old one since, so it is notified.
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

// ackUnstored removes the reports in memory that the cloud has acknowledged.
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
