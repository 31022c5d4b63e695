//go:build !linux

package badgerstore

import (
	"errors"
	"os"
)

// allocate is not supported: nodes run Linux.
func allocate(*os.File, int64) error { return errors.ErrUnsupported }

// memoryRoom is for folders in memory, of which other systems have none that is always there.
func memoryRoom(string) (free int64, ok bool) { return 0, false }
