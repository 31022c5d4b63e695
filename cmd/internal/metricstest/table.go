package metricstest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// File is the published table, from the root of the module.
const File = "controller/install/monitoring/METRICS.md"

// Table is the section of one program.
type Table struct {
	Program string
	Rows    []Row
}

// Check compares the section in [File] with the table, or writes it with EDGEKIT_UPDATE=1. File
// must have the section's two marks.
func (x Table) Check(t *testing.T) {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, File)
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want, err := x.replace(string(have))
	if err != nil {
		t.Fatal(err)
	}
	if want == string(have) {
		return
	}
	if os.Getenv("EDGEKIT_UPDATE") == "" {
		t.Fatalf("%s is not what the code of %s has: run 'make generate' and commit what it changed", File, x.Program)
	}
	if err := os.WriteFile(file, []byte(want), 0o644); err != nil { //nolint:gosec // a file of the repository, not a secret
		t.Fatal(err)
	}
}

// replace puts the table between the section's marks.
func (x Table) replace(text string) (string, error) {
	begin, end := "<!-- begin "+x.Program+" -->\n", "<!-- end "+x.Program+" -->\n"
	before, rest, ok := strings.Cut(text, begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return "", fmt.Errorf("%s has no lines %q and %q: add them where the table belongs", File, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return before + begin + x.String() + end + after, nil
}

// String is the table in Markdown.
func (x Table) String() string {
	var out strings.Builder
	out.WriteString("| name | kind | labels | meaning |\n|---|---|---|---|\n")
	for _, r := range x.Rows {
		fmt.Fprintf(&out, "| `%s` | %s | %s | %s |\n", r.Name, r.Kind, strings.Join(r.Labels, ", "), cell(r.Help))
	}
	return out.String()
}

// cell is text for a cell of a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(strings.TrimSpace(text))
}

// moduleRoot is the folder with go.mod above the test's own.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("there is no go.mod above the test's folder")
		}
		dir = parent
	}
}
