//go:build !linux && !darwin

package badgerstore

import (
	"io/fs"
	"math"
	"os"
)

// lockFile leaves the lock to badger, which has one of its own.
func lockFile(*os.File) (taken bool, err error) { return true, nil }

// diskRoom does not know the free space here, so it never refuses a write.
func diskRoom(string) (room, error) { return room{free: math.MaxInt64}, nil }

// allocated returns a file's length.
func allocated(info fs.FileInfo) int64 { return info.Size() }
