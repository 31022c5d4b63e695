//go:build !linux

package main

import "errors"

var errLinux = errors.New("only a Linux machine can be an edge node")

func mountPoints() ([]string, error) { return nil, errLinux }

func unmount(string) error { return errLinux }
