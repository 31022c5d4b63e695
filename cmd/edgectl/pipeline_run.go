package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// pipelineRunCmd runs a pipeline on lines from the input.
type pipelineRunCmd struct {
	pipelineFile
	Name   string        `help:"The Pipeline, if the file has more than one." placeholder:"NAME"`
	Source string        `help:"The source that the lines come from. Default: the only one." placeholder:"NAME"`
	Topics bool          `help:"Each line is an MQTT topic, a space and the payload, as 'mosquitto_sub -v' prints it: it comes from the sources whose filter matches."`
	Every  time.Duration `help:"Time is virtual: each line comes this much after the line before, and windows end without waiting." placeholder:"TIME"`
	Trace  bool          `help:"Print each event that goes out of a source or a step, too."`
	Output string        `help:"Form of the output: text (the sink and the data) or json (the sink and the whole event, one JSON in each line)." short:"o" enum:"text,json" default:"text" placeholder:"FORM"`
}

// Help is more about the command.
func (*pipelineRunCmd) Help() string {
	return `  echo '{"value":81}' | edgectl pipeline run exceptions.yaml --trace
  mosquitto_sub -v -t 'plant/#' | edgectl pipeline run exceptions.yaml --topics
  edgectl pipeline run exceptions.yaml --every 100ms < recorded.jsonl

Each line is the payload of one event, decoded as the source says. Nothing is sent: the events of all sinks are
printed. Windows that are open when the input ends are closed. Twins have no values; use spec.tests for those.`
}

// Run runs the pipeline.
func (c *pipelineRunCmd) Run(ctx context.Context, out program.Output) error {
	return c.run(ctx, os.Stdin, out)
}

func (c *pipelineRunCmd) run(ctx context.Context, in io.Reader, out io.Writer) error {
	switch {
	case c.File == "-":
		return &program.UsageError{Setting: "file", Reason: "the input has the events: name a file"}
	case c.Every < 0:
		return &program.UsageError{Setting: "every", Reason: "must not be negative"}
	case c.Topics && c.Source != "":
		return &program.UsageError{Setting: "topics", Reason: "the topic says which source it is: leave --source out"}
	}
	p, err := c.choose()
	if err != nil {
		return err
	}
	plan, err := compile(p, out)
	if err != nil {
		return err
	}
	tables, err := c.tables(p)
	if err != nil {
		return err
	}
	t := &trial{cmd: c, spec: &p.Spec, out: program.Plain(out), now: time.Now()}
	if c.Output == "json" {
		t.out = program.PlainJSON(out)
	}
	if t.source, err = c.onlySource(&p.Spec); err != nil {
		return err
	}
	cfg := pipeline.MachineConfig{Node: p.Spec.NodeName, Tables: tables, Sink: t.sink, Dead: t.dead}
	if c.Trace {
		cfg.Trace = t.trace
	}
	if t.machine, err = pipeline.NewMachine(plan, cfg); err != nil {
		return err
	}
	if err := t.all(ctx, in); err != nil {
		return err
	}
	return t.err
}

// choose reads the file and returns the pipeline to run.
func (c *pipelineRunCmd) choose() (*v1alpha1.Pipeline, error) {
	all, err := c.read(nil)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range all {
		if p.Name == c.Name || c.Name == "" && len(all) == 1 {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return nil, &program.UsageError{Setting: "name", Reason: fmt.Sprintf("name one of the Pipelines of %s: %s", c.File, strings.Join(names, ", "))}
}

// onlySource is the source of lines without a topic.
func (c *pipelineRunCmd) onlySource(spec *v1alpha1.PipelineSpec) (v1alpha1.Name, error) {
	if c.Topics {
		for _, s := range spec.Sources {
			if s.MQTT != nil {
				return "", nil
			}
		}
		return "", &program.UsageError{Setting: "topics", Reason: "the pipeline has no source of kind mqtt"}
	}
	var names []string
	for _, s := range spec.Sources {
		if string(s.Name) == c.Source || c.Source == "" && len(spec.Sources) == 1 {
			return s.Name, nil
		}
		names = append(names, string(s.Name))
	}
	return "", &program.UsageError{Setting: "source", Reason: "name one of the pipeline's sources: " + strings.Join(names, ", ")}
}

// trial is a pipeline at work on lines.
type trial struct {
	cmd     *pipelineRunCmd
	spec    *v1alpha1.PipelineSpec
	machine *pipeline.Machine
	source  v1alpha1.Name // of lines without a topic
	out     io.Writer
	now     time.Time
	lines   int
	err     error // the first failure to write
}

// all runs the pipeline until the input or ctx ends.
func (t *trial) all(ctx context.Context, in io.Reader) error {
	lines := make(chan string)
	var failed error
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(lines)
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, pipeline.MaxEvent+1)
		for scanner.Scan() {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return nil
			}
		}
		if failed = scanner.Err(); errors.Is(failed, bufio.ErrTooLong) {
			failed = fmt.Errorf("a line of the input has more than %d bytes, the most that an event may have", pipeline.MaxEvent)
		}
		return failed
	})
	group.Go(func() error { t.loop(ctx, lines); return nil })
	return group.Wait()
}

