package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/edgekit/edgekit/cmd/internal/nodejoin"
	"github.com/edgekit/edgekit/cmd/internal/preflight"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// joinCmd makes this machine, or many machines, an edge node.
type joinCmd struct {
	machineFlags
	joinSettings
	TokenFile   string `help:"File with the join token; - is standard input." placeholder:"FILE"`
	StdinConfig bool   `help:"Read cloud, token, node, labels, set, runtimeEndpoint, transport, replace, ignoreCheck and wait as one JSON object from standard input: nothing is on the command line."`
	Form        string `name:"output" help:"Print each step as a line of JSON." short:"o" enum:",json" default:""`

	Many joinManyFlags `embed:""`

	on joinMachine // the zero value is this machine
}

// defaultWait is that of joinSettings.Wait. A machine's own edgectl, which may be older, is asked for
// another wait only if somebody wants one.
const defaultWait = 5 * time.Minute

// joinSettings say which node the machine becomes.
type joinSettings struct {
	Cloud           string            `json:"cloud" help:"Address of the cloud's cloudcore." short:"e" placeholder:"HOST:PORT" aliases:"cloudcore-ipport"`
	Token           string            `json:"token,omitempty" help:"Join token from 'edgectl token create'. Other users of this machine see it in the list of processes, and the shell's history keeps it: --token-file avoids both." short:"t" placeholder:"TOKEN"`
	Node            string            `json:"node,omitempty" help:"Name of the node. Default: this machine's host name." short:"i" placeholder:"NAME" aliases:"edgenode-name"`
	Labels          map[string]string `json:"labels,omitempty" help:"Labels of the node, set when it registers." short:"l" mapsep:"," placeholder:"KEY=VALUE,..."`
	Set             map[string]string `json:"set,omitempty" help:"Settings of edgecore to write to its configuration file: names as 'edgecore config print' has them." mapsep:"," placeholder:"SETTING=VALUE,..."`
	RuntimeEndpoint string            `json:"runtimeEndpoint,omitempty" help:"Socket of the container runtime (CRI), if it is not containerd's." short:"p" placeholder:"URL" aliases:"remote-runtime-endpoint"`
	Transport       string            `json:"transport,omitempty" help:"How to reach the cloud: auto, quic or websocket." enum:",auto,quic,websocket" default:"" placeholder:"NAME" aliases:"hub-protocol"`
	Replace         bool              `json:"replace,omitempty" help:"Replace the identity that this machine already has, with a new token."`
	IgnoreCheck     []string          `json:"ignoreCheck,omitempty" help:"Go on though these checks fail: see 'edgectl check'." placeholder:"NAME,..."`
	Wait            time.Duration     `json:"-" help:"How long to wait for the link to the cloud." default:"5m"`
	WaitText        string            `json:"wait,omitempty" kong:"-"` // Wait in JSON, such as 10m; empty is the default
}

// Help has examples.
func (joinCmd) Help() string {
	return `It checks the machine, gets its identity, writes edgecore's settings if flags name some, installs and starts the service, and waits for the link. Run it again after a failure: it goes on where it was. On a node that is connected it does nothing.

Examples:
  edgectl join -e edge.example.com:10000 -i edge-7 --token-file /root/token
  edgectl join -e edge.example.com:10000 --token-file - -l site=plant-1,line=3 --set max-pods=50 < token
  edgectl join --many hosts.yaml -e edge.example.com:10000     from the operator's machine, over SSH`
}

// Run joins this machine, or those of a file.
func (j *joinCmd) Run(ctx context.Context, cli *cli, out program.Output) error {
	if j.Many.File != "" {
		return j.runMany(ctx, cli, out)
	}
	if j.StdinConfig {
		if err := j.readConfig(os.Stdin); err != nil {
			return err
		}
	}
	run := joinRun{settings: j.joinSettings, flags: j.machineFlags, tokenFile: j.TokenFile, on: j.on.withDefaults(), report: j.reporter(out)}
	err := run.do(ctx)
	if j.Form == "json" {
		last := joinEvent{Step: "end", Node: run.node, State: run.state}
		if err != nil {
			last.Error, last.NeedToken = oneLine(err.Error()), errors.Is(err, errNeedToken)
		}
		run.report(last)
	}
	return err
}

