package metastore

import (
	"context"
	"fmt"
	"strconv"

	"github.com/edgekit/edgekit/meta"
)

// Received keeps in a meta.Store which messages of QoS 2 an MQTT client has: it is the
// client.Received of a program that has such a store.
type Received struct {
	store  meta.Store
	prefix string
}

// NewReceived makes a Received of the keys that begin with prefix, which nobody else uses. Each
// broker and client identifier needs a prefix of its own.
func NewReceived(store meta.Store, prefix string) *Received { return &Received{store, prefix} }

// Load returns the sum of each packet identifier that is stored.
func (r *Received) Load(ctx context.Context) (map[uint16][]byte, error) {
	snapshot, err := r.store.Snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("bus/metastore: %w", err)
	}
	defer snapshot.Close()
	sums := make(map[uint16][]byte)
	for record, err := range snapshot.Records(ctx, r.prefix) {
		if err != nil {
			return nil, fmt.Errorf("bus/metastore: %w", err)
		}
		if id, err := strconv.ParseUint(record.Key[len(r.prefix):], 16, 16); err == nil {
			sums[uint16(id)] = record.Value
		}
	}
	return sums, nil
}

// Put stores the sum of a packet identifier.
func (r *Received) Put(ctx context.Context, id uint16, sum []byte) error {
	return r.apply(ctx, meta.Op{Key: r.key(id), Value: sum})
}

// Remove removes packet identifiers.
func (r *Received) Remove(ctx context.Context, ids ...uint16) error {
	ops := make([]meta.Op, 0, len(ids))
	for _, id := range ids {
		ops = append(ops, meta.Op{Key: r.key(id), Delete: true})
	}
	return r.apply(ctx, ops...)
}

func (r *Received) key(id uint16) string { return fmt.Sprintf("%s%04x", r.prefix, id) }

func (r *Received) apply(ctx context.Context, ops ...meta.Op) error {
	if _, err := r.store.Apply(ctx, ops...); err != nil {
		return fmt.Errorf("bus/metastore: %w", err)
	}
	return nil
}
