package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc/PID/stat: the kernel shows them in hundredths of a
// second on every machine that Go runs on.
const tick = 10 * time.Millisecond

// CPUTime is how long the program has run on CPUs so far, in user and system mode.
func (r Record) CPUTime() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.PID))
	if err != nil {
		return 0, fmt.Errorf("process: %w", err)
	}
	return parseCPUTime(b)
}

// parseCPUTime reads fields 14 (utime) and 15 (stime) of /proc/PID/stat, see
// proc_pid_stat(5). The command name may hold spaces.
func parseCPUTime(stat []byte) (time.Duration, error) {
	const first = 3 // the number of the field after the name
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) <= 15-first {
		return 0, fmt.Errorf("process: stat line has %d fields after the name", len(fields))
	}
	var sum time.Duration
	for _, text := range fields[14-first : 16-first] {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("process: CPU time: %w", err)
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}
