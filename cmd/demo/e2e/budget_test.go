package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/demo/site"
)

// The budgets of edgecore. What it really needs is measured by
// "make bench-agent"; these are the lines that no change may cross.
const (
	maxResidentMiB = 34 // with one pod, one device and one MQTT client, a minute after the start
	maxBinaryMiB   = 36 // stripped, as in DESIGN.md; 5 MiB more than usual: something links a reflect.Value.MethodByName again (cmd/internal/program)
)

// budgets holds the edgecore that has just run the demo's steps to its budgets.
func budgets(t *testing.T, s *site.Site) {
	rec, err := s.Processes().Lookup("edgecore")
	if err != nil {
		t.Fatal(err)
	}
	newKube(t, s).until(within(t, 90*time.Second), func() error { // what only the start needed is given back after 30 s
		mib, err := rec.ResidentMiB()
		if err == nil && mib > maxResidentMiB {
			err = fmt.Errorf("edgecore has %.1f MiB resident, %d are the limit", mib, maxResidentMiB)
		}
		if err == nil {
			t.Logf("edgecore has %.1f MiB resident", mib)
		}
		return err
	})
	info, err := os.Stat(s.Program("edgecore"))
	if err != nil {
		t.Fatal(err)
	}
	if mib := float64(info.Size()) / (1 << 20); mib > maxBinaryMiB {
		t.Errorf("edgecore's program has %.1f MiB, %d are the limit", mib, maxBinaryMiB)
	}
}
