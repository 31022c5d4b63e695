package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const someReport = `[{"SpecReports": [
	{"LeafNodeType": "SynchronizedBeforeSuite", "State": "passed"},
	{"LeafNodeType": "It", "State": "passed", "ContainerHierarchyTexts": ["[sig-cli] Kubectl", "logs"], "LeafNodeText": "b"},
	{"LeafNodeType": "It", "State": "skipped", "LeafNodeText": "c"},
	{"LeafNodeType": "It", "State": "failed", "ContainerHierarchyTexts": ["[sig-node] PrivilegedPod"], "LeafNodeText": "should enable privileged commands",
	 "Failure": {"Message": "no dummy\nlinks"}},
	OTHER
	{"LeafNodeType": "It", "State": "pending", "LeafNodeText": "d"}]}]`

func TestReport(t *testing.T) {
	for _, test := range []struct {
		other string
		want  string
		good  bool
	}{
		{"", "RESULT conformance_passed 1 specs\nRESULT conformance_failed 1 specs\n" +
			"  failed  [sig-node] PrivilegedPod should enable privileged commands\n      cannot pass here: it makes a dummy link", true},
		{`{"LeafNodeType": "It", "State": "timedout", "LeafNodeText": "a", "Failure": {"Message": "too\nlate"}},`,
			"RESULT conformance_failed 2 specs\n", false},
		{`{"LeafNodeType": "SynchronizedBeforeSuite", "State": "failed", "LeafNodeText": "", "Failure": {"Message": "no node"}},`,
			"      no node\n", false},
	} {
		file := filepath.Join(t.TempDir(), "report.json")
		if err := os.WriteFile(file, []byte(strings.Replace(someReport, "OTHER", test.other, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		ran, err := readReport(file)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if good := report(&out, ran); good != test.good || !strings.Contains(out.String(), test.want) {
			t.Errorf("good %t, %q", good, out.String())
		}
	}
	if report(&strings.Builder{}, nil) {
		t.Error("a run of no spec is good")
	}
	if _, err := readReport("/does/not/exist"); err == nil {
		t.Error("read a report that is not there")
	}
}

func TestProgress(t *testing.T) {
	var out strings.Builder
	p := &progress{out: &out, began: time.Now()}
	for _, part := range []string{"SSSS\n• [1.5 seco", "nds]\n[sig-cli] a [It] b [sig-cli, Slow]\nmore\n•", " [FAILED] [2.0 seconds]\n[sig-cli] c\n• nothing\n"} {
		if _, err := p.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.HasSuffix(lines[0], "passed  [sig-cli] a [It] b") || !strings.HasSuffix(lines[1], "FAILED  [sig-cli] c") {
		t.Errorf("progress %q", lines)
	}
}
