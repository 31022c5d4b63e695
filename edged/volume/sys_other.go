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

type mountFlags struct{}

func (mountFlags) readOnly() {}

func bindFlags([]string) (mountFlags, error) { return mountFlags{}, errors.ErrUnsupported }

func shareMount(string, mountFlags) error { return errors.ErrUnsupported }

func mountID(*os.File) (string, error) { return "", nil }

func bootID() string { return "" }

func fileSystemUsage(string) (CSIUsage, error) { return CSIUsage{}, errors.ErrUnsupported }

func groupOf(string) (int64, error) { return 0, errors.ErrUnsupported }

func unmount(string) error { return errors.ErrUnsupported }
