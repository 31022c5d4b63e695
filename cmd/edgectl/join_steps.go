package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/linkstate"
	"github.com/edgekit/edgekit/cmd/internal/nodejoin"
	"github.com/edgekit/edgekit/cmd/internal/preflight"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/systemd"
	"github.com/edgekit/edgekit/hub/join"
)

// serviceName is edgecore's unit.
const serviceName = "edgecore.service"

// services is what a join or a reset needs of systemd.
type services interface {
	State(ctx context.Context, name string) (systemd.State, error)
	Enable(ctx context.Context, name string) error
	Disable(ctx context.Context, name string) error
	Reload(ctx context.Context) error
	Restart(ctx context.Context, name string) error
	Stop(ctx context.Context, name string) error
	Close()
}

// joinMachine is the machine that joins. The zero value is this one.
type joinMachine struct {
	preflight preflight.Machine
	connect   func(ctx context.Context) (services, error)
	unitFile  string        // where a unit is installed if there is none
	programs  []string      // where edgecore may be
	poll      time.Duration // between two looks at the link
}

func (m joinMachine) withDefaults() joinMachine {
	if m.connect != nil {
		return m
	}
	programs := []string{systemd.Program, "/usr/local/bin/edgecore"}
	if own, err := os.Executable(); err == nil {
		programs = append(programs, filepath.Join(filepath.Dir(own), "edgecore"))
	}
	return joinMachine{
		preflight: preflight.Local(), connect: connectSystemd, unitFile: systemd.UnitPath(serviceName), programs: programs, poll: time.Second,
	}
}

