package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

//go:embed series.txt
var seriesText string

//go:embed missing.txt
var missingText string

// key is a series or a field: the path that shows it, and its name.
type key struct{ path, name string }

func (k key) String() string { return k.path + " " + k.name }

// want is what somebody uses of a series: labels, each with a value or with "" for any.
type want struct {
	key
	labels []label
}

type label struct{ name, value string }

// parseSeries reads lines of a path, a name and labels: "/metrics NAME label label=value".
func parseSeries(text string) ([]want, error) {
	var out []want
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if len(f) < 2 {
			return nil, fmt.Errorf("series.txt: %q: want a path, a name and labels", strings.TrimSpace(line))
		}
		w := want{key: key{f[0], f[1]}}
		for _, l := range f[2:] {
			name, value, _ := strings.Cut(l, "=")
			w.labels = append(w.labels, label{name, value})
		}
		out = append(out, w)
	}
	return out, nil
}

// parseReasons reads lines of a path, a name (with * at its end for all that begin so) and the
// reason for which edgecore does not show it.
func parseReasons(text string) (map[key]string, error) {
	out := make(map[key]string)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		path, rest, _ := strings.Cut(line, " ")
		name, reason, ok := strings.Cut(rest, " ")
		if k := (key{path, name}); !ok || out[k] != "" {
			return nil, fmt.Errorf("missing.txt: %q: want a path, a name and a reason, each once", line)
		}
		out[key{path, name}] = reason
	}
	return out, nil
}

// missing is something that edgecore lacks.
type missing struct {
	key
	what   string // which label, for one of which only that is missing
	reason string // "" without one
}

// result is the outcome of a comparison.
type result struct {
	compared int
	missing  []missing
	unused   []key // reasons that this machine does not need
	absent   []key // series that are used, and that neither shows
}

func (r result) failed() bool { return r.unexplained() > 0 }

func (r result) unexplained() (n int) {
	for _, m := range r.missing {
		if m.reason == "" {
			n++
		}
	}
	return n
}

func (r result) print(w io.Writer) {
	for _, k := range r.absent {
		fmt.Fprintf(w, "neither shows: %s\n", k)
	}
	for _, m := range r.missing {
		reason := m.reason
		if reason == "" {
			reason = "NO REASON"
		}
		fmt.Fprintf(w, "missing: %s %s: %s\n", m.key, m.what, reason)
	}
	for _, k := range r.unused {
		fmt.Fprintf(w, "missing.txt has a reason that this machine does not need: %s\n", k)
	}
	fmt.Fprintf(w, "RESULT metrics_compared %d series\nRESULT metrics_missing %d series\nRESULT metrics_unexplained %d series\n", r.compared, len(r.missing), r.unexplained())
}

// compare lists what ours lacks: of the series that are wanted, and of all that the peer shows but
// on /metrics.
func compare(wanted []want, reasons map[key]string, ours, peer answers) (result, error) {
	var r result
	own, err := readAll(ours)
	if err != nil {
		return r, fmt.Errorf("edgecore: %w", err)
	}
	theirs, err := readAll(peer)
	if err != nil {
		return r, fmt.Errorf("kubelet: %w", err)
	}
	all := wanted
	for _, k := range slices.SortedFunc(maps.Keys(theirs), func(a, b key) int { return strings.Compare(a.String(), b.String()) }) {
		if k.path != "/metrics" {
			all = append(all, want{key: k})
		}
	}
	used := make(map[key]bool)
	seen := make(map[key]bool) // without labels of their own
	for _, w := range all {
		if len(w.labels) == 0 && seen[w.key] {
			continue
		}
		seen[w.key] = true
		r.compared++
		if theirs[w.key] == nil && own[w.key] == nil {
			r.absent = append(r.absent, w.key)
		}
		for _, what := range lacks(w, own[w.key], theirs[w.key]) {
			m := missing{key: w.key, what: what}
			for k, reason := range reasons {
				prefix, many := strings.CutSuffix(k.name, "*")
				if k.path == w.path && (k.name == w.name || many && strings.HasPrefix(w.name, prefix)) {
					m.reason, used[k] = reason, true
				}
			}
			r.missing = append(r.missing, m)
		}
	}
	for k := range reasons {
		if !used[k] {
			r.unused = append(r.unused, k)
		}
	}
	slices.SortFunc(r.unused, func(a, b key) int { return strings.Compare(a.String(), b.String()) })
	return r, nil
}

// lacks says what of a series ours lacks; "" is the whole. What the peer lacks as well is a matter of
// the machine, or of the release of Kubernetes.
func lacks(w want, ours, peer *series) []string {
	if peer == nil {
		return nil
	}
	if ours == nil {
		return []string{""}
	}
	var out []string
	for _, l := range w.labels {
		values := ours.labels[l.name]
		if (values == nil || l.value != "" && !values[l.value]) && (l.value == "" || peer.labels[l.name][l.value]) {
			out = append(out, strings.TrimSuffix("label "+l.name+"="+l.value, "="))
		}
	}
	if peer.kind != ours.kind {
		out = append(out, fmt.Sprintf("type %s, not %s", peer.kind, ours.kind))
	}
	for _, name := range slices.Sorted(maps.Keys(peer.labels)) {
		if ours.labels[name] == nil {
			out = append(out, "label "+name)
		}
	}
	return slices.Compact(out)
}

// series is what is compared of a series: its type, and its labels with their values.
type series struct {
	kind   string
	labels map[string]map[string]bool
}

// readAll reads the series and fields of all answers.
func readAll(a answers) (map[key]*series, error) {
	out := make(map[key]*series)
	for path, text := range a {
		if path == summaryPath {
			var v any
			if err := json.Unmarshal(text, &v); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			fields(path, "", v, out)
			continue
		}
		if err := parseText(path, string(text), out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// fields lists the fields of a JSON value, as "pods[].containers[].cpu.time".
func fields(path, name string, v any, out map[key]*series) {
	switch v := v.(type) {
	case map[string]any:
		for k, sub := range v {
			fields(path, strings.TrimPrefix(name+"."+k, "."), sub, out)
		}
	case []any:
		for _, sub := range v {
			fields(path, name+"[]", sub, out)
		}
	default:
		out[key{path, name}] = &series{}
	}
}
