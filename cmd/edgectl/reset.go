package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
	"github.com/edgekit/edgekit/cmd/internal/nodereset"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/systemd"
)

// resetCmd takes the node off this machine.
type resetCmd struct {
	machineFlags
	Yes          bool   `help:"Do not ask." short:"y"`
	DryRun       bool   `help:"List what would be removed, and remove nothing."`
	KeepData     bool   `help:"Keep what the node has stored, and its pods' volumes; the identity goes."`
	KeepIdentity bool   `help:"Keep the node's identity, and do not revoke it."`
	Force        bool   `help:"Go on though the container runtime does not answer: containers of the node's pods may stay."`
	Form         string `name:"output" help:"Print JSON instead of lines." short:"o" enum:",json" default:""`

	on resetMachine // the zero value is this machine
}

// Help has examples.
func (resetCmd) Help() string {
	return `It lists what it will remove, asks, and removes that: the service, the containers of the node's pods, their cgroups, mounts, networks and logs, the data folder, and the identity last. With a kubeconfig (--kubeconfig) it revokes the node's certificate in the cloud too. Settings in /etc/edgekit and the programs stay. Run it again after a failure.

Examples:
  edgectl reset --dry-run
  edgectl reset --yes --kubeconfig admin.kubeconfig
  edgectl reset --keep-identity      the node comes back empty: edgectl join`
}

// resetMachine is the machine that is reset. The zero value is this one.
type resetMachine struct {
	connect func(ctx context.Context) (services, error)
	runtime func(ctx context.Context, endpoint string) (resetRuntime, error)
	edit    func(*nodereset.Config) // of tests
	revoke  func(ctx context.Context, node string) error
	answer  io.Reader // nil means the terminal
}

// resetRuntime is a container runtime.
type resetRuntime interface {
	nodereset.Runtime
	CgroupDriver(ctx context.Context) (string, error)
	Close() error
}

// Run lists, asks, and removes.
func (r *resetCmd) Run(ctx context.Context, cli *cli, out program.Output) error {
	m := r.on.withDefaults(cli)
	if _, err := r.load(); err != nil {
		return err
	}
	cfg := nodereset.Config{DataDir: r.DataDir, KeepData: r.KeepData, KeepIdentity: r.KeepIdentity, Mounts: mountPoints, Unmount: unmount}
	closeAll, err := r.addMachine(ctx, m, &cfg)
	defer closeAll()
	if err != nil {
		return err
	}
	plan, err := nodereset.New(ctx, cfg)
	if err != nil {
		return err
	}
	items := plan.Items()
	if err := r.list(out, items); err != nil || len(items) == 0 || r.DryRun {
		return err
	}
	if err := r.ask(out, m); err != nil {
		return err
	}
	err = plan.Run(ctx, func(i nodereset.Item, err error) { r.report(out, i, err) })
	if err != nil {
		return fmt.Errorf("%w: correct what is said, and run the reset again", err)
	}
	if r.Form == "" {
		r.printEnd(out, plan.Node(), cfg.Revoke != nil)
	}
	return nil
}

// addMachine adds what the machine has. closeAll ends the connections.
func (r *resetCmd) addMachine(ctx context.Context, m resetMachine, cfg *nodereset.Config) (closeAll func(), err error) {
	var open []func()
	closeAll = func() {
		for _, f := range open {
			f()
		}
	}
	sd, err := m.connect(ctx)
	switch {
	case err == nil:
		open = append(open, sd.Close)
		if cfg.Service, err = resetService(ctx, sd); err != nil {
			return closeAll, err
		}
	case !errors.Is(err, systemd.ErrNotBooted):
		return closeAll, err
	}
	if cfg.Service == nil && r.answers(ctx) {
		return closeAll, errors.New("edgecore runs, and not as a service: stop it first")
	}
	checks, err := r.preflight()
	if err != nil {
		return closeAll, err
	}
	rt, err := m.runtime(ctx, checks.RuntimeEndpoint)
	switch {
	case err == nil:
		open = append(open, func() { rt.Close() })
		cfg.Runtime = rt
		driver, derr := rt.CgroupDriver(ctx)
		if derr == nil {
			cfg.Cgroups = newPodCgroups(driver)
		}
	case !r.Force:
		return closeAll, fmt.Errorf("%w; with --force the reset goes on without it, and containers may stay", err)
	}
	cfg.Revoke = m.revokeIdentity(r.DataDir)
	if m.edit != nil {
		m.edit(cfg)
	}
	return closeAll, nil
}

