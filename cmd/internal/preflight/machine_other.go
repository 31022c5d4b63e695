//go:build !linux

package preflight

import (
	"errors"
	"net"
)

var errLinux = errors.New("only a Linux machine can be an edge node")

func filesystem(string) (Filesystem, error) { return Filesystem{}, errLinux }

func routeMTU(net.Conn) (int, error) { return 0, errLinux }
