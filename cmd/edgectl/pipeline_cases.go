package main

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cases"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// pipelineTestCmd runs the cases of a file.
type pipelineTestCmd struct {
	pipelineFile
	Case  string `help:"Run only the case of this name." placeholder:"NAME"`
	Trace bool   `help:"Print each event that goes out of a source or a step."`
	Junit string `help:"Write the results to a file as JUnit XML too, for CI." placeholder:"FILE" name:"junit"`
}

// Help is more about the command.
func (*pipelineTestCmd) Help() string {
	return `  edgectl pipeline test exceptions.yaml
  edgectl pipeline test exceptions.yaml --case "hot is passed" --trace
  edgectl pipeline test exceptions.yaml --junit report.xml

Time is virtual: a case that runs for a day takes milliseconds. The exit code is 0 if all cases pass, 1 if
one fails or there is none, and 2 if the file cannot be read.`
}

// caseResult is one case of one pipeline.
type caseResult struct {
	pipeline string
	name     string
	failure  string // empty means passed
	took     time.Duration
}

// Run runs the cases.
func (c *pipelineTestCmd) Run(out program.Output) error {
	all, err := c.read(os.Stdin)
	if err != nil {
		return err
	}
	var results []caseResult
	var errs []error
	for _, p := range all {
		var all strings.Builder
		plan, err := compile(p, io.MultiWriter(out, &all))
		if err != nil {
			errs = append(errs, err)
			results = append(results, caseResult{pipeline: p.Name, name: "compiles", failure: cmp.Or(all.String(), err.Error())})
			continue
		}
		tables, err := c.tables(p)
		if err != nil {
			return err
		}
		for _, test := range p.Spec.Tests {
			if c.Case == "" || c.Case == string(test.Name) {
				results = append(results, c.one(plan, test, tables, out))
			}
		}
	}
	failed := 0
	for _, r := range results {
		if r.failure != "" {
			failed++
		}
	}
	if c.Junit != "" {
		if err := writeJunit(c.Junit, results); err != nil {
			return err
		}
	}
	switch {
	case len(errs) > 0:
		return errors.Join(errs...)
	case len(results) == 0 && c.Case != "":
		return &program.UsageError{Setting: "case", Reason: fmt.Sprintf("%s has no case %q", c.File, c.Case)}
	case len(results) == 0:
		return fmt.Errorf("%s has no cases: write them below spec.tests", c.File)
	case failed > 0:
		return fmt.Errorf("%d of %d cases failed", failed, len(results))
	}
	_, err = fmt.Fprintf(out, "%d %s passed\n", len(results), plural(len(results), "case"))
	return err
}

// one runs and prints one case.
func (c *pipelineTestCmd) one(plan *pipeline.Plan, test v1alpha1.Test, tables map[string][]byte, out io.Writer) caseResult {
	cfg := cases.Config{Node: plan.Spec().Spec.NodeName, Tables: tables}
	plain := program.Plain(out)
	if c.Trace {
		fmt.Fprintf(plain, "=== %s %s\n", plan.Ref(), test.Name)
		cfg.Trace = func(at time.Duration, step string, e pipeline.Event) {
			fmt.Fprintf(plain, "    %v %s\n", at, traceLine(step, &e))
		}
	}
	begin := time.Now()
	r, err := cases.Run(plan, test, cfg)
	done := caseResult{pipeline: plan.Ref().String(), name: string(test.Name), took: time.Since(begin)}
	switch {
	case err != nil:
		done.failure = err.Error()
	case !r.Passed():
		done.failure = strings.TrimSuffix(strings.TrimPrefix(r.String(), r.Name+": failed\n"), "\n")
	}
	if done.failure == "" {
		fmt.Fprintf(plain, "PASS %s: %s\n", done.pipeline, done.name)
	} else {
		fmt.Fprintf(plain, "FAIL %s: %s\n%s\n", done.pipeline, done.name, indent(done.failure))
	}
	return done
}

func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimLeft(s, " "), "\n", "\n  ")
}

// junitSuites, junitSuite, junitCase and junitFailure are the part of JUnit's XML that CI systems read.
type junitSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr"` // seconds
	Failure *junitFailure `xml:"failure"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// writeJunit writes results, with a suite for each pipeline.
func writeJunit(file string, results []caseResult) error {
	var all junitSuites
	for _, r := range results {
		if n := len(all.Suites); n == 0 || all.Suites[n-1].Name != r.pipeline {
			all.Suites = append(all.Suites, junitSuite{Name: r.pipeline})
		}
		suite := &all.Suites[len(all.Suites)-1]
		one := junitCase{Class: r.pipeline, Name: r.name, Time: fmt.Sprintf("%.3f", r.took.Seconds())}
		suite.Tests++
		if r.failure != "" {
			suite.Failures++
			first, _, _ := strings.Cut(strings.TrimSpace(r.failure), "\n")
			one.Failure = &junitFailure{Message: first, Text: r.failure}
		}
		suite.Cases = append(suite.Cases, one)
	}
	text, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append([]byte(xml.Header), append(text, '\n')...), 0o644)
}