// answers reports whether an edgecore serves its API from the data folder.
func (r *resetCmd) answers(ctx context.Context) bool {
	local := localFlags{DataDir: r.DataDir}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", local.socket("api.sock"))
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// resetService is edgecore's service, if there is one that does anything.
func resetService(ctx context.Context, sd services) (*nodereset.Service, error) {
	state, err := sd.State(ctx, serviceName)
	if err != nil {
		return nil, err
	}
	unit := ""
	if state.Path != "" {
		if text, err := os.ReadFile(state.Path); err == nil && strings.HasPrefix(string(text), unitMark) {
			unit = state.Path
		}
	}
	running := state.Active != "" && state.Active != "inactive" && state.Active != "failed"
	if !state.Loaded || !running && !state.Enabled && unit == "" {
		return nil, nil //nolint:nilnil // no service is no error
	}
	return &nodereset.Service{Name: serviceName, Unit: unit, Remove: func(ctx context.Context) error {
		if err := errors.Join(sd.Stop(ctx, serviceName), sd.Disable(ctx, serviceName)); err != nil {
			return err
		}
		if unit == "" {
			return nil
		}
		if err := os.Remove(unit); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return sd.Reload(ctx)
	}}, nil
}

// resetEvent is what became of an item, as JSON.
type resetEvent struct {
	nodereset.Item
	Removed bool   `json:"removed"`
	Error   string `json:"error,omitempty"`
}

// list lists what will be removed.
func (r *resetCmd) list(out io.Writer, items []nodereset.Item) error {
	if r.Form == "json" {
		if r.DryRun {
			return printer.Flags{}.PrintObject(out, items)
		}
		return nil
	}
	plain := program.Plain(out)
	if len(items) == 0 {
		_, err := fmt.Fprintln(plain, "there is nothing to remove")
		return err
	}
	fmt.Fprintln(plain, "This is removed:")
	for _, i := range items {
		if _, err := fmt.Fprintf(plain, "  %-11s %s%s\n", i.Kind, i.Name, inBrackets(i.Note)); err != nil {
			return err
		}
	}
	return nil
}

func inBrackets(note string) string {
	if note == "" {
		return ""
	}
	return " (" + note + ")"
}

// ask asks whether to go on.
func (r *resetCmd) ask(out io.Writer, m resetMachine) error {
	switch {
	case r.Yes:
		return nil
	case r.Form == "json":
		return &program.UsageError{Setting: "yes", Reason: "with --output json nothing is listed to agree to: look with --dry-run, then add --yes"}
	}
	in := m.answer
	if in == nil {
		if !term.IsTerminal(int(os.Stdin.Fd())) {
			return &program.UsageError{Setting: "yes", Reason: "standard input is no terminal to ask at: add --yes"}
		}
		in = os.Stdin
	}
	fmt.Fprint(out, "Remove it? [y/N] ")
	line, err := bufio.NewReader(io.LimitReader(in, 64)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return errors.New("nothing was removed")
	}
	return nil
}

// report prints what became of an item.
func (r *resetCmd) report(out io.Writer, i nodereset.Item, err error) {
	if r.Form == "json" {
		e := resetEvent{Item: i, Removed: err == nil}
		if err != nil {
			e.Error = oneLine(err.Error())
		}
		_ = printer.Flags{}.PrintObject(out, e) // the reset goes on though nobody reads
		return
	}
	if err != nil {
		fmt.Fprintf(program.Plain(out), "left     %s %s: %s\n", i.Kind, i.Name, oneLine(err.Error()))
		return
	}
	fmt.Fprintf(program.Plain(out), "removed  %s %s\n", i.Kind, i.Name)
}

// printEnd says what is left to do.
func (r *resetCmd) printEnd(out io.Writer, node string, revoked bool) {
	plain := program.Plain(out)
	fmt.Fprintln(plain, "kept: /etc/edgekit and the programs; the address of the node's own API stays on the loopback interface until the next boot")
	if node == "" || r.KeepIdentity {
		return
	}
	if !revoked {
		fmt.Fprintf(plain, "the certificate of node %s was not revoked, for there is no kubeconfig here; where there is one: edgectl node revoke %s\n", node, node)
	}
	fmt.Fprintf(plain, "in the cluster its Node stays until: edgectl node remove %s\n", node)
}

// busyTries and busyPause bound the waiting for processes of a pod that was killed.
const (
	busyTries = 20
	busyPause = 500 * time.Millisecond
)
