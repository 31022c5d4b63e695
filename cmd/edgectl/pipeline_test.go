package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/control"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

const hotPipeline = `apiVersion: pipelines.edgekit.io/v1alpha1
kind: Pipeline
metadata: {name: hot, namespace: plant}
spec:
  tables:
  - {name: limits, key: device, configMapRef: {name: limits, key: csv}}
  sources:
  - {name: temps, mqtt: {topic: plant/+/temp}}
  - {name: others, mqtt: {topic: other/#}}
  steps:
  - {name: limit, from: [temps], enrich: {table: {name: limits, key: event.data.device, as: limit}}}
  - {name: hot, filter: {expression: event.data.value > double(event.data.limit.max)}}
  - {name: minute, window: {tumbling: 1m, aggregate: {count: count()}}}
  sinks:
  - {name: alarms, from: [hot], mqtt: {topic: alarms}}
  - {name: counts, mqtt: {topic: counts}}
  - {name: rest, from: [others], mqtt: {topic: rest}}
  tests:
  - name: one is hot
    input:
    - {source: temps, data: {device: d1, value: 81}}
    - {source: temps, data: {device: d1, value: 1}}
    expect:
    - {sink: alarms, data: {value: 81}}
  - name: it fails
    input: [{source: temps, data: {device: d1, value: 81}}]
    expect: [{sink: alarms, data: {value: 82}}]
`

