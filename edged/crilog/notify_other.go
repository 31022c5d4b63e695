//go:build !linux

package crilog

import "errors"

// newNotifier has no system to ask: only Linux has inotify.
func newNotifier() (notifier, error) { return nil, errors.ErrUnsupported }
