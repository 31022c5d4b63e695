package main

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestFiles: every line of the two files can be read, and every reason is for one path.
func TestFiles(t *testing.T) {
	wanted, err := parseSeries(seriesText)
	if err != nil || len(wanted) < 50 {
		t.Error(len(wanted), err)
	}
	reasons, err := parseReasons(missingText)
	if err != nil || len(reasons) == 0 {
		t.Error(len(reasons), err)
	}
	for _, k := range wanted {
		if !slices.Contains(paths(), k.path) {
			t.Errorf("%s: no such path", k)
		}
	}
	for k := range reasons {
		if !slices.Contains(paths(), k.path) {
			t.Errorf("%s: no such path", k)
		}
	}
}

func TestCompare(t *testing.T) {
	wanted, err := parseSeries("# used\n/metrics a l\n/metrics b op=x\n/metrics none\n/metrics/cadvisor c pod=p\n")
	if err != nil {
		t.Fatal(err)
	}
	reasons, err := parseReasons("/metrics a as it is\n/metrics/cadvisor x* for a reason\n/metrics never not here\n")
	if err != nil {
		t.Fatal(err)
	}
	peer := answers{
		"/metrics":          []byte("# TYPE a counter\na{l=\"1\"} 1\nb{op=\"x\"} 1\nb{op=\"y\"} 1\nunlisted 1\n"),
		"/metrics/cadvisor": []byte("# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\nx_1 1\nx_2 1\nc{pod=\"p\\\"\"} 1\n"),
		summaryPath:         []byte(`{"node":{"fs":{"usedBytes":1}},"pods":[{"name":"x"}]}`),
	}
	ours := answers{
		"/metrics":          []byte("b{op=\"y\"} 1\n"),
		"/metrics/cadvisor": []byte("# TYPE h histogram\nh_bucket{le=\"1\"} 1\nc{pod=\"q\"} 1\n"),
		summaryPath:         []byte(`{"node":{},"pods":[]}`),
	}
	r, err := compare(wanted, reasons, ours, peer)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	r.print(&out)
	for _, want := range []string{
		"neither shows: /metrics none\n", "missing: /metrics a : as it is\n", "missing: /metrics b label op=x: NO REASON\n",
		"missing: /metrics/cadvisor x_1 : for a reason\n", "missing: /stats/summary node.fs.usedBytes : NO REASON\n", "missing: /stats/summary pods[].name : NO REASON\n",
		"does not need: /metrics never\n", "RESULT metrics_missing 6 series\n", "RESULT metrics_unexplained 3 series\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if !r.failed() || strings.Contains(out.String(), "unlisted") || strings.Contains(out.String(), "cadvisor h") || strings.Contains(out.String(), "cadvisor c") {
		t.Error(out.String())
	}
	if r, err := compare(wanted, reasons, peer, peer); err != nil || r.failed() || len(r.missing) != 0 {
		t.Errorf("%+v %v", r, err)
	}
}

func TestBadInput(t *testing.T) {
	for _, text := range []string{"a{", "a{b}", "a{b=\"c", "a{b=\"c\" 1", "a"} {
		if err := parseText("/metrics", text, make(map[key]*series)); err == nil {
			t.Errorf("%q is read", text)
		}
	}
	if _, err := parseSeries("/metrics\n"); err == nil {
		t.Error("a line without a name")
	}
	for _, text := range []string{"/metrics a\n", "/metrics a x\n/metrics a y\n"} {
		if _, err := parseReasons(text); err == nil {
			t.Errorf("%q is read", text)
		}
	}
	if _, err := readAll(answers{summaryPath: []byte("x")}); err == nil {
		t.Error("a summary that is no JSON")
	}
}

// TestFolder: what was saved is read again.
func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	a := answers{"/metrics": []byte("a 1\n"), summaryPath: []byte("{}")}
	if err := a.write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := readAnswers(dir)
	if err != nil || len(got) != 2 || string(got[summaryPath]) != "{}" {
		t.Errorf("%q %v", got, err)
	}
}
