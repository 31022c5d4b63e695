package monitoring

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// Runbooks is where the runbooks of the alerts are by default.
const Runbooks = "https://github.com/edgekit/edgekit/blob/main/controller/install/monitoring/README.md"

// Config sets up the rules. The zero value makes the files of this folder.
type Config struct {
	Cloudcores string // job of the cloudcores in Prometheus; "" means cloudcore
	Nodes      string // job of the nodes; "" means edgecore
	Runbooks   string // address of the runbooks, without #; "" means Runbooks
	Namespace  string // of the PrometheusRule; "" means edgekit-system
	// Faster divides all times in the rules: how long a condition must hold, the ranges of
	// expressions and the intervals of groups. It is for tests. 0 means 1.
	Faster int
}

func (c Config) withDefaults() (Config, error) {
	c.Cloudcores, c.Nodes = cmp.Or(c.Cloudcores, "cloudcore"), cmp.Or(c.Nodes, "edgecore")
	c.Runbooks, c.Namespace, c.Faster = cmp.Or(c.Runbooks, Runbooks), cmp.Or(c.Namespace, "edgekit-system"), cmp.Or(c.Faster, 1)
	if c.Faster < 1 {
		return c, errors.New("monitoring: Config.Faster is negative: leave it 0 for the real times")
	}
	for name, job := range map[string]string{"Cloudcores": c.Cloudcores, "Nodes": c.Nodes} {
		if strings.ContainsAny(job, "\"\\\n") {
			return c, fmt.Errorf("monitoring: Config.%s is %q: a job's name here has no quotes, backslashes or line breaks", name, job)
		}
	}
	return c, nil
}

// Rule is one rule in the words of Prometheus: an alert, or a series to record.
type Rule struct {
	Record      string            `json:"record,omitempty"`
	Alert       string            `json:"alert,omitempty"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Group is a list of rules that are evaluated in order, one after another.
type Group struct {
	Name     string `json:"name"`
	Interval string `json:"interval,omitempty"`
	Rules    []Rule `json:"rules"`
}

// severity is how urgent an alert is.
type severity string

const (
	critical severity = "critical" // somebody must act now
	warning  severity = "warning"  // somebody must act today
	info     severity = "info"     // to be seen, not to wake anybody
)

// alert is the source of an alert. $cloudcores and $nodes in expr are the matchers of the jobs.
type alert struct {
	name, expr string
	hold       time.Duration // how long the condition must hold
	severity   severity
	summary    string // templates of Prometheus
	todo       string // what it means and what to do
}

// recording is the source of a recording rule.
type recording struct{ name, expr string }

// Groups returns the rules.
func Groups(cfg Config) ([]Group, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	groups := []Group{{Name: "edgekit-records", Interval: cfg.duration(30 * time.Second)}}
	for _, r := range recordings() {
		groups[0].Rules = append(groups[0].Rules, Rule{Record: r.name, Expr: cfg.expression(r.expr)})
	}
	for _, g := range []struct {
		scope  string
		alerts []alert
	}{{"cloudcore", cloudcoreAlerts()}, {"fleet", fleetAlerts()}, {"node", nodeAlerts()}} {
		group := Group{Name: "edgekit-" + g.scope, Interval: cfg.duration(30 * time.Second)}
		for _, a := range g.alerts {
			group.Rules = append(group.Rules, cfg.rule(a, g.scope))
		}
		groups = append(groups, group)
	}
	return groups, nil
}

func (c Config) rule(a alert, scope string) Rule {
	return Rule{
		Alert: a.name, Expr: c.expression(a.expr), For: c.duration(a.hold),
		Labels: map[string]string{"severity": string(a.severity), "scope": scope},
		Annotations: map[string]string{
			"summary": a.summary, "description": a.todo, "runbook_url": c.Runbooks + "#" + strings.ToLower(a.name),
		},
	}
}

// rangeOf finds the ranges in an expression, such as [5m].
var rangeOf = regexp.MustCompile(`\[(\d+)([mh])\]`)

// expression fills in the jobs and shortens the ranges.
func (c Config) expression(expr string) string {
	expr = strings.NewReplacer("$cloudcores", `job="`+c.Cloudcores+`"`, "$nodes", `job="`+c.Nodes+`"`).Replace(expr)
	return rangeOf.ReplaceAllStringFunc(expr, func(text string) string {
		d, err := time.ParseDuration(text[1 : len(text)-1])
		if err != nil {
			return text // rangeOf finds durations only
		}
		return "[" + c.duration(d) + "]"
	})
}

// duration is d, divided, in the words of Prometheus; "" for 0.
func (c Config) duration(d time.Duration) string {
	d /= time.Duration(c.Faster)
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if d > 0 && d%unit.length == 0 {
			return strconv.FormatInt(int64(d/unit.length), 10) + unit.name
		}
	}
	if d == 0 {
		return ""
	}
	return strconv.FormatInt(max(d.Milliseconds(), 1), 10) + "ms"
}

const notice = "# Written by 'go generate' in controller/install/monitoring; do not edit.\n"

// RuleFile returns the rules as a file for the setting rule_files of Prometheus.
func RuleFile(cfg Config) ([]byte, error) {
	groups, err := Groups(cfg)
	if err != nil {
		return nil, err
	}
	return marshal(map[string][]Group{"groups": groups})
}

// PrometheusRule returns the rules as an object for the Prometheus operator.
func PrometheusRule(cfg Config) ([]byte, error) {
	groups, err := Groups(cfg)
	if err != nil {
		return nil, err
	}
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return marshal(struct {
		object
		Spec map[string][]Group `json:"spec"`
	}{
		object{"monitoring.coreos.com/v1", "PrometheusRule", metadata{"edgekit", cfg.Namespace, map[string]string{"app.kubernetes.io/part-of": "edgekit"}}},
		map[string][]Group{"groups": groups},
	})
}

// object is what all Kubernetes objects have.
type object struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   metadata `json:"metadata"`
}

type metadata struct {
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"`
	Labels    map[string]string `json:"labels"`
}

func marshal(v any) ([]byte, error) {
	text, err := yaml.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("monitoring: %w", err)
	}
	return append([]byte(notice), text...), nil
}
