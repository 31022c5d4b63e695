//go:build !linux && !darwin

package badgerstore

import (
	"io/fs"
	"math"
	"os"
)

// lockFile leaves the lock to badger, which has one of its own.
func lockFile(*os.File) (taken bool, err error) { return true, nil }

// free does not know, and so never refuses a write.
func free(string) (int64, error) { return math.MaxInt64, nil }

// allocated gives a file's length.
func allocated(info fs.FileInfo) int64 { return info.Size() }
