//go:build !linux

package artifact

import "math"

func freeSpace(string) (int64, error) { return math.MaxInt64, nil }
