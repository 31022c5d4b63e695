package eventstest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

//go:generate env EDGEKIT_UPDATE=1 go test -count=1 -run ^TestEvents$ .

const (
	root = "../../.."
	file = "controller/install/monitoring/EVENTS.md"
)

// emitted are the kinds and folders of all reasons in the code.
func emitted(t *testing.T) map[string]map[string]map[string]bool {
	t.Helper()
	found, err := Scan(root)
	if err != nil {
		t.Fatal(err)
	}
	known, used := computed(), make(map[string]bool)
	all := make(map[string]map[string]map[string]bool)
	for _, e := range found {
		reasons := []string{e.Reason}
		if e.Reason == "" {
			key := e.Package + " " + e.Kind + ": " + e.Expr
			reasons, used[key] = known[key], true
			if reasons == nil {
				t.Errorf("%s emits Events with the reason %s: say in computed what that can be", e.Package, e.Expr)
			}
		}
		for _, r := range reasons {
			if all[r] == nil {
				all[r] = map[string]map[string]bool{"kinds": {}, "folders": {}}
			}
			all[r]["kinds"][e.Kind], all[r]["folders"][e.Package] = true, true
		}
	}
	for key := range known {
		if !used[key] {
			t.Errorf("computed has %q, which is not in the code any more", key)
		}
	}
	return all
}

// TestEvents: every reason in the code is in the published table, and no other.
func TestEvents(t *testing.T) {
	all, words := emitted(t), meanings()
	var table strings.Builder
	table.WriteString("| reason | type | object | from | meaning |\n|---|---|---|---|---|\n")
	for _, reason := range slices.Sorted(maps.Keys(all)) {
		m, ok := words[reason]
		if !ok {
			t.Errorf("the reason %s of %v is not in meanings: choose one that is there, or add it", reason, slices.Collect(maps.Keys(all[reason]["folders"])))
			continue
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s | %s |\n", reason, list(all[reason]["kinds"]), m.Object, list(all[reason]["folders"]), m.Text)
	}
	for reason := range words {
		if all[reason] == nil {
			t.Errorf("meanings has %s, which no program emits", reason)
		}
	}
	if t.Failed() {
		return
	}
	name := filepath.Join(root, file)
	have, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := strings.Cut(string(have), "| reason |")
	if !ok {
		t.Fatalf("%s has no table", file)
	}
	want := head + table.String()
	if want == string(have) {
		return
	}
	if os.Getenv("EDGEKIT_UPDATE") == "" {
		t.Fatalf("%s is not what the code has: run 'make generate' and commit what it changed", file)
	}
	if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func list(set map[string]bool) string { return strings.Join(slices.Sorted(maps.Keys(set)), ", ") }

// TestScanFindsAll: the scanner knows the ways in which programs emit Events.
func TestScanFindsAll(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "edged"), 0o755); err != nil {
		t.Fatal(err)
	}
	source := "package edged\nconst made = \"Made\"\nfunc f() {\n\tr.Pod(p, corev1.EventTypeNormal, made, \"x\")\n\tr.Node(corev1.EventTypeWarning, \"Bad\", \"x\")\n" +
		"\tuse(corev1.Event{Type: corev1.EventTypeWarning, Reason: some(x)})\n\ts.m.cfg.Event(s.pod, \"Slow\", err.Error())\n\tuse(corev1.NodeCondition{Type: corev1.NodeReady, Reason: \"No\"})\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "edged", "a.go"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, domain := range domains {
		if err := os.MkdirAll(filepath.Join(dir, domain), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Scan(dir)
	want := []Emission{
		{"edged", "Normal", "Pod", "Made", "made"}, {"edged", "Warning", "", "", "some(x)"}, {"edged", "Warning", "", "Slow", `"Slow"`}, {"edged", "Warning", "Node", "Bad", `"Bad"`},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}
