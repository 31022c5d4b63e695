package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
