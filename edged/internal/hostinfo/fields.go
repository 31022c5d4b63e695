package hostinfo

import (
	"os"
	"strconv"
	"strings"
)

// Fields reads the lines of a file that begin with a name and a number, as /proc/meminfo,
// /proc/vmstat and a cgroup's memory.stat have them. The name is the whole first word,
// with its colon if it has one; a unit is not applied. Other lines, and numbers below 0,
// are left out.
func Fields(file string) (map[string]int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	out := make(map[string]int64)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		if n, err := strconv.ParseInt(f[1], 10, 64); err == nil && n >= 0 {
			out[f[0]] = n
		}
	}
	return out, nil
}

// SwapTotal is the swap of the machine in bytes; 0 if that cannot be read.
func SwapTotal() int64 {
	memory, err := Fields("/proc/meminfo")
	if err != nil {
		return 0
	}
	return memory["SwapTotal:"] << 10
}
