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

// CheckOps returns an error if a batch can never be applied: a key is empty, or the
// batch is over a limit. The error for a limit wraps ErrTooLarge. Every Store
// calls CheckOps in Apply.
func CheckOps(ops []Op) error {
	total := 0
	for _, op := range ops {
		switch {
		case op.Key == "":
			return errors.New("meta: empty key in a batch")
		case len(op.Key) > MaxKey:
			return fmt.Errorf("%w: key of %d bytes is over the limit of %d: it begins %.40q", ErrTooLarge, len(op.Key), MaxKey, op.Key)
		case !op.Delete && len(op.Value) > MaxValue:
			return fmt.Errorf("%w: value of %d bytes for %q is over the limit of %d", ErrTooLarge, len(op.Value), op.Key, MaxValue)
		}
		total += len(op.Key)
		if !op.Delete {
			total += len(op.Value)
		}
	}
	if total > MaxBatch {
		return fmt.Errorf("%w: batch of %d bytes is over the limit of %d: split it", ErrTooLarge, total, MaxBatch)
	}
	return nil
}
