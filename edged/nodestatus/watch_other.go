//go:build !linux

package nodestatus

import (
	"context"
	"errors"
)

// watchAddresses is for Linux only.
func watchAddresses(context.Context, chan<- struct{}) error { return errors.ErrUnsupported }
