package e2e

import (
	"os"
	"testing"

	"github.com/edgekit/edgekit/cmd/demo/site"
)

// The budgets of edgecore. What it really needs is measured by
// "make bench-agent"; these are the lines that no change may cross.
const (
	maxResidentMiB = 45 // with one pod, one device and one MQTT client
	maxBinaryMiB   = 34 // stripped; the design allows 36
)

// budgets holds the edgecore that has just told its story to its budgets.
func budgets(t *testing.T, s *site.Site) {
	rec, err := s.Processes().Lookup("edgecore")
	if err != nil {
		t.Fatal(err)
	}
	if mib, err := rec.ResidentMiB(); err != nil || mib > maxResidentMiB {
		t.Errorf("edgecore has %.1f MiB resident, %d are the limit (%v)", mib, maxResidentMiB, err)
	} else {
		t.Logf("edgecore has %.1f MiB resident", mib)
	}
	info, err := os.Stat(s.Program("edgecore"))
	if err != nil {
		t.Fatal(err)
	}
	if mib := float64(info.Size()) / (1 << 20); mib > maxBinaryMiB {
		t.Errorf("edgecore's program has %.1f MiB, %d are the limit", mib, maxBinaryMiB)
	}
}