// hotFiles writes the pipeline and its table.
func hotFiles(t *testing.T) (file, table string) {
	t.Helper()
	dir := t.TempDir()
	file, table = filepath.Join(dir, "hot.yaml"), "limits="+filepath.Join(dir, "limits.csv")
	for name, text := range map[string]string{"hot.yaml": hotPipeline, "limits.csv": "device,max\nd1,80\nd2,10\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return file, table
}

func TestPipelineValidate(t *testing.T) {
	file, _ := hotFiles(t)
	if out := must(t, "pipeline", "validate", file); out != "plant/hot: ok, 2 sources, 3 steps, 3 sinks, 2 tests\n" {
		t.Error(out)
	}
	bad := strings.Replace(strings.Replace(hotPipeline, "event.data.value > double", "evnt.data.value > double", 1), "from: [hot]", "from: [cold]", 1)
	wrong := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(wrong, []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := command(t, "pipeline", "validate", wrong)
	if code != 1 || !strings.Contains(errs, "hot has 2 errors") || strings.Count(out, "\n") != 2 || !strings.Contains(out, "hot: hot: spec.steps[1].filter.expression: ") || !strings.Contains(out, "cold") {
		t.Errorf("exit %d: %s\n%s", code, errs, out)
	}
	for text, want := range map[string]string{"a: [": "bad.yaml", "": "has no Pipeline", strings.Replace(hotPipeline, "tables:", "tabels:", 1): "tabels"} {
		if err := os.WriteFile(wrong, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, errs := command(t, "pipeline", "validate", wrong); code != 2 || !strings.Contains(errs, want) {
			t.Errorf("%.20q: exit %d: %s, want %q", text, code, errs, want)
		}
	}
	refused(t, "no such file", "pipeline", "validate", filepath.Join(t.TempDir(), "none.yaml"))
}

func TestPipelineTest(t *testing.T) {
	file, table := hotFiles(t)
	report := filepath.Join(t.TempDir(), "report.xml")
	code, out, errs := command(t, "pipeline", "test", file, "--table", table, "--junit", report)
	want := "PASS plant/hot: one is hot\nFAIL plant/hot: it fails\n  alarms: event 1 differs:\n      data.value: expected 82, got 81\n"
	if code != 1 || !strings.HasPrefix(out, want) || !strings.Contains(errs, "1 of 2 cases failed") {
		t.Errorf("exit %d: %s\n%s", code, errs, out)
	}
	var suites junitSuites
	text, err := os.ReadFile(report)
	if err != nil || xml.Unmarshal(text, &suites) != nil || len(suites.Suites) != 1 || suites.Suites[0].Tests != 2 || suites.Suites[0].Failures != 1 ||
		suites.Suites[0].Cases[1].Failure.Message != "alarms: event 1 differs:" {
		t.Errorf("%v\n%s", err, text)
	}
	if out := must(t, "pipeline", "test", file, "--table", table, "--case", "one is hot", "--trace"); !strings.HasSuffix(out, "1 case passed\n") ||
		!strings.Contains(out, `    0s limit: id 1 {"device":"d1","limit":`) {
		t.Error(out)
	}
	refused(t, "has no case \"x\"", "pipeline", "test", file, "--table", table, "--case", "x")
	refused(t, "--table limits=FILE", "pipeline", "test", file)
	refused(t, "is not NAME=FILE", "pipeline", "test", file, "--table", "limits")
}

func TestPipelineRun(t *testing.T) {
	file, table := hotFiles(t)
	for name, c := range map[string]struct {
		cmd  pipelineRunCmd
		in   string
		want string
	}{
		"lines": {pipelineRunCmd{Source: "temps", Every: time.Second}, "{\"device\":\"d1\",\"value\":81}\nno JSON\n{\"device\":\"d2\",\"value\":9}\n",
			"alarms {\"device\":\"d1\",\"limit\":{\"device\":\"d1\",\"max\":80},\"value\":81}\ndead letter of temps, DecodeFailed: "},
		"trace":  {pipelineRunCmd{Source: "temps", Trace: true}, `{"device":"d1","value":81}`, "  temps: id 1 {\"device\":\"d1\",\"value\":81}\n  limit: id 1 "},
		"topics": {pipelineRunCmd{Topics: true, Trace: true}, "plant/x/temp {\"device\":\"d1\",\"value\":81}\nnone/y 1\n", "  temps: id 1 plant/x/temp "},
		"json":   {pipelineRunCmd{Source: "temps", Output: "json"}, `{"device":"d1","value":81}`, `{"step":"alarms","event":{"id":"1","type":"io.edgekit.input","time":"`},
	} {
		t.Run(name, func(t *testing.T) {
			c.cmd.File, c.cmd.Table = file, []string{table}
			var out bytes.Buffer
			if err := c.cmd.run(t.Context(), strings.NewReader(c.in), &out); err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(out.String(), c.want) || !strings.Contains(out.String(), `"count":`) {
				t.Errorf("%s\nwant %s", &out, c.want)
			}
			if name == "topics" && !strings.Contains(out.String(), "no source has the topic none/y") {
				t.Error(out.String())
			}
		})
	}
	for want, c := range map[string]pipelineRunCmd{
		"name one of the pipeline's sources: temps, others": {},
		"leave --source out":        {Source: "temps", Topics: true},
		"must not be negative":      {Source: "temps", Every: -1},
		"name one of the Pipelines": {Source: "temps", Name: "cold"},
	} {
		c.File, c.Table = file, []string{table}
		if err := c.run(t.Context(), strings.NewReader(""), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	long := pipelineRunCmd{Source: "temps"}
	long.File, long.Table = file, []string{table}
	if err := long.run(t.Context(), strings.NewReader(strings.Repeat("x", pipeline.MaxEvent+2)), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "a line of the input has more than") {
		t.Error(err)
	}
}

// nodeWithPipelines is a program that runs plant/hot and other/hot, with dead letters 1 and 2.
type nodeWithPipelines struct {
	asked pipeline.TapRequest
	dead  []string
	at    time.Time
}

func (n *nodeWithPipelines) Status() []pipeline.Status {
	steps := []pipeline.StepStats{
		{Name: "temps", Part: "source", Kind: "mqtt", Out: 7}, {Name: "hot", Part: "step", Kind: "filter", In: 7, Out: 2, Drop: 5, Busy: 3 * time.Millisecond},
		{Name: "up", Part: "sink", Kind: "mqtt", In: 2, Out: 1, Queue: pipeline.QueueStats{Events: 1, Bytes: 300, Oldest: time.Now().Add(-time.Hour)}}}
	failures := []v1alpha1.Failure{{Step: "up", Reason: "SinkRetrying", Message: "the broker is away\x1b[2J", Count: 3, Time: metav1.Now()}}
	return []pipeline.Status{{Ref: pipeline.Ref{Namespace: "plant", Name: "hot"}, State: pipeline.Running, Steps: steps, Failures: failures},
		{Ref: pipeline.Ref{Namespace: "other", Name: "hot"}, State: pipeline.Running, Steps: steps}}
}

func (n *nodeWithPipelines) Tap(_ context.Context, req pipeline.TapRequest, show func(pipeline.TapEvent) error) error {
	n.asked = req
	for i := range req.Events {
		if err := show(pipeline.TapEvent{Event: pipeline.Event{ID: fmt.Sprint(i), Source: "s", Type: "t", Subject: "plant/d1/temp", Data: map[string]any{"text": "\x1b[2J"}}, Skipped: int64(i)}); err != nil {
			return err
		}
	}
	return nil
}

func (n *nodeWithPipelines) PushTo(context.Context, pipeline.Ref, string, []pipeline.Event) error {
	return nil
}

func (n *nodeWithPipelines) Export(_ context.Context, _ pipeline.Ref, _ string, show func(pipeline.Event) error) error {
	return show(pipeline.Event{ID: "1", Source: "s", Type: "t", Data: "x\u009b"})
}

func (n *nodeWithPipelines) Drop(_ context.Context, _ pipeline.Ref, _ string, before time.Time) (int64, error) {
	n.at = before
	return 2, nil
}

func (n *nodeWithPipelines) ReplaySent(_ context.Context, _ pipeline.Ref, _ string, from, to time.Time) (int64, error) {
	n.at = from
	if !to.IsZero() {
		return 1, nil
	}
	return 5, nil
}

func (n *nodeWithPipelines) DeadLetters(_ context.Context, _ pipeline.Ref, show func(string, pipeline.DeadLetter) error) error {
	return errors.Join(show("1", pipeline.DeadLetter{Step: "up", Reason: "Refused", Message: "400\nBad Request", Time: time.Now(), Event: pipeline.Event{ID: "a", Data: 1.5}}),
		show("2", pipeline.DeadLetter{Step: "hot", Reason: "ExpressionFailed", Time: time.Now()}))
}

func (n *nodeWithPipelines) DropDead(_ context.Context, _ pipeline.Ref, ids []string) (int64, error) {
	n.dead = ids
	return 1, nil
}

func (n *nodeWithPipelines) Replay(_ context.Context, _ pipeline.Ref, ids []string) (int64, error) {
	if len(ids) == 1 && ids[0] == "9" {
		return 0, fmt.Errorf("%w: dead letter \"9\"", pipeline.ErrNotFound)
	}
	n.dead = ids
	return 2, nil
}

// servePipelines serves n where edgectl looks for it below a data folder.
func servePipelines(t *testing.T, n *nodeWithPipelines) (data string) {
	t.Helper()
	data = t.TempDir()
	h, err := control.New(control.Config{Runner: n, Queues: n})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(data, "pipelines"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(data, pipelineSocket))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return data
}

func TestPipelineAtANode(t *testing.T) {
	n := &nodeWithPipelines{}
	t.Setenv("EDGECTL_DATA_DIR", servePipelines(t, n))
	has := func(out string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
		if strings.ContainsAny(out, "\x1b\u009b") {
			t.Errorf("control characters in %q", out)
		}
	}
	has(must(t, "pipeline", "status"), "PIPELINE", "plant/hot", "Running", "up SinkRetrying")
	has(must(t, "pipeline", "status", "plant/hot"), "STEP", "temps", "filter", `up SinkRetrying (3 times`, `the broker is away\x1b[2J`)
	var list struct{ Items []control.Status }
	if out := must(t, "pipeline", "status", "-o", "json"); json.Unmarshal([]byte(out), &list) != nil || len(list.Items) != 2 || list.Items[0].Steps[0].Queue != nil || list.Items[0].Steps[2].Queue == nil {
		t.Error(out)
	}
	has(must(t, "pipeline", "tap", "plant/hot", "hot", "-n", "2"), `id 0 plant/d1/temp {"text":"\u001b[2J"}`, "(1 event not shown)")
	if n.asked.PerSec != 10 || n.asked.Bytes != 4096 || n.asked.Step != "hot" {
		t.Errorf("%+v", n.asked)
	}
	has(must(t, "pipeline", "tap", "plant/hot", "hot", "-n", "1", "-o", "json"), `"specversion":"1.0"`)
	out := must(t, "pipeline", "queue", "inspect")
	has(out, "WAITING", "plant/hot", "60m", "300")
	if strings.Contains(out, "temps") || strings.Count(out, "\n") != 3 {
		t.Error(out)
	}
	has(must(t, "pipeline", "queue", "export", "plant/hot", "up"), `"id":"1"`)
	has(must(t, "pipeline", "queue", "drop", "plant/hot", "up", "--before", "36h"), "plant/hot up: 2 events dropped")
	if age := time.Since(n.at); age < 36*time.Hour || age > 37*time.Hour {
		t.Error(n.at)
	}
	has(must(t, "pipeline", "queue", "replay", "plant/hot", "up", "--from", "2h"), "plant/hot up: 5 events are sent again")
	if age := time.Since(n.at); age < 2*time.Hour || age > 3*time.Hour {
		t.Error(n.at)
	}
	has(must(t, "pipeline", "queue", "replay", "plant/hot", "up", "--from", "2026-01-01T00:00:00Z", "--to", "1h"), "1 event is sent again")
	must(t, "pipeline", "queue", "drop", "plant/hot", "up", "--yes")
	if !n.at.IsZero() {
		t.Error(n.at)
	}
	has(must(t, "pipeline", "dead-letter", "list", "plant/hot"), "REASON", "Refused", `400`)
	has(must(t, "pipeline", "dead-letter", "list", "plant/hot", "--limit", "1"), "ExpressionFailed", "1 older ones are not listed")
	has(must(t, "pipeline", "dead-letter", "show", "plant/hot", "1"), "Reason:  Refused", `"data": 1.5`)
	has(must(t, "pipeline", "dead-letter", "replay", "plant/hot", "--all"), "2 dead letters replayed")
	has(must(t, "pipeline", "dead-letter", "drop", "plant/hot", "1"), "1 dead letter dropped")
	if len(n.dead) != 1 || n.dead[0] != "1" {
		t.Error(n.dead)
	}

	refused(t, "there is more than one hot: write plant/hot", "pipeline", "tap", "hot", "hot")
	refused(t, `no Pipeline "cold" runs on this node`, "pipeline", "tap", "cold", "hot")
	refused(t, `plant/hot has no "x"; it has temps, hot, up`, "pipeline", "tap", "plant/hot", "x")
	refused(t, `plant/hot has no "hot"; it has up`, "pipeline", "queue", "export", "plant/hot", "hot")
	refused(t, "drop all with --yes", "pipeline", "queue", "drop", "plant/hot", "up")
	refused(t, "neither a time", "pipeline", "queue", "drop", "plant/hot", "up", "--before", "noon")
	refused(t, "--to must be after --from", "pipeline", "queue", "replay", "plant/hot", "up", "--from", "1h", "--to", "2h")
	refused(t, "all of them with --all", "pipeline", "dead-letter", "drop", "plant/hot")
	refused(t, `dead letter "9"`, "pipeline", "dead-letter", "replay", "plant/hot", "9")
	refused(t, "has no dead letter", "pipeline", "dead-letter", "show", "plant/hot", "9")
	refused(t, "no pipelines run on this machine", "pipeline", "status", "--data-dir", t.TempDir())
}

// TestPipelineReadme runs the commands of bus/pipeline/README.md, on the pipeline that is there.
func TestPipelineReadme(t *testing.T) {
	text, err := os.ReadFile("../../bus/pipeline/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, first, _ := strings.Cut(string(text), "```yaml\n")
	hot, _, _ := strings.Cut(first, "```")
	t.Setenv("EDGECTL_DATA_DIR", servePipelines(t, &nodeWithPipelines{}))
	t.Chdir(t.TempDir())
	if err := os.WriteFile("hot.yaml", []byte(hot), 0o600); err != nil {
		t.Fatal(err)
	}
	commands := 0
	for _, block := range strings.Split(string(text), "```sh\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		for line := range strings.Lines(block) {
			commands++
			must(t, strings.Fields(strings.Replace(line, " aggregates", " up", 1))[1:]...)
		}
	}
	if commands < 10 {
		t.Errorf("%d commands", commands)
	}
	// What the README shows of a case that fails.
	if err := os.WriteFile("hot.yaml", []byte(strings.Replace(hot, "data: {value: 81}}\n    - {sink", "data: {value: 82}}\n    - {sink", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(text), "```\nFAIL")
	shown, _, _ = strings.Cut(shown, "```")
	if code, out, _ := command(t, "pipeline", "test", "hot.yaml"); code != 1 || out != "FAIL"+shown {
		t.Errorf("exit %d:\n%s\nthe README shows\nFAIL%s", code, out, shown)
	}
}
