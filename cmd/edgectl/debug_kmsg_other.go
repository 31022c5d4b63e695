//go:build !unix

package main

import (
	"errors"
	"io"
)

// openKernelLog knows no kernel log here.
func openKernelLog(string) (io.ReadCloser, error) {
	return nil, errors.New("this system has no kernel log that edgectl reads")
}
