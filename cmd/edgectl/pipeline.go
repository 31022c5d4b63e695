package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// pipelineCmd are the commands about pipelines: those about a file need no node and no cluster, the others
// ask the program that runs the pipelines of this node.
type pipelineCmd struct {
	Validate pipelineValidateCmd `cmd:"" help:"Check pipelines in a file as a node does: fields, the graph of the steps, expressions and what they cost."`
	Test     pipelineTestCmd     `cmd:"" help:"Run the cases of pipelines in a file (spec.tests) in virtual time, and show what differs."`
	Run      pipelineRunCmd      `cmd:"" help:"Run a pipeline in a file on lines from the input, and print what reaches its sinks."`

	Status     pipelineStatusCmd `cmd:"" help:"On an edge node: list the pipelines that run, and the counts of their steps."`
	Tap        pipelineTapCmd    `cmd:"" help:"On an edge node: show live events of a step."`
	Queue      queueCmd          `cmd:"" help:"On an edge node: what waits for sinks."`
	DeadLetter deadLetterCmd     `cmd:"" name:"dead-letter" help:"On an edge node: events that a pipeline could not handle."`
}

// pipelineFile names a file with pipelines.
type pipelineFile struct {
	File  string   `arg:"" help:"YAML file with one or more Pipelines; - is the input."`
	Table []string `help:"Contents of a table that comes from a ConfigMap, as NAME=FILE. May be repeated." placeholder:"NAME=FILE" sep:"none"`
}

// read returns the pipelines of the file.
func (f *pipelineFile) read(in io.Reader) ([]*v1alpha1.Pipeline, error) {
	if f.File != "-" {
		file, err := os.Open(f.File)
		if err != nil {
			return nil, &program.UsageError{Setting: "file", Reason: err.Error()}
		}
		defer file.Close()
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, pipeline.MaxYAML+1))
	if err != nil {
		return nil, err
	}
	all, err := pipeline.ParseYAML(text)
	if err != nil {
		return nil, &program.UsageError{Setting: "file", Reason: fmt.Sprintf("%s: %v", f.File, err)}
	}
	if len(all) == 0 {
		return nil, &program.UsageError{Setting: "file", Reason: f.File + " has no Pipeline"}
	}
	return all, nil
}

// tables reads the files of --table. Tables with a configMapRef that have no file are an error, for
// the step that uses one would not work.
func (f *pipelineFile) tables(p *v1alpha1.Pipeline) (map[string][]byte, error) {
	files := map[string]string{}
	for _, t := range f.Table {
		name, file, ok := strings.Cut(t, "=")
		if !ok || name == "" || file == "" {
			return nil, &program.UsageError{Setting: "table", Reason: fmt.Sprintf("%q is not NAME=FILE", t)}
		}
		files[name] = file
	}
	out := map[string][]byte{}
	for _, t := range p.Spec.Tables {
		if t.ConfigMapRef == nil {
			continue
		}
		file, ok := files[string(t.Name)]
		if !ok {
			return nil, &program.UsageError{Setting: "table", Reason: fmt.Sprintf("the table %s of %s comes from a ConfigMap: give its contents with --table %s=FILE", t.Name, p.Name, t.Name)}
		}
		text, err := os.ReadFile(filepath.Clean(file))
		if err != nil {
			return nil, &program.UsageError{Setting: "table", Reason: err.Error()}
		}
		out[string(t.Name)] = text
	}
	return out, nil
}

// compile compiles a pipeline. All that is wrong with it is printed, one in each line, and the error counts it.
func compile(p *v1alpha1.Pipeline, out io.Writer) (*pipeline.Plan, error) {
	options, err := pipelineOptions()
	if err != nil {
		return nil, err
	}
	plan, err := pipeline.Compile(p, options)
	if err == nil {
		return plan, nil
	}
	all := pipeline.Errors(err)
	for _, e := range all {
		fmt.Fprintf(program.Plain(out), "%s: %v\n", p.Name, e)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	return nil, fmt.Errorf("%s has %d %s", p.Name, len(all), plural(len(all), "error"))
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

type pipelineValidateCmd struct{ pipelineFile }

// Help is more about the command.
func (*pipelineValidateCmd) Help() string {
	return `The exit code is 0 if all pipelines are right, 1 if one is not, and 2 if the file cannot be read.`
}

// Run checks the file.
func (c *pipelineValidateCmd) Run(out program.Output) error {
	all, err := c.read(os.Stdin)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range all {
		plan, err := compile(p, out)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s := plan.Spec().Spec
		fmt.Fprintf(out, "%s: ok, %d %s, %d %s, %d %s, %d %s\n", plan.Ref(), len(s.Sources), plural(len(s.Sources), "source"),
			len(s.Steps), plural(len(s.Steps), "step"), len(s.Sinks), plural(len(s.Sinks), "sink"), len(s.Tests), plural(len(s.Tests), "test"))
	}
	return errors.Join(errs...)
}
