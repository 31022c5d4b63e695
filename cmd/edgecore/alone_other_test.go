//go:build !linux

package main

import "syscall"

func isolated() *syscall.SysProcAttr { return nil }
func loopbackUp() error              { return nil }
