package alertstest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/edgekit/edgekit/controller/install/monitoring"
	"github.com/edgekit/edgekit/controller/install/monitoring/alertstest"
)

// promtool runs promtool in a folder.
func promtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), alertstest.Program(t, ".", "promtool"), args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out)
	}
}

// write writes a file into a folder of the test.
func write(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestCheckRules has promtool check and lint the rules, at full length and as the tests shorten them.
func TestCheckRules(t *testing.T) {
	for name, cfg := range map[string]monitoring.Config{"rules.yaml": {}, "faster.yaml": {Faster: 600, Cloudcores: "a", Nodes: "b"}} {
		text, err := monitoring.RuleFile(cfg)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		write(t, filepath.Join(dir, name), text)
		promtool(t, dir, "check", "rules", "--lint=all", "--lint-fatal", name)
	}
}

// TestCheckConfig has promtool check the examples of scrape configurations, with the rules.
func TestCheckConfig(t *testing.T) {
	examples, err := filepath.Glob("../scrape/*.yaml")
	if err != nil || len(examples) < 2 {
		t.Fatal(examples, err)
	}
	for _, name := range examples {
		promtool(t, ".", "check", "config", "--lint=all", "--lint-fatal", "--syntax-only", name)
	}
}
