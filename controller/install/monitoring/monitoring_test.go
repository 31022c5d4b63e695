package monitoring_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/controller/install/monitoring"
)

// TestGeneratedFiles compares the files in this folder with their source. EDGEKIT_UPDATE=1 writes them:
// this is what go generate does.
func TestGeneratedFiles(t *testing.T) {
	for name, write := range map[string]func(monitoring.Config) ([]byte, error){
		"rules.yaml": monitoring.RuleFile, "prometheusrule.yaml": monitoring.PrometheusRule, "dashboard.json": monitoring.Dashboard,
	} {
		want, err := write(monitoring.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if os.Getenv("EDGEKIT_UPDATE") != "" {
			if err := os.WriteFile(name, want, 0o644); err != nil { //nolint:gosec // everybody may read them
				t.Error(err)
			}
			continue
		}
		have, err := os.ReadFile(name)
		if err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s differs from its source (%v): run 'go generate ./controller/install/monitoring' and commit what it changes", name, err)
		}
	}
}

// TestAlerts looks for what each alert must have, and for its runbook and its cause in README.md.
func TestAlerts(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	groups, err := monitoring.Groups(monitoring.Config{})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, g := range groups {
		for _, r := range g.Rules {
			if seen[r.Alert+r.Record] {
				t.Errorf("there are two rules %s%s", r.Alert, r.Record)
			}
			seen[r.Alert+r.Record] = true
			if r.Alert == "" {
				continue
			}
			if !bytes.Contains(readme, []byte("\n### "+r.Alert+"\n")) {
				t.Errorf("README.md has no runbook with the heading ### %s", r.Alert)
			}
			if !bytes.Contains(readme, []byte("\n| "+r.Alert+" | ")) {
				t.Errorf("README.md does not say in its table what the cause is that 'make monitoring' makes for %s", r.Alert)
			}
			if want := monitoring.Runbooks + "#" + strings.ToLower(r.Alert); r.Annotations["runbook_url"] != want {
				t.Errorf("%s: runbook_url is %q, want %q", r.Alert, r.Annotations["runbook_url"], want)
			}
			for _, name := range []string{"summary", "description"} {
				if r.Annotations[name] == "" {
					t.Errorf("%s has no %s", r.Alert, name)
				}
			}
			if r.Labels["severity"] == "" || r.Labels["scope"] == "" {
				t.Errorf("%s has the labels %v, want severity and scope", r.Alert, r.Labels)
			}
		}
	}
	for line := range strings.Lines(string(readme)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "### Edgekit"); ok && !seen["Edgekit"+name] {
			t.Errorf("README.md has a runbook for Edgekit%s, which is no alert", name)
		}
		if name, ok := strings.CutPrefix(line, "| Edgekit"); ok && !seen["Edgekit"+strings.Fields(name)[0]] {
			t.Errorf("README.md has a cause for what is no alert: %s", line)
		}
	}
}

// TestPrometheusRule compares the object for the operator with the file for Prometheus.
func TestPrometheusRule(t *testing.T) {
	cfg := monitoring.Config{Cloudcores: "clouds", Nodes: "edges", Namespace: "monitoring", Runbooks: "https://runbooks.example"}
	file, err := monitoring.RuleFile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	object, err := monitoring.PrometheusRule(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var a map[string]any
	var b struct {
		Metadata struct{ Name, Namespace string }
		Spec     map[string]any
	}
	if err := yaml.UnmarshalStrict(file, &a); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(object, &b); err != nil {
		t.Fatal(err)
	}
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b.Spec)
	if !bytes.Equal(x, y) || b.Metadata.Namespace != "monitoring" {
		t.Errorf("the object has %s in %+v, the file has %s", y, b.Metadata, x)
	}
	for _, text := range []string{`job="cloudcore"`, `job="edgecore"`, "$cloudcores", "$nodes", "github.com"} {
		if bytes.Contains(object, []byte(text)) {
			t.Errorf("the object has %s although the Config says otherwise", text)
		}
	}
}

// TestFaster has shorter times, in all places.
func TestFaster(t *testing.T) {
	text, err := monitoring.RuleFile(monitoring.Config{Faster: 600})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"interval: 50ms", "[6s]", "[500ms]", "for: 3s", "for: 500ms"} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("no %q", want)
		}
	}
	for _, stale := range []string{"[1h]", "[5m]", "for: 15m"} {
		if bytes.Contains(text, []byte(stale)) {
			t.Errorf("%q is not divided", stale)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, cfg := range map[string]monitoring.Config{"Faster": {Faster: -1}, "Nodes": {Nodes: `a"} or vector(1) #`}, "Cloudcores": {Cloudcores: "a\nb"}} {
		for _, write := range []func(monitoring.Config) ([]byte, error){monitoring.RuleFile, monitoring.PrometheusRule, monitoring.Dashboard} {
			if _, err := write(cfg); err == nil || !strings.Contains(err.Error(), "Config."+name) {
				t.Errorf("%+v: %v, want an error about Config.%s", cfg, err, name)
			}
		}
	}
}

// TestDashboard looks at the form: panels do not overlap and have a query each.
func TestDashboard(t *testing.T) {
	text, err := monitoring.Dashboard(monitoring.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			ID          int
			Type, Title string
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	taken, ids := make(map[[2]int]string), make(map[int]bool)
	for _, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q has no query", p.Title)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q at %+v overlaps %q or the edge", p.Title, p.GridPos, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

func ExampleRuleFile() {
	text, err := monitoring.RuleFile(monitoring.Config{Nodes: "edge-nodes"})
	fmt.Println(strings.Contains(string(text), `up{job="edge-nodes"} == 0`), err)
	// Output: true <nil>
}
