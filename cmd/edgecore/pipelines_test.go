package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestPipelinesProgram: an edgecore that came by an upgrade uses the edgepipe that was installed
// with the first one.
func TestPipelinesProgram(t *testing.T) {
	installed := t.TempDir()
	base, want := filepath.Join(installed, "edgecore"), filepath.Join(installed, pipelinesProgram)
	f := &pipelineFlags{}
	if got, err := f.programFile(base); err != nil || got != want && got != "/usr/bin/"+pipelinesProgram {
		t.Errorf("without edgepipe: %s, %v", got, err)
	}
	if err := os.WriteFile(want, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := f.programFile(base); err != nil || got != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
	f.PipelinesProgram = "/opt/edgepipe"
	if got, err := f.programFile(base); err != nil || got != "/opt/edgepipe" {
		t.Errorf("the setting: %s, %v", got, err)
	}
	f.PipelinesProgram = "edgepipe"
	if _, err := f.programFile(base); err == nil {
		t.Error("a relative path is accepted")
	}
}
