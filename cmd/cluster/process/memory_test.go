package process

import (
	"os"
	"runtime"
	"testing"
)

func TestResidentMiB(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	if mib, err := (Record{identity: identity{PID: os.Getpid()}}).ResidentMiB(); err != nil || mib < 1 || mib > 10000 {
		t.Errorf("%v MiB, %v", mib, err)
	}
}
