package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/control"
	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

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
