package jobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/edgekit/edgekit/edged/internal/hostinfo"
)

// The check items of a job.
const (
	checkCPU  = "cpu"
	checkMem  = "mem"
	checkDisk = "disk"
)

// maxUsage is the percentage in use from which on a check item fails.
const maxUsage = 80

// cpuSample is how long the use of the processors is measured.
const cpuSample = time.Second

// checkItems fails if one of the items is used too much, or is none that a node knows.
func checkItems(ctx context.Context, items []string, usage func(context.Context, string) (float64, error)) error {
	for _, item := range items {
		switch item {
		case checkCPU, checkMem, checkDisk:
		default:
			return fmt.Errorf("check item %.50q is not known: use %s, %s or %s", item, checkCPU, checkMem, checkDisk)
		}
		percent, err := usage(ctx, item)
		if err != nil {
			return fmt.Errorf("check item %s: %w", item, err)
		}
		if percent > maxUsage {
			return fmt.Errorf("%.0f%% of %s is in use, and a job needs at most %d%%", percent, item, maxUsage)
		}
	}
	return nil
}

// machineUsage measures how much of a resource of the machine is in use, in percent. The disk
// is that of folder.
func machineUsage(folder string) func(context.Context, string) (float64, error) {
	return func(ctx context.Context, item string) (float64, error) {
		switch item {
		case checkCPU:
			return cpuUsage(ctx)
		case checkMem:
			f, err := hostinfo.Fields("/proc/meminfo")
			if err != nil {
				return 0, err
			}
			return share(f["MemAvailable:"], f["MemTotal:"])
		case checkDisk:
			s, err := hostinfo.NearestSpace(folder)
			if err != nil {
				return 0, err
			}
			return share(s.Free, s.Total)
		}
		return 0, errors.ErrUnsupported
	}
}

// share is what is in use of total, in percent.
func share(free, total int64) (float64, error) {
	if total <= 0 {
		return 0, errors.New("the machine does not say how much it has")
	}
	return 100 - 100*float64(free)/float64(total), nil
}

func cpuUsage(ctx context.Context) (float64, error) {
	idle0, all0, err := cpuTimes("/proc/stat")
	if err != nil {
		return 0, err
	}
	timer := time.NewTimer(cpuSample)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	idle1, all1, err := cpuTimes("/proc/stat")
	if err != nil || all1 <= all0 {
		return 0, err
	}
	return share(idle1-idle0, all1-all0)
}

// cpuTimes reads how long all processors were idle and how long they exist, in ticks: the
// first line of proc(5) stat.
func cpuTimes(file string) (idle, all int64, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	if len(fields) < 6 || fields[0] != "cpu" {
		return 0, 0, fmt.Errorf("%s does not begin with the times of the processors", file)
	}
	for i, f := range fields[1:min(len(fields), 9)] { // guests are counted in user and nice
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", file, err)
		}
		all += n
		if i == 3 || i == 4 { // idle, iowait
			idle += n
		}
	}
	return idle, all, nil
}
