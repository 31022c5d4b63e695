package meta

import (
	"errors"
	"fmt"
)

// Limits that hold for every Store.
const (
	MaxKey   = 1 << 10 // longest key, in bytes
	MaxValue = 4 << 20 // largest value, in bytes; a Kubernetes object is at most about 1.5 MiB
	MaxBatch = 8 << 20 // most bytes of keys and values in one batch
)

// CheckOps reports why a batch can never be applied: an empty key, or one of
// the limits, the latter as an error that wraps ErrTooLarge. It is for those
// who implement a Store.
func CheckOps(ops []Op) error {
	total := 0
	for _, op := range ops {
		switch {
		case op.Key == "":
			return errors.New("meta: empty key in a batch")
		case len(op.Key) > MaxKey:
			return fmt.Errorf("%w: key of %d bytes, %d are the limit: it begins %.40q", ErrTooLarge, len(op.Key), MaxKey, op.Key)
		case !op.Delete && len(op.Value) > MaxValue:
			return fmt.Errorf("%w: value of %d bytes for %q, %d are the limit", ErrTooLarge, len(op.Value), op.Key, MaxValue)
		}
		total += len(op.Key)
		if !op.Delete {
			total += len(op.Value)
		}
	}
	if total > MaxBatch {
		return fmt.Errorf("%w: batch of %d bytes, %d are the limit", ErrTooLarge, total, MaxBatch)
	}
	return nil
}