// connectSystemd connects to systemd.
func connectSystemd(ctx context.Context) (services, error) {
	c, err := systemd.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// errNeedToken says that the machine has no identity, and no token to get one.
var errNeedToken = errors.New("this machine has no identity: give a token with --token-file, from 'edgectl token create --node NAME'")

// joinRun is one run of a join on a machine.
type joinRun struct {
	settings  joinSettings
	flags     machineFlags
	tokenFile string
	on        joinMachine
	report    func(joinEvent)

	node    string    // the node's name
	state   joinState // how far it has come
	cloud   string
	changed bool // the identity or the settings are new: edgecore must start again
	waits   bool // the join waits for an operator; edgecore goes on with it
}

// do takes the steps that are not done yet.
func (r *joinRun) do(ctx context.Context) error {
	r.state = stateNone
	if err := r.settings.check(); err != nil {
		return err
	}
	if _, err := r.flags.load(); err != nil {
		return err
	}
	had, err := r.identity()
	if err != nil {
		return err
	}
	file, err := r.editSettings()
	if err != nil {
		return err
	}
	if had && !file.Changed() && r.isConnected(ctx, file) {
		r.state = stateConnected
		r.say("link", "node %s is connected to %s: there is nothing to do", r.node, r.cloud)
		return nil
	}
	token := ""
	if !had {
		if token, err = r.token(); err != nil {
			return err
		}
	}
	if err := r.check(ctx, token); err != nil {
		return err
	}
	if !had {
		if err := r.join(ctx, token); err != nil {
			return err
		}
	}
	if r.state = stateJoined; r.waits {
		r.state = stateWaiting
	}
	if file.Changed() {
		if err := file.Write(); err != nil {
			return err
		}
		r.changed = true
		r.say("settings", "%s is written", r.flags.ConfigFile)
	}
	return r.serve(ctx)
}

func (r *joinRun) say(step, format string, args ...any) {
	r.report(joinEvent{Step: step, Message: fmt.Sprintf(format, args...)})
}

// identity finds the node's name and cloud. had says that the machine has the identity
// already, and keeps it.
func (r *joinRun) identity() (had bool, err error) {
	if w, ok, err := nodejoin.LoadWaiting(r.flags.DataDir); err == nil && ok && !w.Joined && !r.settings.Replace && (r.settings.Node == "" || r.settings.Node == w.Node) {
		r.node, r.cloud, r.waits = w.Node, w.Cloud, true
		return true, nil
	}
	state, err := nodejoin.Load(r.flags.DataDir)
	switch {
	case r.settings.Replace, errors.Is(err, join.ErrNoCredentials):
		if r.settings.Cloud == "" {
			return false, &program.UsageError{Setting: "cloud", Reason: "give the address of cloudcore, HOST:PORT"}
		}
		r.cloud = r.settings.Cloud
		r.node, err = nodejoin.NodeName(r.settings.Node)
		return false, err
	case err != nil:
		return false, fmt.Errorf("%w: if the file is damaged, join again with --replace and a new token", err)
	}
	r.node, r.cloud = state.Credentials.Node, state.Cloud
	if want := r.settings.Node; want != "" && want != r.node {
		return false, &program.UsageError{Setting: "node", Reason: fmt.Sprintf("this machine has joined as %s: use --replace with a token for %s, or leave --node out", r.node, want)}
	}
	switch want := r.settings.Cloud; {
	case r.cloud == "" && want == "":
		return false, &program.UsageError{Setting: "cloud", Reason: "the address of cloudcore was lost: give it, HOST:PORT"}
	case r.cloud == "" || want != "" && want != r.cloud:
		// Another address of the same cloud: its certificate decides whether it is.
		if err := nodejoin.SaveCloud(filepath.Join(r.flags.DataDir, nodejoin.IdentityDir), want); err != nil {
			return false, err
		}
		r.say("identity", "the cloud's address is now %s", want)
		r.cloud, r.changed = want, true
	}
	return true, nil
}

// editSettings puts the flags into edgecore's configuration, which is not written yet.
func (r *joinRun) editSettings() (*program.ConfigFile, error) {
	set := map[string]string{"runtime-endpoint": r.settings.RuntimeEndpoint, "transport": r.settings.Transport}
	maps.DeleteFunc(set, func(_, value string) bool { return value == "" })
	if r.flags.DataDir != defaultDataDir {
		set["data-dir"] = r.flags.DataDir
	}
	maps.Copy(set, r.settings.Set)
	file, err := program.LoadConfig(r.flags.ConfigFile)
	if err == nil {
		err = file.Edit(set)
	}
	if err == nil {
		err = file.AddPairs("node-labels", r.settings.Labels)
	}
	if err != nil {
		return nil, &program.UsageError{Setting: "edgecore-config", Reason: err.Error()}
	}
	return file, nil
}

// defaultDataDir is edgecore's.
const defaultDataDir = "/var/lib/edgekit"

// isConnected reports whether the service runs and has a link to the right cloud.
func (r *joinRun) isConnected(ctx context.Context, file *program.ConfigFile) bool {
	if r.changed {
		return false
	}
	link, err := r.link(ctx)
	if err == nil && link.Cloud != r.cloud && file.Values("cloud") == nil {
		r.changed = true // a run that did not come to its end has saved another address
		return false
	}
	if err != nil || !link.Connected || link.Node != r.node {
		return false
	}
	sd, err := r.on.connect(ctx)
	if err != nil {
		return errors.Is(err, systemd.ErrNotBooted)
	}
	defer sd.Close()
	state, err := sd.State(ctx, serviceName)
	return err == nil && state.Enabled && state.Active == "active"
}

// token reads the token; there must be one.
func (r *joinRun) token() (string, error) {
	if r.settings.Token == "" && r.tokenFile == "" {
		return "", errNeedToken
	}
	return nodejoin.ReadToken(r.settings.Token, r.tokenFile)
}

// check runs all checks. Failures end the join, unless they are to be ignored.
func (r *joinRun) check(ctx context.Context, token string) error {
	cfg, err := r.flags.preflight()
	if err != nil {
		return err
	}
	cfg.Cloud = r.cloud
	if r.settings.RuntimeEndpoint != "" {
		cfg.RuntimeEndpoint = r.settings.RuntimeEndpoint
	}
	if r.settings.Transport != "" {
		cfg.Transport = r.settings.Transport
	}
	if parsed, err := join.ParseToken(token); err == nil {
		cfg.Pin = parsed.Pin
	}
	results, err := preflight.Run(ctx, cfg, r.on.preflight)
	if err != nil {
		return err
	}
	findings := slices.DeleteFunc(slices.Clone(results), func(f preflight.Result) bool { return f.Status == preflight.OK })
	r.report(joinEvent{Step: "check", Message: fmt.Sprintf("%d of %d findings are good", len(results)-len(findings), len(results)), Findings: findings})
	serious := slices.DeleteFunc(findings, func(f preflight.Result) bool {
		// The network of many clusters is a DaemonSet, which comes after the join.
		return f.Check == "cni" || slices.Contains(r.settings.IgnoreCheck, f.Check)
	})
	if err := failedChecks(serious); err != nil {
		return fmt.Errorf("%w: follow the remedies, or go on with --ignore-check", err)
	}
	return nil
}

// join gets the identity.
func (r *joinRun) join(ctx context.Context, token string) error {
	credentials, err := nodejoin.Join(ctx, nodejoin.Request{
		DataDir: r.flags.DataDir, Cloud: r.cloud, Token: token, Node: r.node, Replace: r.settings.Replace,
	})
	switch {
	case errors.Is(err, join.ErrPending):
		r.changed, r.waits = true, true
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: run as root", err)
	case err != nil:
		return err
	}
	r.changed = true
	r.say("identity", "joined %s as node %s; the certificate is valid until %s", r.cloud, r.node, credentials.Leaf.NotAfter.Format(time.DateOnly))
	return nil
}

// serve installs, enables and starts the service, and waits for the link.
func (r *joinRun) serve(ctx context.Context) error {
	sd, err := r.on.connect(ctx)
	if errors.Is(err, systemd.ErrNotBooted) {
		return r.withoutSystemd()
	}
	if err != nil {
		return err
	}
	defer sd.Close()
	state, err := sd.State(ctx, serviceName)
	if err != nil {
		return err
	}
	if !state.Loaded {
		if err := r.install(ctx, sd); err != nil {
			return err
		}
	}
	if !state.Enabled {
		if err := sd.Enable(ctx, serviceName); err != nil {
			return err
		}
		r.say("service", "%s is started at each boot", serviceName)
	}
	if r.changed || state.Active != "active" {
		r.say("service", "%s starts", serviceName)
		if err := sd.Restart(ctx, serviceName); err != nil {
			return r.explain(ctx, sd, err)
		}
	}
	if !r.waits {
		r.state = stateStarted
	}
	if r.settings.Wait == 0 {
		r.say("service", "%s runs", serviceName)
		return nil
	}
	return r.waitForLink(ctx)
}

// withoutSystemd says what is left to do.
func (r *joinRun) withoutSystemd() error {
	command := "edgecore"
	if r.flags.DataDir != defaultDataDir {
		command += " --data-dir " + r.flags.DataDir
	}
	r.say("service", "systemd does not run this machine: have your init system run '%s' as root at each boot, and again whenever it ends", command)
	return nil
}

// program finds edgecore.
func (r *joinRun) program() (string, error) {
	for _, path := range r.on.programs {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o100 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("edgecore is not installed: install the package, or put the program at %s", systemd.Program)
}

// install installs the unit.
func (r *joinRun) install(ctx context.Context, sd services) error {
	path, err := r.program()
	if err != nil {
		return err
	}
	if _, err := program.WriteConfig(r.on.unitFile, []byte(unitMark+systemd.UnitFor(path)), 0o644); err != nil {
		return fmt.Errorf("install the service: %w", err)
	}
	r.say("service", "%s is installed for %s", r.on.unitFile, path)
	return sd.Reload(ctx)
}

// unitMark is the first line of a unit that a join has installed: a reset removes it again.
const unitMark = "# Installed by 'edgectl join'; 'edgectl reset' removes it.\n"

// explain adds to a failed start what edgecore has said.
func (r *joinRun) explain(ctx context.Context, sd services, err error) error {
	const look = "journalctl -u edgecore has more; then run the same command again"
	state, serr := sd.State(ctx, serviceName)
	if serr != nil || state.Status == "" {
		return fmt.Errorf("edgecore does not start: %w: %s", err, look)
	}
	return fmt.Errorf("edgecore does not start: %s (%s): %s", state.Status, strings.TrimSpace(state.Result), look)
}

// link asks edgecore for its link.
func (r *joinRun) link(ctx context.Context) (linkstate.Link, error) {
	local := localFlags{DataDir: r.flags.DataDir}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var link linkstate.Link
	err := local.read(ctx, "api.sock", linkstate.Path, "", &link)
	return link, err
}

// whyNoLink says why edgecore does not answer for its link.
func (r *joinRun) whyNoLink(err error) string {
	w, waits, werr := nodejoin.LoadWaiting(r.flags.DataDir)
	if r.waits = werr == nil && waits; r.waits {
		return w.String()
	}
	return err.Error()
}

// waitForLink waits until the node is connected, and reports each change meanwhile.
func (r *joinRun) waitForLink(ctx context.Context) error {
	limit := time.NewTimer(r.settings.Wait)
	defer limit.Stop()
	tick := time.NewTicker(r.on.poll)
	defer tick.Stop()
	last := ""
	for {
		link, err := r.link(ctx)
		line := link.String()
		if err != nil {
			line = r.whyNoLink(err)
		}
		if line != last {
			r.say("link", "%s", line)
			last = line
		}
		if err == nil && link.Connected {
			r.state = stateConnected
			return nil
		}
		select {
		case <-tick.C:
		case <-limit.C:
			if r.waits {
				return fmt.Errorf("not approved after %s: edgecore goes on waiting; where the cluster's administrator is: %s", r.settings.Wait, last)
			}
			return fmt.Errorf("no link to the cloud after %s (%s): edgecore goes on trying; see 'edgectl check cloud' and journalctl -u edgecore", r.settings.Wait, last)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
