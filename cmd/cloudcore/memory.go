package main

import (
	"os"
	"runtime/debug"
)

// collectOften has the garbage collector run when the heap has grown by a
// quarter: what a server of many nodes holds lives long, and is not worth
// doubling. The operator's GOGC goes before.
func collectOften() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(25)
	}
}
