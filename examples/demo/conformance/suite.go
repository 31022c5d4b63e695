package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/edgekit/edgekit/examples/cluster/process"
	"github.com/edgekit/edgekit/examples/demo/site"
)

const (
	// streamFocus are the specs that need streams.
	streamFocus = `sig-cli.*(Port forwarding|logs|exec|attach|debug|cp|run|Simple pod|Kubectl client Kubectl)|Port forwarding|over websockets|Ephemeral Containers`
	// streamSkip are those among them that need more than a node: volumes that
	// no driver here provides, and an image that is of no other use.
	streamSkip = `sig-storage|Update Demo`
	// alwaysSkip are specs of features that are off by default, and those that
	// may not run beside others.
	alwaysSkip = `PLR Pod InPlace|\[FeatureGate|\[Feature:|\[Serial\]|\[Disruptive\]|\[Flaky\]|\[Slow\]`
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
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: &progress{out: os.Stdout, began: time.Now()}, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		server.Close()
		<-served
	}()
	report := filepath.Join(t.results, "report.json")
	if err := os.Remove(report); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	s, skip := t.site, alwaysSkip
	if t.opts.Focus == streamFocus {
		skip += "|" + streamSkip
	}
	if _, err := s.Start(process.Spec{Name: "ginkgo", Path: s.Built("ginkgo"), Args: []string{
		"--procs=" + strconv.Itoa(t.opts.Procs), "--focus=" + t.opts.Focus, "--skip=" + skip, "--timeout=" + t.opts.Timeout.String(),
		"--no-color", "--json-report=report.json", "--output-dir=" + t.results, s.Built("e2e.test"), "--",
		"--kubeconfig=" + s.Kubeconfig(), "--kubectl-path=" + s.Kubectl(), "--provider=skeleton", "--num-nodes=1",
		"--disable-log-dump", "--progress-report-url=http://" + l.Addr().String(),
	}}); err != nil {
		return nil, err
	}
	if err := t.wait(ctx); err != nil {
		return nil, err
	}
	return readReport(report)
}

// wait waits for ginkgo's end and keeps its log, which goes with the cluster.
func (t suite) wait(ctx context.Context) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		r, err := t.site.Processes().Lookup("ginkgo")
		if err != nil {
			return err
		}
		if !r.Alive() {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	log, err := os.ReadFile(t.site.Processes().LogFile("ginkgo"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(t.results, "log.txt"), log, 0o600)
}

// readReport gives the specs that ran.
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

// progress prints a line for each spec that the suite's processes tell of.
type progress struct {
	out   io.Writer
	began time.Time

	mu   sync.Mutex
	done int
}

func (p *progress) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var update struct{ Msg string }
	if json.NewDecoder(r.Body).Decode(&update) != nil {
		return // what counts is in the report
	}
	state, name, _ := strings.Cut(update.Msg, " ")
	if state != "PASSED" && state != "FAILED" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	fmt.Fprintf(p.out, "  %4d  %6s  %s  %s\n", p.done, time.Since(p.began).Round(time.Second), strings.ToLower(state), name)
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
