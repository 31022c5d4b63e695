//go:build !linux

package upgrade

import "io/fs"

func execProgram(string, []string, []string) error { return ErrUnsupported }

func ownedByUs(fs.FileInfo) bool { return true }

func inode(fs.FileInfo) uint64 { return 0 }

func noExec(string) bool { return false }
