package jobs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestCheckItems(t *testing.T) {
	usage := func(_ context.Context, item string) (float64, error) {
		switch item {
		case checkCPU:
			return maxUsage, nil
		case checkMem:
			return maxUsage + 1, nil
		}
		return 0, errors.New("no disk")
	}
	for _, tt := range []struct {
		items []string
		err   string
	}{
		{nil, ""}, {[]string{"cpu"}, ""}, {[]string{"cpu", "mem"}, "81% of mem is in use"}, {[]string{"disk"}, "check item disk: no disk"},
		{[]string{"gpu"}, `check item "gpu" is not known: use cpu, mem or disk`},
	} {
		err := checkItems(t.Context(), tt.items, usage)
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: %v", tt.items, err)
		}
	}
}

// TestMachineUsage asks the machine of the test.
func TestMachineUsage(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it reads /proc")
	}
	usage := machineUsage(t.TempDir())
	for _, item := range []string{checkCPU, checkMem, checkDisk} {
		if percent, err := usage(t.Context(), item); err != nil || percent < 0 || percent > 100 {
			t.Errorf("%s: %v, %v", item, percent, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := usage(ctx, checkCPU); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestCPUTimes(t *testing.T) {
	for text, want := range map[string][2]int64{
		"cpu  10 20 30 40 50 60 70 80 90 100\ncpu0 1 2 3 4\n": {90, 360},
		"cpu 1 2 3 4 5\n": {9, 15},
		"cpu 1 2 x 4 5\n": {-1, -1}, "intr 1 2 3 4 5 6\n": {-1, -1}, "": {-1, -1},
	} {
		name := filepath.Join(t.TempDir(), "stat")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		idle, all, err := cpuTimes(name)
		if err != nil {
			idle, all = -1, -1
		}
		if [2]int64{idle, all} != want {
			t.Errorf("%q: %d, %d, %v", text, idle, all, err)
		}
	}
}
