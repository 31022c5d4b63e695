package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// scopeFlags say whether a command is about the node on this machine or about the fleet.
type scopeFlags struct {
	DataDir string `help:"Data folder of the edgecore on this machine." default:"/var/lib/edgekit" placeholder:"DIR"`
	Local   bool   `help:"Ask the edge node on this machine. Default: if this machine has joined and no --kubeconfig is given." xor:"scope"`
	Fleet   bool   `help:"Ask the API server." xor:"scope"`
}

// isLocal decides it.
func (f *scopeFlags) isLocal(cli *cli) bool {
	switch {
	case f.Local, f.Fleet:
		return f.Local
	case cli.Kubeconfig != "":
		return false
	}
	return f.joined()
}

// joined reports whether this machine is an edge node, running or not.
func (f *scopeFlags) joined() bool {
	for _, name := range []string{"identity", "api"} {
		if info, err := os.Stat(filepath.Join(f.DataDir, name)); err == nil && info.IsDir() {
			return true
		}
	}
	return false
}

// sockets reach the node on this machine.
func (f *scopeFlags) sockets(namespace string) *localFlags {
	return &localFlags{DataDir: f.DataDir, Space: namespace}
}

// problem is something that an operator should look at.
type problem struct {
	Severity string    `json:"severity"` // error or warning
	Object   string    `json:"object"`   // KIND/NAME
	Reason   string    `json:"reason"`   // one word
	Message  string    `json:"message"`
	Since    time.Time `json:"since,omitzero"`
	Next     string    `json:"next"` // the command to type next
}

// The severities.
const (
	severityError   = "error"
	severityWarning = "warning"
)

// problemsTable lists problems, errors first, then the oldest. limit 0 is no limit.
func problemsTable(problems []problem, limit int, now time.Time) printer.Table {
	t := printer.Table{Now: now, Columns: []printer.Column{{Name: "SEVERITY"}, {Name: "OBJECT"}, {Name: "REASON"}, {Name: "SINCE"}, {Name: "NEXT"}, {Name: "MESSAGE"}}}
	for i, p := range problems {
		if limit > 0 && i == limit {
			break
		}
		level := printer.LevelWarning
		if p.Severity == severityError {
			level = printer.LevelError
		}
		t.Rows = append(t.Rows, printer.Row{Name: p.Object, Level: level, Cells: []any{p.Severity, p.Object, p.Reason, p.Since, p.Next, p.Message}})
	}
	return t
}

func sortProblems(problems []problem) {
	slices.SortStableFunc(problems, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.Severity, b.Severity), a.Since.Compare(b.Since), cmp.Compare(a.Object, b.Object))
	})
}

// defaultCertificateWarning is that of --certificate-warning.
const defaultCertificateWarning = 240 * time.Hour

// statusCmd says what is wrong, of the fleet or of this machine.
type statusCmd struct {
	printer.Flags
	scopeFlags
	SiteLabel   []string      `help:"Labels of nodes that name their site; the first that a node has counts." default:"apps.kubeedge.io/belonging-to,topology.kubernetes.io/zone" placeholder:"LABEL,..."`
	Certificate time.Duration `help:"Warn of certificates that end within this time. Nodes renew theirs long before." name:"certificate-warning" default:"240h" placeholder:"TIME"`
	Limit       int           `help:"How many problems a table shows, the worst first; 0 shows all. JSON and YAML have all." default:"50" placeholder:"N"`
	ExitCode    bool          `help:"End with exit code 1 if there is a problem of severity error." name:"exit-code"`

	answer time.Duration // how long the node on this machine may take to answer; 0 means nodeAnswer
}

// Help is more about the command.
func (s *statusCmd) Help() string {
	return `At an edge node, with or without its cloud, running or stopped:

  edgectl status
  edgectl status --local --output json

Anywhere with a kubeconfig, of all edge nodes:

  edgectl status --fleet
  edgectl --kubeconfig ~/.kube/config status --output wide
  edgectl status --fleet --exit-code && echo all is well`
}

// Run prints problems first, each with the command to type next.
func (s *statusCmd) Run(ctx context.Context, cli *cli, out program.Output) error {
	if s.Limit < 0 || s.Certificate < 0 {
		return &program.UsageError{Setting: "limit", Reason: "it and certificate-warning must be 0 or more"}
	}
	var problems []problem
	if s.isLocal(cli) {
		local, err := s.readLocal(ctx, thisHost(), time.Now())
		if err != nil {
			return err
		}
		if err := s.printLocal(out, local); err != nil {
			return err
		}
		problems = local.Problems
	} else {
		fleet, err := s.readFleet(ctx, cli, time.Now())
		if err != nil {
			return err
		}
		if err := s.printFleet(out, fleet); err != nil {
			return err
		}
		problems = fleet.Problems
	}
	if n := countErrors(problems); s.ExitCode && n > 0 {
		return fmt.Errorf("%d problems of severity error", n)
	}
	return nil
}

func countErrors(problems []problem) int {
	n := 0
	for _, p := range problems {
		if p.Severity == severityError {
			n++
		}
	}
	return n
}

// printProblems prints the problems, or that there are none.
func printProblems(out io.Writer, f printer.Flags, problems []problem, limit int, now time.Time) error {
	if len(problems) == 0 {
		_, err := fmt.Fprintln(out, "No problems.")
		return err
	}
	if err := f.Print(out, problemsTable(problems, limit, now), nil); err != nil {
		return err
	}
	if limit > 0 && len(problems) > limit {
		_, err := fmt.Fprintf(out, "and %d more: --limit 0 shows all\n", len(problems)-limit)
		return err
	}
	return nil
}

// isNotThere reports whether the node's sockets are not there, or nobody listens on them.
func isNotThere(err error) bool {
	var usage *program.UsageError
	return errors.As(err, &usage) && usage.Setting == "data-dir" || isRefused(err)
}
