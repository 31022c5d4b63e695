//go:build !linux

package crilog

import "errors"

func newNotifier() (notifier, error) { return nil, errors.ErrUnsupported }
