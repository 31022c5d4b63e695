package crilog_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/edged/crilog"
)

func TestTail(t *testing.T) {
	var b strings.Builder
	for i := range 200 {
		fmt.Fprintf(&b, "2026-01-02T03:04:05.678901234Z stdout F line %d\n", i)
	}
	b.WriteString("2026-01-02T03:04:05Z stderr P par\nrubbish\n2026-01-02T03:04:05Z stderr F tial\n")
	file := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := crilog.Tail(file, 2, 1000); err != nil || got != "line 199\npartial\n" {
		t.Errorf("%q, %v", got, err)
	}
	if got, _ := crilog.Tail(file, 80, 2048); strings.Count(got, "\n") != 80 {
		t.Errorf("%d lines", strings.Count(got, "\n"))
	}
	if got, _ := crilog.Tail(file, 80, 10); got != "9\npartial\n" {
		t.Errorf("%q", got)
	}
	if _, err := crilog.Tail(file+"x", 1, 1); err == nil {
		t.Error("no error for no file")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("2026-01-02T03:04:05Z stdout F text\n"))
	f.Add([]byte("2026-01-02T03:04:05Z stderr P:x "))
	f.Add([]byte("x stdout F"))
	f.Fuzz(func(_ *testing.T, b []byte) { crilog.Parse(b) })
}

func ExampleParse() {
	l, err := crilog.Parse([]byte("2026-01-02T03:04:05Z stderr F disk is full\n"))
	fmt.Printf("%s %q %v\n", l.Stream, l.Text, err)
	// Output: stderr "disk is full" <nil>
}
