//go:build !linux

package main

// unmapProgram does nothing: only Linux is known to count these pages.
func unmapProgram() error { return nil }
