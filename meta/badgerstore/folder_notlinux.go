//go:build !linux

package badgerstore

import (
	"errors"
	"os"
)

// allocate is not supported: nodes run Linux.
func allocate(*os.File, int64) error { return errors.ErrUnsupported }
