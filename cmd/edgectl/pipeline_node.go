package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/control"
	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// pipelineSocket is the socket of the program that runs pipelines, below edgecore's data folder.
const pipelineSocket = "pipelines/edgepipe.sock"

// nodePipelines reaches the program that runs the pipelines of this node.
type nodePipelines struct {
	DataDir string `help:"Data folder of the edgecore on this machine." default:"/var/lib/edgekit" placeholder:"DIR"`
	Socket  string `help:"Socket of the program that runs the pipelines, if it is not edgecore's." placeholder:"PATH"`
}

func (n *nodePipelines) client() *control.Client {
	if n.Socket != "" {
		return control.NewClient(n.Socket)
	}
	return control.NewClient(filepath.Join(n.DataDir, filepath.FromSlash(pipelineSocket)))
}

// explain adds what to do to an error of the client.
func (n *nodePipelines) explain(err error) error {
	switch {
	case errors.Is(err, control.ErrNotRunning):
		return errors.New("no pipelines run on this machine: edgecore starts edgepipe when the node has a Pipeline; look at 'kubectl get pipelines -A' and at 'edgectl status'")
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: run edgectl as root", err)
	case errors.Is(err, pipeline.ErrNotFound):
		return fmt.Errorf("%w; 'edgectl pipeline status' lists what there is", err)
	}
	return err
}

// onePipeline names one pipeline of the node.
type onePipeline struct {
	nodePipelines
	Pipeline string `arg:"" help:"NAMESPACE/NAME of the Pipeline; NAME alone if there is only one of that name." placeholder:"NAMESPACE/NAME"`
}

