package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// keepPriority gives a program in a session of its own the nice value of this one. The kernel
// schedules sessions as groups: beside the programs of other sessions a process's own value counts
// for nothing, and that of its group does. A kernel without such groups has no file, and needs none.
func keepPriority(proc string, pid int) error {
	// The system call gives 20 minus the value.
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return fmt.Errorf("priority of this program: %w", err)
	}
	file := filepath.Join(proc, strconv.Itoa(pid), "autogroup")
	if _, err := os.Stat(file); err != nil || raw == 20 {
		return nil
	}
	if err := os.WriteFile(file, []byte(strconv.Itoa(20-raw)), 0o644); err != nil {
		return fmt.Errorf("priority of the emulator: %w", err)
	}
	return nil
}
