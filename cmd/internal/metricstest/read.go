package metricstest

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
)

// Row is one metric.
type Row struct {
	Name, Kind, Help string
	Labels           []string // sorted; those of one program's constants too
}

// Kinds are the kinds ("counter", "gauge", "histogram" or "summary") of metrics that have no series
// while nothing happens, by name: a description alone does not say them. Counters whose name ends in
// "_total" need none.
type Kinds map[string]string

// Read lists the metrics of collectors by name. It fails the test for one without help, of
// an unknown kind, with a name that promlint refuses, and for a kind in kinds that no metric needs.
func Read(t *testing.T, kinds Kinds, all ...prometheus.Collector) []Row {
	t.Helper()
	rows := make(map[string]*Row)
	used := make(map[string]bool)
	for _, c := range all {
		for name, r := range described(t, c) {
			rows[name] = r
		}
		registry := prometheus.NewRegistry()
		if err := registry.Register(c); err != nil {
			t.Fatal(err)
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if rows[f.GetName()] == nil { // of a collector that describes nothing in advance
				rows[f.GetName()] = &Row{Name: f.GetName(), Help: f.GetHelp(), Labels: labelNames(f)}
			}
			rows[f.GetName()].Kind = strings.ToLower(f.GetType().String())
		}
	}
	out := make([]Row, 0, len(rows))
	for _, r := range rows {
		if r.Kind == "" {
			r.Kind = kinds[r.Name]
			used[r.Name] = r.Kind != ""
		}
		if r.Kind == "" && strings.HasSuffix(r.Name, "_total") {
			r.Kind = "counter"
		}
		if r.Kind == "" {
			t.Errorf("%s has no series now: name its kind in Kinds", r.Name)
		}
		out = append(out, *r)
	}
	for name := range kinds {
		if !used[name] {
			t.Errorf("Kinds names %s, which needs no kind: remove it", name)
		}
	}
	slices.SortFunc(out, func(a, b Row) int { return cmp.Compare(a.Name, b.Name) })
	lint(t, out)
	return out
}

// labelNames are the labels of a family's series.
func labelNames(f *dto.MetricFamily) []string {
	var names []string
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if !slices.Contains(names, l.GetName()) {
				names = append(names, l.GetName())
			}
		}
	}
	slices.Sort(names)
	return names
}

// description is what a Desc prints, which is the only way to its parts.
var description = regexp.MustCompile(`^Desc\{fqName: ("(?:[^"\\]|\\.)*"), help: ("(?:[^"\\]|\\.)*"), unit: "[^"]*", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// constant is the name of one constant label.
var constant = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)="(?:[^"\\]|\\.)*"`)

// described are the metrics that a collector describes.
func described(t *testing.T, c prometheus.Collector) map[string]*Row {
	t.Helper()
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		c.Describe(descs)
	}()
	rows := make(map[string]*Row)
	for d := range descs {
		parts := description.FindStringSubmatch(d.String())
		if parts == nil {
			t.Errorf("a description that cannot be read: %s", d)
			continue
		}
		name, err := strconv.Unquote(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		help, err := strconv.Unquote(parts[2])
		if err != nil {
			t.Fatal(err)
		}
		r := &Row{Name: name, Help: help}
		for _, l := range constant.FindAllStringSubmatch(parts[3], -1) {
			r.Labels = append(r.Labels, l[1])
		}
		for l := range strings.SplitSeq(parts[4], ",") {
			if l != "" {
				r.Labels = append(r.Labels, strings.TrimSuffix(strings.TrimPrefix(l, "c("), ")"))
			}
		}
		slices.Sort(r.Labels)
		rows[name] = r
	}
	return rows
}

// own begins the names of edgekit's own metrics. All others are those of Kubernetes' kubelet, of Go
// and of the process: others chose their names, and alerts that exist depend on them.
var own = []string{"edgekit_", "edgecore_", "cloudcore_"}

// Own reports whether edgekit chose the metric's name.
func (r Row) Own() bool {
	return slices.ContainsFunc(own, func(prefix string) bool { return strings.HasPrefix(r.Name, prefix) })
}

// lint has promlint look at edgekit's own names, and requires a help of all.
func lint(t *testing.T, rows []Row) {
	t.Helper()
	var families []*dto.MetricFamily
	for _, r := range rows {
		if strings.TrimSpace(r.Help) == "" {
			t.Errorf("%s has no help", r.Name)
		}
		if !r.Own() {
			continue
		}
		kind, ok := dto.MetricType_value[strings.ToUpper(r.Kind)]
		if !ok {
			continue // reported before
		}
		m := &dto.Metric{}
		for _, l := range r.Labels {
			m.Label = append(m.Label, &dto.LabelPair{Name: &l, Value: new(string)})
		}
		families = append(families, &dto.MetricFamily{Name: &r.Name, Help: &r.Help, Type: dto.MetricType(kind).Enum(), Metric: []*dto.Metric{m}})
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
