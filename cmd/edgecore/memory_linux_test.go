package main

import (
	"testing"

	"github.com/prometheus/procfs"
)

// TestUnmapProgram has the program still run afterwards, with fewer pages.
func TestUnmapProgram(t *testing.T) {
	mapped := func() uint64 {
		self, err := procfs.Self()
		if err != nil {
			t.Fatal(err)
		}
		status, err := self.NewStatus()
		if err != nil {
			t.Fatal(err)
		}
		return status.RssFile
	}
	before := mapped()
	for range 3 {
		if err := unmapProgram(); err != nil {
			t.Fatal(err)
		}
	}
	if after := mapped(); after >= before {
		t.Errorf("the program has %d bytes of files mapped, %d before", after, before)
	}
}
