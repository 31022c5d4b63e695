//go:build !linux

package badgerstore

import (
	"errors"
	"os"
)

// allocate is not done where nobody runs nodes.
func allocate(*os.File, int64) error { return errors.ErrUnsupported }