// joinEvent is what a join reports: progress, and at last its end.
type joinEvent struct {
	Step      string             `json:"step"`                // "check", "identity", "settings", "service", "link"; "end" is the last
	Message   string             `json:"message,omitempty"`   // what was done
	Findings  []preflight.Result `json:"findings,omitempty"`  // of the step "check", those that are not OK
	Node      string             `json:"node,omitempty"`      // of the end
	State     joinState          `json:"state,omitempty"`     // of the end
	Error     string             `json:"error,omitempty"`     // of the end
	NeedToken bool               `json:"needToken,omitempty"` // of the end: the machine has no identity, and was given no token
}

// joinState is how far a machine has come.
type joinState string

// The states.
const (
	stateNone      joinState = "not joined"
	stateWaiting   joinState = "waiting"   // for an operator's approval
	stateJoined    joinState = "joined"    // it has its identity
	stateStarted   joinState = "started"   // edgecore runs
	stateConnected joinState = "connected" // it has a link
)

// reporter prints events.
func (j *joinCmd) reporter(out io.Writer) func(joinEvent) {
	if j.Form == "json" {
		to := json.NewEncoder(out)
		return func(e joinEvent) { _ = to.Encode(e) } // the join goes on though nobody reads
	}
	return func(e joinEvent) {
		if len(e.Findings) > 0 {
			_ = printResults(out, e.Findings)
		}
		if e.Message != "" {
			fmt.Fprintf(program.Plain(out), "%-9s %s\n", e.Step, oneLine(e.Message))
		}
	}
}

// maxJoinConfig bounds the JSON of --stdin-config in bytes.
const maxJoinConfig = 64 << 10

// readConfig reads the settings.
func (j *joinCmd) readConfig(in io.Reader) error {
	bad := func(reason string) error { return &program.UsageError{Setting: "stdin-config", Reason: reason} }
	if j.TokenFile == "-" {
		return bad("standard input cannot be the token too: leave --token-file out")
	}
	text, err := io.ReadAll(io.LimitReader(in, maxJoinConfig+1))
	switch {
	case err != nil:
		return bad(err.Error())
	case len(text) > maxJoinConfig:
		return bad("the JSON is too long")
	}
	from := json.NewDecoder(strings.NewReader(string(text)))
	from.DisallowUnknownFields()
	if err := from.Decode(&j.joinSettings); err != nil {
		return bad(err.Error() + `: want one object such as {"cloud":"HOST:PORT","token":"...","node":"NAME"}`)
	}
	if j.WaitText == "" {
		return nil
	}
	wait, err := time.ParseDuration(j.WaitText)
	if err != nil {
		return bad(fmt.Sprintf("wait is %q: want a time such as 10m", j.WaitText))
	}
	j.Wait = wait
	return nil
}

// check refuses settings that cannot be.
func (s *joinSettings) check() error {
	if s.Cloud != "" {
		if err := nodejoin.CheckCloud(s.Cloud); err != nil {
			return err
		}
	}
	for key, value := range s.Labels {
		if errs := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...); len(errs) > 0 {
			return &program.UsageError{Setting: "labels", Reason: fmt.Sprintf("%s=%s: %s", key, value, strings.Join(errs, "; "))}
		}
	}
	for name := range s.Set {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r != '-' && (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
			return &program.UsageError{Setting: "set", Reason: fmt.Sprintf("%q is no setting: 'edgecore config print' lists them (for KubeEdge's names: 'edgectl config convert')", name)}
		}
	}
	for _, name := range s.IgnoreCheck {
		known := false
		for _, have := range preflight.Names() {
			known = known || have == name
		}
		if !known {
			return &program.UsageError{Setting: "ignore-check", Reason: fmt.Sprintf("there is no check %q: there are %s", name, strings.Join(preflight.Names(), ", "))}
		}
	}
	if s.Wait < 0 {
		return &program.UsageError{Setting: "wait", Reason: "want 0, for not at all, or more"}
	}
	return nil
}
