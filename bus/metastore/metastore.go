// Package metastore keeps the MQTT broker's records in a meta.Store: it is the
// broker.Storage of a program that has such a store.
//
//	b, err := broker.New(broker.Config{Storage: metastore.New(store, "mqtt/")})
//
// A Storage may be used by several goroutines at once. It owns no resource: the caller
// closes the store after the broker's Run has ended.
package metastore

import (
	"context"
	"fmt"
	"iter"

	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/meta"
)

// Storage is a broker.Storage below a prefix of a meta.Store.
type Storage struct {
	store  meta.Store
	prefix string
}

var _ broker.Bounded = (*Storage)(nil)

// New makes a Storage of the keys that begin with prefix, which nobody else uses.
func New(store meta.Store, prefix string) *Storage { return &Storage{store, prefix} }

// MaxApply leaves room in a batch for the prefix of each key.
func (s *Storage) MaxApply() int { return meta.MaxBatch / 2 }

// Apply makes the changes durable in one batch. What is larger than meta.MaxBatch, and so than
// MaxApply, goes in several, in its order.
func (s *Storage) Apply(ctx context.Context, changes []broker.Record) error {
	ops := make([]meta.Op, 0, len(changes))
	size := 0
	for _, c := range changes {
		op := meta.Op{Key: s.prefix + c.Key, Value: c.Value, Delete: c.Value == nil}
		if n := len(op.Key) + len(op.Value); size+n > meta.MaxBatch && len(ops) > 0 {
			if err := s.apply(ctx, ops); err != nil {
				return err
			}
			ops, size = ops[:0], 0
		}
		ops = append(ops, op)
		size += len(op.Key) + len(op.Value)
	}
	return s.apply(ctx, ops)
}

func (s *Storage) apply(ctx context.Context, ops []meta.Op) error {
	if _, err := s.store.Apply(ctx, ops...); err != nil {
		return fmt.Errorf("bus/metastore: %w", err)
	}
	return nil
}

// Load returns all records in the order of their keys.
func (s *Storage) Load(ctx context.Context) iter.Seq2[broker.Record, error] {
	return func(yield func(broker.Record, error) bool) {
		snapshot, err := s.store.Snapshot(ctx)
		if err != nil {
			yield(broker.Record{}, fmt.Errorf("bus/metastore: %w", err))
			return
		}
		defer snapshot.Close()
		for r, err := range snapshot.Records(ctx, s.prefix) {
			if err != nil {
				yield(broker.Record{}, fmt.Errorf("bus/metastore: %w", err))
				return
			}
			if !yield(broker.Record{Key: r.Key[len(s.prefix):], Value: r.Value}, nil) {
				return
			}
		}
	}
}
