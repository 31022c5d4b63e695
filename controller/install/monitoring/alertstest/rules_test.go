package alertstest_test

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/controller/install/monitoring"
)

// ruleCase is a test of one alert. Its series have a value each minute, in promtool's words.
type ruleCase struct {
	alert   string
	fires   map[string]string // series with which it fires at the time at and not before the time not
	quiet   map[string]string // series with which it does not fire
	not, at string            // "" means the first minute
	labels  map[string]string // of the alert, besides severity and scope
	summary string
	value   string // what stands for {{ $value }} in the description
}

// The words of promtool's test files.
type (
	series struct {
		Series string `json:"series"`
		Values string `json:"values"`
	}
	expected struct {
		Labels      map[string]string `json:"exp_labels"`
		Annotations map[string]string `json:"exp_annotations"`
	}
	alertTest struct {
		EvalTime string     `json:"eval_time"`
		Name     string     `json:"alertname"`
		Alerts   []expected `json:"exp_alerts"`
	}
	toolTest struct {
		Name     string      `json:"name"`
		Interval string      `json:"interval"`
		Input    []series    `json:"input_series"`
		Alerts   []alertTest `json:"alert_rule_test"`
	}
	testFile struct {
		RuleFiles []string   `json:"rule_files"`
		Interval  string     `json:"evaluation_interval"`
		Tests     []toolTest `json:"tests"`
	}
)

func inputs(all map[string]string) []series {
	var out []series
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, series{name, all[name]})
	}
	return out
}

// TestRules has promtool test each alert: with series with which it fires, not too early, and with ones
// with which it does not.
func TestRules(t *testing.T) {
	groups, err := monitoring.Groups(monitoring.Config{})
	if err != nil {
		t.Fatal(err)
	}
	rules := make(map[string]monitoring.Rule)
	for _, g := range groups {
		for _, r := range g.Rules {
			if r.Alert != "" {
				rules[r.Alert] = r
			}
		}
	}
	file := testFile{RuleFiles: []string{"rules.yaml"}, Interval: "1m"}
	tested := make(map[string]bool)
	for _, c := range ruleCases() {
		rule, found := rules[c.alert]
		if !found {
			t.Errorf("there is no alert %s", c.alert)
			continue
		}
		if len(c.fires) == 0 || len(c.quiet) == 0 {
			t.Errorf("%s: give series with which it fires, and ones with which it does not", c.alert)
		}
		tested[c.alert] = true
		file.Tests = append(file.Tests, c.tests(t, rule)...)
	}
	for name := range rules {
		if !tested[name] {
			t.Errorf("alert %s has no test in ruleCases", name)
		}
	}
	dir := t.TempDir()
	text, err := monitoring.RuleFile(monitoring.Config{})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "rules.yaml"), text)
	if text, err = yaml.Marshal(file); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "test.yaml"), text)
	promtool(t, dir, "test", "rules", "test.yaml")
}

func (c ruleCase) tests(t *testing.T, rule monitoring.Rule) []toolTest {
	t.Helper()
	labels := maps.Clone(rule.Labels)
	maps.Copy(labels, c.labels)
	notes := maps.Clone(rule.Annotations)
	notes["summary"], notes["description"] = c.summary, strings.ReplaceAll(notes["description"], "{{ $value }}", c.value)
	fires := []alertTest{{EvalTime: c.at, Name: c.alert, Alerts: []expected{{labels, notes}}}}
	if rule.For != "" {
		at, err1 := time.ParseDuration(c.at)
		not, err2 := time.ParseDuration(c.not)
		if err1 != nil || err2 != nil || not >= at {
			t.Errorf("%s: it fires at %q and not at %q: give two times", c.alert, c.at, c.not)
		}
		fires = append(fires, alertTest{EvalTime: c.not, Name: c.alert})
	}
	return []toolTest{
		{c.alert + " fires", "1m", inputs(c.fires), fires},
		{c.alert + " does not fire", "1m", inputs(c.quiet), []alertTest{{EvalTime: c.at, Name: c.alert}}},
	}
}
