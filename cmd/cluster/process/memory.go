package process

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ResidentMiB is the program's resident memory (VmRSS) in MiB.
func (r Record) ResidentMiB() (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", r.PID))
	if err != nil {
		return 0, fmt.Errorf("process: %w", err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if value, ok := strings.CutPrefix(s.Text(), "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			return float64(kib) / 1024, err
		}
	}
	return 0, fmt.Errorf("process: no VmRSS in %s", f.Name())
}
