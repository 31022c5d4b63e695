package programs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestModfile: the allocator of the version that edgekit requires is mended for 32-bit machines. If this
// fails after an update of ristretto, look at its Allocate: perhaps Modfile is needed no more.
func TestModfile(t *testing.T) {
	source := t.TempDir() // a module with edgekit's requirements
	for _, name := range []string{"go.mod", "go.sum"} {
		body, err := os.ReadFile("../../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(source, name), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // again over what is there
		file, err := Modfile(t.Context(), source)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), "replace "+allocatorModule+" => "+mendedCopy+"\n") {
			t.Errorf("%s %v", text, err)
		}
		body, err := os.ReadFile(filepath.Join(source, mendedCopy, allocatorFile))
		if err != nil || strings.Contains(string(body), wrongLine) || !strings.Contains(string(body), rightLine) {
			t.Error("the line is as it was", err)
		}
	}
}

func TestSelect(t *testing.T) {
	all, err := Select(nil)
	if err != nil || len(all) != 4 {
		t.Fatal(all, err)
	}
	some, err := Select([]string{"riscv64", "arm"})
	if err != nil || len(some) != 2 || some[0].String() != "linux/arm/v7" || some[1].FileName() != "linux_riscv64" {
		t.Error(some, err)
	}
	if _, err := Select([]string{"amd64", "mips"}); err == nil || !strings.Contains(err.Error(), `"mips" is unknown: take some of amd64`) {
		t.Error(err)
	}
}

func TestVersion(t *testing.T) {
	at := time.Date(2026, 11, 30, 6, 42, 19, 0, time.UTC)
	for want, c := range map[string]Commit{
		"v1.2.3":                             {ID: "538688b8c041f126", Tag: "v1.2.3", Time: at},
		"v1.2.3+dirty":                       {ID: "538688b8c041f126", Tag: "v1.2.3", Time: at, Changed: true},
		"v0.0.0-20261130064219-538688b8c041": {ID: "538688b8c041f126", Time: at},
		"v0.0.0-devel":                       {},
	} {
		if have := c.Version(); have != want {
			t.Errorf("%+v: %s, want %s", c, have, want)
		}
	}
}

// TestReadCommit: outside of a repository too; SOURCE_DATE_EPOCH wins.
func TestReadCommit(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	c, err := ReadCommit(t.Context(), t.TempDir())
	if err != nil || c.ID != "" || c.Time.Unix() != 1 {
		t.Errorf("%+v %v", c, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if _, err := ReadCommit(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "SOURCE_DATE_EPOCH") {
		t.Error(err)
	}
}
