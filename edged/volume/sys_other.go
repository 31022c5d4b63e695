//go:build !linux

package volume

import (
	"errors"
	"os"
)

// Pods need Linux. Elsewhere the package is there so that what imports it can
// be built and its pure parts tested.

const openPlace = 0

func mountFS(string, string, string) error { return errors.ErrUnsupported }

func mountFile(*os.File, string) error { return errors.ErrUnsupported }

func isolate(string) error { return errors.ErrUnsupported }

func isMountPoint(string) (bool, error) { return false, nil }

func unmount(string) error { return errors.ErrUnsupported }
