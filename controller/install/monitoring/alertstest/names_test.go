package alertstest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/edgekit/edgekit/controller/install/monitoring"
)

// exported are the labels of each series that the code exports, by name.
type exported map[string][]string

// tableRow is a line of METRICS.md, which the programs' tests compare with the code.
var tableRow = regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| (\\w+) \\| ([^|]*) \\|")

func readTable(t *testing.T) exported {
	t.Helper()
	text, err := os.ReadFile("../METRICS.md")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("METRICS.md, the table of all metrics, is not there: 'make generate' writes it")
	}
	if err != nil {
		t.Fatal(err)
	}
	all := exported{"up": nil} // Prometheus' own
	for _, m := range tableRow.FindAllStringSubmatch(string(text), -1) {
		name, kind, labels := m[1], m[2], strings.FieldsFunc(m[3], func(r rune) bool { return r == ',' || r == ' ' })
		names := []string{name}
		if kind == "histogram" {
			names = []string{name + "_bucket", name + "_sum", name + "_count"}
			labels = append(labels, "le")
		}
		for _, name := range names {
			all[name] = append(all[name], labels...)
		}
	}
	if len(all) < 50 {
		t.Fatalf("METRICS.md has %d series: is its form another one?", len(all))
	}
	return all
}

// fromScrape are the labels that a scrape adds, as the examples have it.
func fromScrape() []string {
	return []string{model.MetricNameLabel, "job", "instance", "node", "zone", "group"}
}

// unknown lists what an expression reads that nobody exports.
func (e exported) unknown(expr string) ([]string, error) {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return nil, err
	}
	var out []string
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		s, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		labels, found := e[s.Name]
		if !found {
			out = append(out, "series "+s.Name)
			return nil
		}
		for _, m := range s.LabelMatchers {
			if !slices.Contains(labels, m.Name) && !slices.Contains(fromScrape(), m.Name) && !strings.HasPrefix(s.Name, "edgekit:") {
				out = append(out, fmt.Sprintf("label %s of %s", m.Name, s.Name))
			}
		}
		return nil
	})
	return out, nil
}

// dashboardQuery is a query of the dashboard.
type dashboardQuery struct{ Panel, Expr string }

func dashboardQueries(t *testing.T) []dashboardQuery {
	t.Helper()
	text, err := os.ReadFile("../dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	var out []dashboardQuery
	for _, p := range board.Panels {
		for _, q := range p.Targets {
			out = append(out, dashboardQuery{p.Title, strings.NewReplacer("$__rate_interval", "5m", "$node", "n1").Replace(q.Expr)})
		}
	}
	return out
}

// TestNames fails when a rule or a panel reads a series, or a label of one, that no code exports, or that
// no rule records.
func TestNames(t *testing.T) {
	all := readTable(t)
	groups, err := monitoring.Groups(monitoring.Config{})
	if err != nil {
		t.Fatal(err)
	}
	check := func(what, expr string) {
		missing, err := all.unknown(expr)
		if err != nil {
			t.Errorf("%s: %v in %s", what, err, expr)
		}
		for _, m := range missing {
			t.Errorf("%s reads %s, which nothing exports", what, m)
		}
	}
	for _, g := range groups {
		for _, r := range g.Rules {
			check("rule "+r.Alert+r.Record, r.Expr)
			if r.Record != "" {
				all[r.Record] = nil
			}
		}
	}
	queries := dashboardQueries(t)
	for _, q := range queries {
		check(fmt.Sprintf("panel %q", q.Panel), q.Expr)
	}
	t.Logf("%d queries of panels, %d series exported", len(queries), len(all))
}

// TestDashboardIsLight fails when a panel reads the series of all nodes: at 100,000 nodes that takes Prometheus
// seconds whenever somebody looks. Panels read series of cloudcores, of the one node, or recorded ones.
func TestDashboardIsLight(t *testing.T) {
	text, err := os.ReadFile("../METRICS.md")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("METRICS.md, the table of all metrics, is not there: 'make generate' writes it")
	}
	_, cloudcore, _ := strings.Cut(string(text), "<!-- begin cloudcore -->")
	cloudcore, _, found := strings.Cut(cloudcore, "<!-- end cloudcore -->")
	if err != nil || !found {
		t.Fatalf("METRICS.md has no section of cloudcore (%v)", err)
	}
	for _, q := range dashboardQueries(t) {
		parsed, err := parser.NewParser(parser.Options{}).ParseExpr(q.Expr)
		if err != nil {
			t.Fatal(err)
		}
		parser.Inspect(parsed, func(n parser.Node, _ []parser.Node) error {
			s, ok := n.(*parser.VectorSelector)
			if !ok || strings.HasPrefix(s.Name, "edgekit:") || strings.Contains(cloudcore, "`"+s.Name+"`") && !strings.HasPrefix(s.Name, "edgekit_hub_") && !strings.HasPrefix(s.Name, "process_") {
				return nil
			}
			for _, m := range s.LabelMatchers {
				if m.Name == "node" || m.Name == "job" && m.Value == "cloudcore" {
					return nil
				}
			}
			t.Errorf("panel %q reads %s of all nodes: record it", q.Panel, s.Name)
			return nil
		})
	}
}

// TestUnknown shows that names and labels which nothing exports are found.
func TestUnknown(t *testing.T) {
	all := exported{"a_total": {"kind"}}
	for expr, want := range map[string]string{
		`rate(a_total{kind="x",job="y"}[5m])`: "",
		`sum by (z) (b)`:                      "series b",
		`a_total{reason="x"} > 0`:             "label reason of a_total",
		`a_total unless on () c_total`:        "series c_total",
	} {
		got, err := all.unknown(expr)
		if err != nil || strings.Join(got, ";") != want {
			t.Errorf("%s: %q %v, want %q", expr, got, err, want)
		}
	}
	if _, err := all.unknown("sum("); err == nil {
		t.Error("a broken expression is accepted")
	}
}
