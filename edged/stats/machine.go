package stats

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/edgekit/edgekit/edged/internal/hostinfo"
)

// ticks is how many clock ticks a second has in /proc. Linux shows every program
// the same number, whatever its own clock does.
const ticks = 100

// machine is what the whole machine uses.
type machine struct {
	at, booted                    time.Time
	cpu                           uint64 // nanoseconds of one core since the machine started
	memory, workingSet, available uint64 // bytes
	rss, swap, swapFree           uint64 // bytes
	faults, majorFaults           uint64
}

// readMachine reads proc, which is the same with both versions of cgroups.
func readMachine(proc string, now time.Time) (machine, error) {
	m := machine{at: now}
	mem, err := hostinfo.Fields(filepath.Join(proc, "meminfo"))
	if err != nil {
		return m, err
	}
	kib := func(name string) uint64 { return uint64(mem[name+":"]) << 10 }
	m.memory = kib("MemTotal") - min(kib("MemFree"), kib("MemTotal"))
	m.workingSet = m.memory - min(kib("Inactive(file)"), m.memory)
	m.available = kib("MemTotal") - min(m.workingSet, kib("MemTotal"))
	m.rss = kib("AnonPages")
	m.swapFree = kib("SwapFree")
	m.swap = kib("SwapTotal") - min(m.swapFree, kib("SwapTotal"))
	vm, err := hostinfo.Fields(filepath.Join(proc, "vmstat"))
	if err != nil {
		return m, err
	}
	m.faults, m.majorFaults = uint64(vm["pgfault"]), uint64(vm["pgmajfault"])
	return m, m.readCPU(filepath.Join(proc, "stat"))
}

// readCPU sums up what the cores did except idling and waiting:
// https://docs.kernel.org/filesystems/proc.html
func (m *machine) readCPU(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 9 && f[0] == "cpu":
			for i, v := range f[1:9] { // user nice system idle iowait irq softirq steal
				n, err := strconv.ParseUint(v, 10, 64)
				if err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
				if i != 3 && i != 4 && i != 7 {
					m.cpu += n * uint64(time.Second/ticks)
				}
			}
		case len(f) == 2 && f[0] == "btime":
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			m.booted = time.Unix(n, 0)
		}
	}
	return nil
}
