package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// identity is what tells one process from every other, also after its pid was
// given away again.
type identity struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot, field 22 of /proc/PID/stat
	Boot  string `json:"boot"`  // the kernel's boot id
}

func identify(pid int) (identity, error) {
	_, start, err := readStat(pid)
	if err != nil {
		return identity{}, err
	}
	boot, err := bootID()
	if err != nil {
		return identity{}, err
	}
	return identity{PID: pid, Start: start, Boot: boot}, nil
}

// alive reports whether the very process still runs. A zombie does not, once its last thread has
// ended: until then it has its files, locks and ports. If it is a child of this program, it is
// reaped here, since nobody else waits.
func (id identity) alive() bool {
	state, start, err := readStat(id.PID)
	if err != nil || start != id.Start {
		return false
	}
	if boot, err := bootID(); err != nil || boot != id.Boot {
		return false
	}
	if state == 'Z' || state == 'X' {
		if threads, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(id.PID), "task")); err == nil && len(threads) > 1 {
			return true
		}
		_, _ = unix.Wait4(id.PID, nil, unix.WNOHANG, nil) // ECHILD where it is not our child
		return false
	}
	return true
}

// readStat returns the state letter and the start time of a process.
func readStat(pid int) (state byte, start uint64, err error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, 0, err
	}
	return parseStat(b)
}

// parseStat reads /proc/PID/stat. The command name in parentheses may hold
// spaces and parentheses itself, so fields are counted from the last one.
func parseStat(b []byte) (state byte, start uint64, err error) {
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return 0, 0, errors.New("process: stat line has no command name")
	}
	const startField = 22 - 3 // fields after the name begin with number 3
	fields := strings.Fields(string(b[i+1:]))
	if len(fields) <= startField || len(fields[0]) != 1 {
		return 0, 0, fmt.Errorf("process: stat line has %d fields after the name", len(fields))
	}
	if start, err = strconv.ParseUint(fields[startField], 10, 64); err != nil {
		return 0, 0, fmt.Errorf("process: start time: %w", err)
	}
	return fields[0][0], start, nil
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("process: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// marked lists the processes whose environment holds the marker for dir.
func marked(dir string) ([]identity, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("process: %w", err)
	}
	want := []byte(Marker + "=" + dir)
	var found []identity
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err != nil {
			continue // gone, or not ours to see
		}
		for v := range bytes.SplitSeq(env, []byte{0}) {
			if !bytes.Equal(v, want) {
				continue
			}
			if id, err := identify(pid); err == nil {
				found = append(found, id)
			}
			break
		}
	}
	return found, nil
}
