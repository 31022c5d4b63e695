package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
	"github.com/edgekit/edgekit/cmd/internal/nodejoin"
	"github.com/edgekit/edgekit/cmd/internal/preflight"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/hub/join"
)

// machineFlags name the edge node on this machine, for commands that set it up.
type machineFlags struct {
	DataDir    string `help:"Data folder of the edgecore on this machine." default:"/var/lib/edgekit" placeholder:"DIR"`
	ConfigFile string `help:"Configuration file of edgecore." name:"edgecore-config" default:"/etc/edgekit/edgecore.yaml" placeholder:"FILE"`
}

// load reads edgecore's configuration. The data folder that it names is that of the flag, unless
// the flag names another.
func (f *machineFlags) load() (*program.ConfigFile, error) {
	file, err := program.LoadConfig(f.ConfigFile)
	if err != nil {
		return nil, &program.UsageError{Setting: "edgecore-config", Reason: err.Error()}
	}
	if dirs := file.Values("data-dir"); len(dirs) == 1 && f.DataDir == defaultDataDir {
		f.DataDir = dirs[0]
	}
	return file, nil
}

// preflight is the configuration of checks, by edgecore's settings.
func (f *machineFlags) preflight() (preflight.Config, error) {
	file, err := f.load()
	if err != nil {
		return preflight.Config{}, err
	}
	one := func(name string) string { return strings.Join(file.Values(name), ",") }
	cfg := preflight.Config{
		DataDir: f.DataDir, Cloud: one("cloud"), Transport: one("transport"), RuntimeEndpoint: one("runtime-endpoint"), CgroupDriver: one("cgroup-driver"),
	}
	for _, listen := range preflight.DefaultListen() {
		values := file.Values(listen.Setting)
		if len(values) == 0 {
			values = []string{listen.Address}
		}
		for _, v := range values {
			cfg.Listen = append(cfg.Listen, listens(listen.Setting, v)...)
		}
	}
	for _, v := range file.Values("metrics-listen") {
		cfg.Listen = append(cfg.Listen, listens("metrics-listen", v)...)
	}
	return cfg, nil
}

// listens are the addresses in a setting: host:port, or URLs separated by commas. Unix sockets
// are none.
func listens(setting, value string) (out []preflight.Listen) {
	for part := range strings.SplitSeq(value, ",") {
		if u, err := url.Parse(part); err == nil && u.Scheme != "" && strings.Contains(part, "://") {
			if u.Scheme == "unix" {
				continue
			}
			part = u.Host
		}
		if part != "" {
			out = append(out, preflight.Listen{Setting: setting, Address: part})
		}
	}
	return out
}

// checkCmd checks whether this machine can be, or is, an edge node.
type checkCmd struct {
	machineFlags
	Names     []string `arg:"" name:"check" optional:"" help:"Run only these: kernel, cgroups, modules, systemd, memory, swap, disk, clock, runtime, cni, ports, dns, cloud, mtu, identity."`
	Cloud     string   `help:"Address of the cloud's cloudcore, to check the way to it before joining." short:"e" placeholder:"HOST:PORT" aliases:"cloudcore-ipport"`
	TokenFile string   `help:"File with a join token: the cloud is then verified by it; the token is not used." placeholder:"FILE"`
	Form      string   `name:"output" help:"Print JSON instead of lines." short:"o" enum:",json" default:""`

	machine func() preflight.Machine // nil means this machine
}

// Help has examples.
func (checkCmd) Help() string {
	return `Examples:
  edgectl check                                     all checks; exit status 1 if one fails
  edgectl check runtime cni                         only these
  edgectl check --cloud edge.example.com:10000      before joining
  edgectl check -o json | jq '.[] | select(.status == "fail")'`
}

// Run prints a line for each finding.
func (c *checkCmd) Run(ctx context.Context, out program.Output) error {
	cfg, err := c.preflight()
	if err != nil {
		return err
	}
	if c.Cloud != "" {
		if err := nodejoin.CheckCloud(c.Cloud); err != nil {
			return err
		}
		cfg.Cloud = c.Cloud
	}
	if c.TokenFile != "" {
		text, err := nodejoin.ReadToken("", c.TokenFile)
		if err != nil {
			return err
		}
		token, err := join.ParseToken(text)
		if err != nil {
			return &program.UsageError{Setting: "token-file", Reason: err.Error()}
		}
		cfg.Pin = token.Pin
	}
	machine := preflight.Local
	if c.machine != nil {
		machine = c.machine
	}
	results, err := preflight.Run(ctx, cfg, machine(), c.Names...)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		return &program.UsageError{Setting: "check", Reason: err.Error()}
	}
	if c.Form == "json" {
		err = printer.Flags{}.PrintObject(out, results)
	} else {
		err = printResults(out, results)
	}
	if err != nil {
		return err
	}
	return failedChecks(results)
}

// printResults prints a line for each result, and its remedy below it.
func printResults(out io.Writer, results []preflight.Result) error {
	plain := program.Plain(out)
	for _, r := range results {
		if _, err := fmt.Fprintf(plain, "%-4s  %-8s  %s\n", r.Status, r.Check, oneLine(r.Message)); err != nil {
			return err
		}
		if r.Remedy == "" {
			continue
		}
		if _, err := fmt.Fprintf(plain, "%16sremedy: %s\n", "", r.Remedy); err != nil {
			return err
		}
	}
	return nil
}

// oneLine is text without line breaks.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// failedChecks is the error of results with failures.
func failedChecks(results []preflight.Result) error {
	var names []string
	for _, r := range results {
		if r.Status == preflight.Fail {
			names = append(names, r.Check)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d findings are failures: %s", len(names), len(results), strings.Join(names, ", "))
}