// loop is the one goroutine of the machine.
func (t *trial) loop(ctx context.Context, lines <-chan string) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for t.err == nil {
		timer.Stop()
		if next, ok := t.machine.Next(); ok && t.cmd.Every == 0 {
			timer.Reset(max(time.Until(next), 0))
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			t.now = time.Now()
			t.machine.Advance(t.now)
		case line, ok := <-lines:
			if !ok {
				t.finish()
				return
			}
			t.line(line)
		}
	}
}

// line gives one line to the pipeline.
func (t *trial) line(line string) {
	if t.cmd.Every == 0 {
		t.now = time.Now()
	} else {
		t.pass(t.now.Add(t.cmd.Every))
	}
	t.lines++
	e := pipeline.Event{ID: strconv.Itoa(t.lines), Source: "/input", Type: "io.edgekit.input", Time: t.now}
	if !t.cmd.Topics {
		e.Data = []byte(line)
		t.machine.Push(t.now, string(t.source), e)
		return
	}
	topic, payload, _ := strings.Cut(line, " ")
	e.Subject = topic
	taken := false
	for _, s := range t.spec.Sources {
		if s.MQTT != nil && bus.Match(s.MQTT.Topic, topic) {
			taken = true
			e.Data = []byte(payload)
			t.machine.Push(t.now, string(s.Name), e)
		}
	}
	if !taken && t.cmd.Trace {
		t.print("%s\n", "no source has the topic "+topic)
	}
}

// pass lets virtual time pass, with a stop at each end of a window.
func (t *trial) pass(until time.Time) {
	for {
		next, ok := t.machine.Next()
		if !ok || next.After(until) {
			break
		}
		if next.After(t.now) {
			t.now = next
		}
		t.machine.Advance(t.now)
	}
	t.now = until
	t.machine.Advance(until)
}

// finish ends the windows that are open, for a day at most: longer ones are not meant to end here.
func (t *trial) finish() { t.pass(t.now.Add(24 * time.Hour)) }

func (t *trial) print(format string, args ...any) {
	if _, err := fmt.Fprintf(t.out, format, args...); err != nil && t.err == nil {
		t.err = err
	}
}

// tried is one line of --output json.
type tried struct {
	Step    string     `json:"step"`             // a sink, or with --trace a source or step
	Trace   bool       `json:"trace,omitempty"`  // the event only went out of the step
	Reason  string     `json:"reason,omitempty"` // of a dead letter
	Message string     `json:"message,omitempty"`
	Event   triedEvent `json:"event"`
}

type triedEvent struct {
	ID      string    `json:"id"`
	Type    string    `json:"type,omitempty"`
	Subject string    `json:"subject,omitempty"`
	Time    time.Time `json:"time,omitzero"`
	Data    any       `json:"data"`
}

func (t *trial) show(line tried, e *pipeline.Event, text string) {
	if t.cmd.Output != "json" {
		t.print("%s\n", text)
		return
	}
	line.Event = triedEvent{ID: e.ID, Type: e.Type, Subject: e.Subject, Time: e.Time, Data: e.Data}
	b, err := json.Marshal(line)
	if err != nil {
		line.Event.Data = fmt.Sprint(e.Data)
		b, err = json.Marshal(line)
	}
	if err == nil {
		t.print("%s\n", b)
	}
}

func (t *trial) sink(sink string, e pipeline.Event) {
	t.show(tried{Step: sink}, &e, sink+" "+dataText(e.Data))
}

func (t *trial) dead(l pipeline.DeadLetter) {
	t.show(tried{Step: l.Step, Reason: l.Reason, Message: l.Message}, &l.Event,
		fmt.Sprintf("dead letter of %s, %s: %s: %s", l.Step, l.Reason, l.Message, dataText(l.Event.Data)))
}

func (t *trial) trace(step string, e pipeline.Event) {
	t.show(tried{Step: step, Trace: true}, &e, "  "+traceLine(step, &e))
}

// traceLine is an event that went out of a step, in one line.
func traceLine(step string, e *pipeline.Event) string {
	subject := ""
	if e.Subject != "" {
		subject = " " + e.Subject
	}
	return fmt.Sprintf("%s: id %s%s %s", step, e.ID, subject, dataText(e.Data))
}

// dataText is the data of an event as JSON; bytes that are text are printed as they are.
func dataText(data any) string {
	if b, ok := data.([]byte); ok {
		return strconv.Quote(string(b))
	}
	b, err := json.Marshal(data)
	if err != nil { // NaN, for example
		return fmt.Sprint(data)
	}
	return string(b)
}
