package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// size is the terminal's, "none" without one.
func size() string {
	w, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
	if err != nil {
		return "none"
	}
	return fmt.Sprintf("%dx%d", w.Col, w.Row)
}
