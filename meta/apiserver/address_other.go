//go:build !linux

package apiserver

import (
	"errors"
	"net/netip"
)

func addToLoopback(netip.Addr) error { return errors.ErrUnsupported }
