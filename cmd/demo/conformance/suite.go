package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/edgekit/edgekit/cmd/cluster/process"
	"github.com/edgekit/edgekit/cmd/demo/site"
)

const (
	// streamFocus are the specs that need streams.
	streamFocus = `sig-cli.*(Port forwarding|logs|exec|attach|debug|cp|run|Simple pod|Kubectl client Kubectl)|Port forwarding|over websockets|Ephemeral Containers`
	// streamSkip are those among them that need more than a node: volumes that
	// no driver here provides, and an image that is of no other use.
	streamSkip = `sig-storage|Update Demo`
	// alwaysSkip are specs of features that are off by default, and those that
	// may not run beside others.
	alwaysSkip = `PLR Pod InPlace|\[FeatureGate|\[Feature:|` + besideSkip
	// besideSkip are those that may not run beside others, or take very long.
	besideSkip = `\[Serial\]|\[Disruptive\]|\[Flaky\]|\[Slow\]`
)

// suite is one run of Kubernetes' tests.
type suite struct {
	site    *site.Site
	opts    options
	results string // the folder for report and log
}

// spec is one test in ginkgo's report.
type spec struct {
	LeafNodeType            string
	State                   string
	ContainerHierarchyTexts []string
	LeafNodeText            string
	Failure                 struct{ Message string }
}

func (s spec) name() string {
	return strings.Join(append(slices.Clone(s.ContainerHierarchyTexts), s.LeafNodeText), " ")
}

// run runs the specs and gives those that ran.
func (t suite) run(ctx context.Context) ([]spec, error) {
	report := filepath.Join(t.results, "report.json")
	if err := os.Remove(report); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	s := t.site
	args := append(t.opts.choice(), "--procs="+strconv.Itoa(t.opts.Procs), "--timeout="+t.opts.Timeout.String(),
		"-v", "--silence-skips", "--no-color", "--json-report=report.json", "--output-dir="+t.results, s.Built("e2e.test"), "--",
		"--kubeconfig="+s.Kubeconfig(), "--kubectl-path="+s.Kubectl(), "--provider=skeleton", "--num-nodes=1", "--disable-log-dump")
	if _, err := s.Start(process.Spec{Name: "ginkgo", Path: s.Built("ginkgo"), Args: args}); err != nil {
		return nil, err
	}
	if err := t.follow(ctx); err != nil {
		return nil, err
	}
	return readReport(report)
}

// choice are ginkgo's arguments that choose the specs.
func (o options) choice() []string {
	if o.Labels != "" {
		args := []string{"--label-filter=" + o.Labels, "--skip=" + besideSkip}
		if o.Focus != "" {
			args = append(args, "--focus="+o.Focus)
		}
		return args
	}
	skip := alwaysSkip
	if o.Focus == streamFocus {
		skip += "|" + streamSkip
	}
	return []string{"--focus=" + o.Focus, "--skip=" + skip}
}

// follow waits for ginkgo's end. Meanwhile it copies the log, which goes with
// the cluster, to the results, and tells of each spec that ends.
func (t suite) follow(ctx context.Context) error {
	log, err := os.Open(t.site.Processes().LogFile("ginkgo"))
	if err != nil {
		return err
	}
	defer log.Close()
	kept, err := os.Create(filepath.Join(t.results, "log.txt"))
	if err != nil {
		return err
	}
	defer kept.Close()
	out := io.MultiWriter(kept, &progress{out: os.Stdout, began: time.Now()})
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		r, err := t.site.Processes().Lookup("ginkgo")
		if err != nil {
			return err
		}
		alive := r.Alive() // looked at first, so that what comes last is copied
		if _, err := io.Copy(out, log); err != nil {
			return err
		}
		if !alive {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// readReport returns the specs that ran.
func readReport(file string) ([]spec, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the suite made no report: %w", err)
	}
	var suites []struct{ SpecReports []spec }
	if err := json.Unmarshal(b, &suites); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var ran []spec
	for _, s := range suites {
		for _, spec := range s.SpecReports {
			if spec.State != "skipped" && spec.State != "pending" && (spec.LeafNodeType == "It" || spec.State != "passed") {
				ran = append(ran, spec)
			}
		}
	}
	slices.SortFunc(ran, func(a, b spec) int { return strings.Compare(a.name(), b.name()) })
	return ran, nil
}

// progress prints a line for each spec whose end is in the log written to it:
//
//   - [FAILED] [12.3 seconds]
//     [sig-cli] Kubectl client Kubectl logs [It] should ...
type progress struct {
	out   io.Writer
	began time.Time
	done  int
	rest  []byte // a line that is not whole yet
	ended string // the line before, if it was the first of the two
}

func (p *progress) Write(b []byte) (int, error) {
	p.rest = append(p.rest, b...)
	for {
		line, rest, ok := bytes.Cut(p.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		p.rest = rest
		p.line(string(line))
	}
}

func (p *progress) line(text string) {
	ended := p.ended
	if p.ended = ""; strings.HasPrefix(text, "• [") {
		p.ended = text
	}
	if ended == "" {
		return
	}
	state := "passed"
	if label, _, ok := strings.Cut(strings.TrimPrefix(ended, "• ["), "] ["); ok {
		state = label // FAILED, TIMEDOUT and the like
	}
	text, _, _ = strings.Cut(text, " [sig-") // a list of its labels, again
	p.done++
	fmt.Fprintf(p.out, "  %4d  %6s  %s  %s\n", p.done, time.Since(p.began).Round(time.Second), state, text)
}

// report prints the result lines and reports whether each spec passed that can.
func report(out io.Writer, ran []spec) bool {
	var passed, unexpected int
	var failed []spec
	for _, s := range ran {
		if s.State == "passed" {
			passed++
		} else {
			failed = append(failed, s)
		}
	}
	fmt.Fprintf(out, "RESULT conformance_passed %d specs\nRESULT conformance_failed %d specs\n", passed, len(failed))
	for _, s := range failed {
		reason := excuse(s.name())
		if reason == "" {
			unexpected++
			reason, _, _ = strings.Cut(s.Failure.Message, "\n")
		} else {
			reason = "cannot pass here: " + reason
		}
		fmt.Fprintf(out, "  %s  %s\n      %s\n", s.State, s.name(), reason)
	}
	return unexpected == 0 && passed > 0
}
