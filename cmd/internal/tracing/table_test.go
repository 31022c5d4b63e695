package tracing_test

import (
	"os"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/cmd/internal/tracing"
)

//go:generate env EDGEKIT_UPDATE=1 go test -count=1 -run ^TestTable$ .

const (
	tableFile  = "../../../controller/install/monitoring/TRACES.md"
	tableBegin = "<!-- spans -->\n"
	tableEnd   = "<!-- end -->\n"
)

// TestTable: the published table of spans is that of the code. With EDGEKIT_UPDATE=1 it is written.
func TestTable(t *testing.T) {
	page, err := os.ReadFile(tableFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(page), tableBegin)
	_, after, ended := strings.Cut(rest, tableEnd)
	if !found || !ended {
		t.Fatalf("%s has no table", tableFile)
	}
	want := before + tableBegin + tracing.Markdown() + tableEnd + after
	switch {
	case want == string(page):
	case os.Getenv("EDGEKIT_UPDATE") != "":
		if err := os.WriteFile(tableFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is old: run 'go generate ./cmd/internal/tracing'", tableFile)
	}
}