// find returns the client and the pipeline.
func (o *onePipeline) find(ctx context.Context) (*control.Client, control.Status, error) {
	c := o.client()
	all, err := c.Status(ctx)
	if err != nil {
		return nil, control.Status{}, o.explain(err)
	}
	var found []control.Status
	for _, s := range all {
		if s.Ref().String() == o.Pipeline || s.Name == o.Pipeline {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 0:
		return nil, control.Status{}, &program.UsageError{Setting: "pipeline", Reason: fmt.Sprintf("no Pipeline %q runs on this node; 'edgectl pipeline status' lists those that do", o.Pipeline)}
	case 1:
		return c, found[0], nil
	}
	return nil, control.Status{}, &program.UsageError{Setting: "pipeline", Reason: fmt.Sprintf("there is more than one %s: write %s", o.Pipeline, found[0].Ref())}
}

// step checks the name of a step of a pipeline, and says which there are.
func step(s control.Status, name string, sinks bool) error {
	var names []string
	for _, one := range s.Steps {
		if sinks && one.Queue == nil {
			continue
		}
		if one.Name == name {
			return nil
		}
		names = append(names, one.Name)
	}
	setting := "step"
	if sinks {
		setting = "sink"
	}
	return &program.UsageError{Setting: setting, Reason: fmt.Sprintf("%s has no %q; it has %s", s.Ref(), name, strings.Join(names, ", "))}
}

type pipelineStatusCmd struct {
	nodePipelines
	printer.Flags
	Pipeline string `arg:"" optional:"" help:"Only this Pipeline, with the counts of its steps and its failures." placeholder:"NAMESPACE/NAME"`
}

// Run lists the pipelines, or the steps of one.
func (c *pipelineStatusCmd) Run(ctx context.Context, out program.Output) error {
	if c.Pipeline != "" {
		one := onePipeline{c.nodePipelines, c.Pipeline}
		_, s, err := one.find(ctx)
		if err != nil {
			return err
		}
		if err := c.Print(out, stepTable(s), s); err != nil || c.Structured() || c.Output == printer.FormatName {
			return err
		}
		for _, f := range s.Failures {
			fmt.Fprintf(program.Plain(out), "\n%s %s (%d times, last %s ago): %s\n", f.Step, f.Reason, max(f.Count, 1), printer.Age(f.Time.Time, time.Now()), f.Message)
			if f.Event != "" {
				fmt.Fprintf(program.Plain(out), "  %s\n", f.Event)
			}
		}
		return nil
	}
	all, err := c.client().Status(ctx)
	if err != nil {
		return c.explain(err)
	}
	t := printer.Table{Columns: []printer.Column{{Name: "PIPELINE"}, {Name: "STATE"}, {Name: "IN"}, {Name: "OUT"}, {Name: "WAITING"}, {Name: "DEAD"}, {Name: "FAILURE"}}}
	for _, s := range all {
		var in, sent, waiting, dead int64
		for _, step := range s.Steps {
			dead += step.Dead
			switch {
			case step.Queue != nil:
				sent, waiting = sent+step.Out, waiting+step.Queue.Events
			case step.In == 0:
				in += step.Out
			}
		}
		failure, level := "", printer.LevelNone
		if len(s.Failures) > 0 {
			failure, level = s.Failures[0].Step+" "+s.Failures[0].Reason, printer.LevelWarning
		}
		t.Rows = append(t.Rows, printer.Row{Name: "pipeline/" + s.Ref().String(), Level: level, Cells: []any{s.Ref(), s.State, in, sent, waiting, dead, failure}})
	}
	return c.Print(out, t, printer.NewList("PipelineStatusList", all))
}

func stepTable(s control.Status) printer.Table {
	t := printer.Table{Columns: []printer.Column{{Name: "STEP"}, {Name: "KIND"}, {Name: "IN"}, {Name: "OUT"}, {Name: "DROPPED"}, {Name: "LATE"}, {Name: "DEAD"}, {Name: "RETRIES"},
		{Name: "KEYS"}, {Name: "WAITING"}, {Name: "BUSY", Wide: true}}}
	for _, step := range s.Steps {
		var waiting any
		if step.Queue != nil {
			waiting = step.Queue.Events
		}
		busy := time.Duration(step.BusySeconds * float64(time.Second)).Round(time.Millisecond)
		t.Rows = append(t.Rows, printer.Row{Name: "step/" + step.Name, Cells: []any{step.Name, step.Kind, step.In, step.Out, step.Drop, step.Late, step.Dead, step.Retry, step.Keys, waiting, busy}})
	}
	return t
}

type pipelineTapCmd struct {
	onePipeline
	Step   string `arg:"" help:"The source, step or sink: what goes out of it, for a sink what goes in."`
	Events int    `help:"End after so many events; 0 goes on until Ctrl-C." short:"n" default:"0" placeholder:"N"`
	Rate   int    `help:"Show at most so many events a second, and count the others." default:"10" placeholder:"N"`
	Bytes  int    `help:"Cut the data of an event after so many bytes." default:"4096" placeholder:"N"`
	Output string `help:"Form of the output: text or json (one CloudEvent in each line)." short:"o" enum:"text,json" default:"text" placeholder:"FORM"`
}

// Help is more about the command.
func (*pipelineTapCmd) Help() string {
	return `  edgectl pipeline tap plant/exceptions hot
  edgectl pipeline tap exceptions temps --events 1 --output json

A tap does not slow the pipeline: what it cannot show within --rate is skipped and counted.`
}

// Run shows events.
func (c *pipelineTapCmd) Run(ctx context.Context, out program.Output) error {
	if c.Events < 0 || c.Rate < 1 || c.Bytes < 1 {
		return &program.UsageError{Setting: "events", Reason: "--events must be at least 0, --rate and --bytes at least 1"}
	}
	client, s, err := c.find(ctx)
	if err != nil {
		return err
	}
	if err := step(s, c.Step, false); err != nil {
		return err
	}
	plain := program.Plain(out)
	if c.Output == "json" {
		plain = program.PlainJSON(out)
	}
	req := pipeline.TapRequest{Ref: s.Ref(), Step: c.Step, Events: c.Events, PerSec: c.Rate, Bytes: c.Bytes}
	return c.explain(client.Tap(ctx, req, func(e control.TapEvent) error {
		if c.Output == "json" {
			_, err := fmt.Fprintf(plain, "%s\n", e.Event)
			return err
		}
		if e.Skipped > 0 {
			if _, err := fmt.Fprintf(plain, "(%d %s not shown)\n", e.Skipped, plural(int(e.Skipped), "event")); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintln(plain, eventLine(e.Event))
		return err
	}))
}

// eventLine is a CloudEvent for people: its time, id, subject and data.
func eventLine(raw json.RawMessage) string {
	var e struct {
		ID, Subject string
		Time        time.Time
		Data        json.RawMessage
		Base64      string `json:"data_base64"`
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return string(raw)
	}
	line := e.Time.Format("15:04:05.000") + " id " + e.ID
	if e.Subject != "" {
		line += " " + e.Subject
	}
	if e.Base64 != "" {
		return line + " base64 " + e.Base64
	}
	return line + " " + string(e.Data)
}

type queueCmd struct {
	Inspect queueInspectCmd `cmd:"" help:"List the queues of all sinks: how much waits, and since when."`
	Export  queueExportCmd  `cmd:"" help:"Print what waits for a sink, one CloudEvent as JSON in each line. Nothing is removed."`
	Drop    queueDropCmd    `cmd:"" help:"Drop what waits for a sink."`
	Replay  queueReplayCmd  `cmd:"" help:"Send again what a sink was sent in a time, as far as its queue keeps it (queue.keep)."`
}

type queueInspectCmd struct {
	nodePipelines
	printer.Flags
	Pipeline string `arg:"" optional:"" help:"Only the sinks of this Pipeline." placeholder:"NAMESPACE/NAME"`
}

// queueLine is the JSON of a queue.
type queueLine struct {
	Namespace string `json:"namespace,omitempty"`
	Pipeline  string `json:"pipeline"`
	Sink      string `json:"sink"`
	Kind      string `json:"kind"`
	Sent      int64  `json:"sent"`
	Retries   int64  `json:"retries"`
	control.QueueStatus
}

// Run lists the queues.
func (c *queueInspectCmd) Run(ctx context.Context, out program.Output) error {
	var all []control.Status
	var err error
	if c.Pipeline != "" {
		one := onePipeline{c.nodePipelines, c.Pipeline}
		var s control.Status
		_, s, err = one.find(ctx)
		all = []control.Status{s}
	} else if all, err = c.client().Status(ctx); err != nil {
		err = c.explain(err)
	}
	if err != nil {
		return err
	}
	t := printer.Table{Columns: []printer.Column{{Name: "PIPELINE"}, {Name: "SINK"}, {Name: "KIND"}, {Name: "WAITING"}, {Name: "BYTES"}, {Name: "OLDEST"}, {Name: "SENT"}, {Name: "DROPPED"}, {Name: "RETRIES"}, {Name: "BLOCKED"}}}
	lines := []queueLine{}
	for _, s := range all {
		for _, step := range s.Steps {
			q := step.Queue
			if q == nil {
				continue
			}
			var oldest time.Time
			if q.Oldest != nil {
				oldest = *q.Oldest
			}
			lines = append(lines, queueLine{s.Namespace, s.Name, step.Name, step.Kind, step.Out, step.Retry, *q})
			t.Rows = append(t.Rows, printer.Row{Name: "sink/" + s.Ref().String() + "/" + step.Name,
				Cells: []any{s.Ref(), step.Name, step.Kind, q.Events, q.Bytes, oldest, step.Out, q.Dropped, step.Retry, q.Blocked}})
		}
	}
	return c.Print(out, t, printer.NewList("QueueList", lines))
}

// oneSink names one sink.
type oneSink struct {
	onePipeline
	Sink string `arg:"" help:"The sink."`
}

func (o *oneSink) find(ctx context.Context) (*control.Client, control.Status, error) {
	c, s, err := o.onePipeline.find(ctx)
	if err == nil {
		err = step(s, o.Sink, true)
	}
	return c, s, err
}

type queueExportCmd struct{ oneSink }

// Run prints what waits.
func (c *queueExportCmd) Run(ctx context.Context, out program.Output) error {
	client, s, err := c.find(ctx)
	if err != nil {
		return err
	}
	_, err = client.Export(ctx, s.Ref(), c.Sink, program.PlainJSON(out))
	return c.explain(err)
}

type queueDropCmd struct {
	oneSink
	Before string `help:"Only events that came before this: a time as in RFC 3339, or how long ago (36h)." placeholder:"TIME"`
	Yes    bool   `help:"Drop without --before: all that waits." short:"y"`
}

// Run drops what waits.
func (c *queueDropCmd) Run(ctx context.Context, out program.Output) error {
	before, err := c.before(time.Now())
	if err != nil {
		return err
	}
	client, s, err := c.find(ctx)
	if err != nil {
		return err
	}
	n, err := client.Drop(ctx, s.Ref(), c.Sink, before)
	if err != nil {
		return c.explain(err)
	}
	_, err = fmt.Fprintf(out, "%s %s: %d %s dropped\n", s.Ref(), c.Sink, n, plural(int(n), "event"))
	return err
}

func (c *queueDropCmd) before(now time.Time) (time.Time, error) {
	switch {
	case c.Before == "" && !c.Yes:
		return time.Time{}, &program.UsageError{Setting: "before", Reason: "say until when, or drop all with --yes; 'edgectl pipeline queue export' saves them first"}
	case c.Before == "":
		return time.Time{}, nil
	}
	return pastTime("before", c.Before, now)
}

// pastTime reads a time, or how long ago it was.
func pastTime(setting, text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || at.IsZero() {
		return time.Time{}, &program.UsageError{Setting: setting, Reason: fmt.Sprintf("%q is neither a time as 2026-11-30T12:00:00Z nor how long ago as 36h", text)}
	}
	return at, nil
}

type queueReplayCmd struct {
	oneSink
	From string `help:"Events that came after this: a time as in RFC 3339, or how long ago (2h)." required:"" placeholder:"TIME"`
	To   string `help:"Events that came before this. Default: now." placeholder:"TIME"`
}

// Run sends events again.
func (c *queueReplayCmd) Run(ctx context.Context, out program.Output) error {
	now := time.Now()
	from, err := pastTime("from", c.From, now)
	if err != nil {
		return err
	}
	var to time.Time
	if c.To != "" {
		if to, err = pastTime("to", c.To, now); err != nil {
			return err
		}
		if !to.After(from) {
			return &program.UsageError{Setting: "to", Reason: "--to must be after --from"}
		}
	}
	client, s, err := c.find(ctx)
	if err != nil {
		return err
	}
	n, err := client.ReplaySent(ctx, s.Ref(), c.Sink, from, to)
	if err != nil {
		return c.explain(err)
	}
	_, err = fmt.Fprintf(out, "%s %s: %d %s %s sent again\n", s.Ref(), c.Sink, n, plural(int(n), "event"), map[bool]string{true: "is", false: "are"}[n == 1])
	return err
}

type deadLetterCmd struct {
	List   deadListCmd   `cmd:"" help:"List the dead letters of a pipeline, the oldest first."`
	Show   deadShowCmd   `cmd:"" help:"Print one dead letter with its event."`
	Replay deadReplayCmd `cmd:"" help:"Give dead letters back to where they failed, after what was wrong is mended."`
	Drop   deadDropCmd   `cmd:"" help:"Drop dead letters."`
}

type deadListCmd struct {
	onePipeline
	printer.Flags
	Limit int `help:"How many are listed, the newest; 0 lists all." default:"100" placeholder:"N"`
}

// Run lists dead letters.
func (c *deadListCmd) Run(ctx context.Context, out program.Output) error {
	client, s, err := c.find(ctx)
	if err != nil {
		return err
	}
	letters := []control.DeadLetter{}
	more := 0
	err = client.DeadLetters(ctx, s.Ref(), func(l control.DeadLetter) error {
		if letters = append(letters, l); c.Limit > 0 && len(letters) > c.Limit {
			letters, more = letters[1:], more+1
		}
		return nil
	})
	if err != nil {
		return c.explain(err)
	}
	t := printer.Table{Columns: []printer.Column{{Name: "ID"}, {Name: "STEP"}, {Name: "REASON"}, {Name: "AGE"}, {Name: "MESSAGE"}, {Name: "EVENT", Wide: true}}}
	for _, l := range letters {
		t.Rows = append(t.Rows, printer.Row{Name: "deadletter/" + l.ID, Cells: []any{l.ID, l.Step, l.Reason, l.Time, l.Message, string(l.Event)}})
	}
	if err := c.Print(out, t, printer.NewList("DeadLetterList", letters)); err != nil || more == 0 || c.Output != printer.FormatTable {
		return err
	}
	_, err = fmt.Fprintf(out, "%d older ones are not listed: use --limit 0\n", more)
	return err
}

type deadShowCmd struct {
	onePipeline
	ID string `arg:"" help:"The dead letter's ID."`
}

// Run prints one dead letter.
func (c *deadShowCmd) Run(ctx context.Context, out program.Output) error {
	client, s, err := c.find(ctx)
	if err != nil {
		return err
	}
	found := false
	err = client.DeadLetters(ctx, s.Ref(), func(l control.DeadLetter) error {
		if l.ID != c.ID {
			return nil
		}
		found = true
		var b bytes.Buffer
		if err := json.Indent(&b, l.Event, "", "  "); err != nil {
			return err
		}
		_, err := fmt.Fprintf(program.Plain(out), "ID:      %s\nStep:    %s\nReason:  %s\nTime:    %s\nMessage: %s\nEvent:\n%s\n", l.ID, l.Step, l.Reason, l.Time.Format(time.RFC3339), l.Message, &b)
		return errors.Join(err, io.EOF)
	})
	switch {
	case found && errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return c.explain(err)
	}
	return &program.UsageError{Setting: "id", Reason: fmt.Sprintf("%s has no dead letter %q; 'edgectl pipeline dead-letter list' lists them", s.Ref(), c.ID)}
}

// letters names dead letters.
type deadLetters struct {
	onePipeline
	IDs []string `arg:"" optional:"" name:"id" help:"IDs of the dead letters."`
	All bool     `help:"All dead letters of the pipeline."`
}

func (d *deadLetters) check() error {
	if d.All == (len(d.IDs) > 0) {
		return &program.UsageError{Setting: "all", Reason: "name dead letters by their IDs, or all of them with --all"}
	}
	return nil
}

type deadReplayCmd struct{ deadLetters }

// Run replays dead letters.
func (c *deadReplayCmd) Run(ctx context.Context, out program.Output) error {
	return c.each(ctx, out, "replayed", (*control.Client).Replay)
}

type deadDropCmd struct{ deadLetters }

// Run drops dead letters.
func (c *deadDropCmd) Run(ctx context.Context, out program.Output) error {
	return c.each(ctx, out, "dropped", (*control.Client).DropDead)
}

func (d *deadLetters) each(ctx context.Context, out io.Writer, done string, do func(*control.Client, context.Context, pipeline.Ref, ...string) (int64, error)) error {
	if err := d.check(); err != nil {
		return err
	}
	client, s, err := d.find(ctx)
	if err != nil {
		return err
	}
	n, err := do(client, ctx, s.Ref(), d.IDs...)
	if err != nil {
		return d.explain(err)
	}
	_, err = fmt.Fprintf(out, "%s: %d dead %s %s\n", s.Ref(), n, plural(int(n), "letter"), done)
	return err
}
