package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
	"github.com/edgekit/edgekit/cmd/internal/preflight"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/sshhost"
	"github.com/edgekit/edgekit/hub/join"
)

// joinManyFlags are those of a join of many machines over SSH.
type joinManyFlags struct {
	File       string        `name:"many" help:"Join the machines of this YAML list over SSH, each with a token of its own: address, node, and where they differ from the flags user, port, keyFile, labels, set." placeholder:"FILE"`
	Parallel   int           `help:"With --many: how many machines join at a time." default:"5"`
	User       string        `name:"ssh-user" help:"With --many: user to log in as: root, or one that may use sudo without a password." default:"root"`
	KeyFile    string        `name:"ssh-key" help:"With --many: private key to log in with. Keys of the agent (SSH_AUTH_SOCK) are tried too." placeholder:"FILE"`
	KnownHosts string        `help:"With --many: file with the machines' keys; a machine that it does not have is refused. Default: ~/.ssh/known_hosts." placeholder:"FILE"`
	Programs   string        `help:"With --many: folder with edgecore and edgectl for the machines, which are copied to /usr/bin where they differ. Default: the machines have them from the package." placeholder:"DIR"`
	TTL        time.Duration `name:"token-ttl" help:"With --many: how long each token is valid." default:"1h"`
	Limit      time.Duration `name:"host-timeout" help:"With --many: how long one machine may take." default:"15m"`
}

// host is a machine of the list.
type host struct {
	Address string            `json:"address"`
	Node    string            `json:"node"`
	User    string            `json:"user,omitempty"`
	Port    int               `json:"port,omitempty"`
	KeyFile string            `json:"keyFile,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Set     map[string]string `json:"set,omitempty"`
}

// maxHosts bounds the size of the list in bytes.
const maxHosts = 4 << 20

// readHosts reads the list.
func readHosts(name string) ([]host, error) {
	bad := func(format string, args ...any) error {
		return &program.UsageError{Setting: "many", Reason: name + ": " + fmt.Sprintf(format, args...)}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, &program.UsageError{Setting: "many", Reason: err.Error()}
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxHosts+1))
	if err != nil || len(text) > maxHosts {
		return nil, bad("want a list of machines of at most %d bytes (%v)", maxHosts, err)
	}
	var hosts []host
	if err := yaml.UnmarshalStrict(text, &hosts); err != nil {
		return nil, bad("%v: want a list such as '- {address: 192.0.2.7, node: edge-7}'", err)
	}
	if len(hosts) == 0 {
		return nil, bad("it lists no machine")
	}
	seen := make(map[string]bool)
	for i, h := range hosts {
		switch {
		case h.Address == "" || strings.ContainsAny(h.Address, " \t\n/"):
			return nil, bad("machine %d: address is %q: want a name or an IP address", i+1, h.Address)
		case join.CheckNodeName(h.Node) != nil:
			return nil, bad("machine %d (%s): node is %q: want the name that the node is to have", i+1, h.Address, h.Node)
		case seen[h.Node]:
			return nil, bad("machine %d (%s): node %s is listed twice", i+1, h.Address, h.Node)
		case h.Port < 0 || h.Port > 65535:
			return nil, bad("machine %d (%s): port is %d", i+1, h.Address, h.Port)
		}
		if err := (&joinSettings{Labels: h.Labels, Set: h.Set}).check(); err != nil {
			return nil, bad("machine %d (%s): %v", i+1, h.Address, err)
		}
		seen[h.Node] = true
	}
	return hosts, nil
}

// hostResult is what became of a machine.
type hostResult struct {
	Node    string    `json:"node"`
	Address string    `json:"address"`
	State   joinState `json:"state"`
	Error   string    `json:"error,omitempty"`
}

// runMany joins the machines of a file.
func (j *joinCmd) runMany(ctx context.Context, cli *cli, out program.Output) error {
	switch {
	case j.Token != "" || j.TokenFile != "" || j.Node != "" || j.StdinConfig:
		return &program.UsageError{Setting: "many", Reason: "each machine has a name in the file and gets a token of its own: leave --token, --token-file, --node and --stdin-config out"}
	case j.Cloud == "":
		return &program.UsageError{Setting: "cloud", Reason: "give the address of cloudcore, HOST:PORT"}
	case j.Many.Parallel < 1:
		return &program.UsageError{Setting: "parallel", Reason: "want 1 or more"}
	}
	if err := j.joinSettings.check(); err != nil {
		return err
	}
	if j.Wait >= j.Many.Limit {
		return &program.UsageError{Setting: "host-timeout", Reason: fmt.Sprintf("%s for a machine is no longer than --wait, %s: make it longer", j.Many.Limit, j.Wait)}
	}
	hosts, err := readHosts(j.Many.File)
	if err != nil {
		return err
	}
	m := manyJoin{flags: j.Many, settings: j.joinSettings, token: cli.tokens(j.Many.TTL)}
	if j.Form == "" {
		var mu sync.Mutex
		plain := program.Plain(out)
		m.progress = func(h host, text string) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(plain, "%s: %s\n", h.Node, oneLine(text))
		}
	}
	results := m.run(ctx, hosts)
	if j.Form == "json" {
		err = printer.Flags{}.PrintObject(out, results)
	} else {
		err = printHosts(out, results)
	}
	failed := 0
	for _, r := range results {
		if r.Error != "" {
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d machines did not join: correct what is said, and run the same command again; the others are not touched", failed, len(results))
	}
	return err
}

// printHosts prints the summary.
func printHosts(out io.Writer, results []hostResult) error {
	t := printer.Table{Columns: []printer.Column{{Name: "NODE"}, {Name: "ADDRESS"}, {Name: "STATE"}, {Name: "ERROR"}}}
	for _, r := range results {
		row := printer.Row{Name: "node/" + r.Node, Cells: []any{r.Node, r.Address, string(r.State), r.Error}}
		if r.Error != "" {
			row.Level = printer.LevelError
		}
		t.Rows = append(t.Rows, row)
	}
	return printer.Flags{}.Print(out, t, nil)
}

// tokens makes tokens by the API server, which is asked only if one is needed.
func (c *cli) tokens(ttl time.Duration) func(ctx context.Context, node string) (string, error) {
	var mu sync.Mutex
	return func(ctx context.Context, node string) (string, error) {
		mu.Lock() // one at a time: each reads the authority
		defer mu.Unlock()
		store, err := c.identity(ctx)
		if err != nil {
			return "", err
		}
		token, err := store.CreateToken(ctx, node, ttl)
		if err != nil {
			return "", fmt.Errorf("make a token for %s: %w", node, err)
		}
		return token.String(), nil
	}
}

// manyJoin joins machines over SSH.
type manyJoin struct {
	flags    joinManyFlags
	settings joinSettings
	token    func(ctx context.Context, node string) (string, error)
	progress func(h host, text string) // nil shows none
}

// run joins all machines, some at a time. The results are in the order of hosts.
func (m *manyJoin) run(ctx context.Context, hosts []host) []hostResult {
	results := make([]hostResult, len(hosts))
	var group errgroup.Group
	group.SetLimit(m.flags.Parallel)
	for i, h := range hosts {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, m.flags.Limit)
			defer cancel()
			state, err := m.joinHost(ctx, h)
			results[i] = hostResult{Node: h.Node, Address: h.Address, State: state}
			if err != nil {
				results[i].Error = oneLine(err.Error())
				m.say(h, err.Error())
			}
			return nil
		})
	}
	_ = group.Wait() // errors are in the results
	return results
}

func (m *manyJoin) say(h host, text string) {
	if m.progress != nil {
		m.progress(h, text)
	}
}

// The commands that run on a machine, for root and for one that may use sudo.
const (
	userCommand     sshhost.Command = "id -u"
	joinCommand     sshhost.Command = "edgectl join --stdin-config --output json"
	sudoJoinCommand sshhost.Command = "sudo -n edgectl join --stdin-config --output json"
)

// joinHost joins one machine: without a token first, which is enough for one that has an
// identity already.
func (m *manyJoin) joinHost(ctx context.Context, h host) (joinState, error) {
	client, err := sshhost.Dial(ctx, sshhost.Config{
		Address: h.Address, Port: h.Port, User: cmp.Or(h.User, m.flags.User), KeyFile: expandHome(cmp.Or(h.KeyFile, m.flags.KeyFile)),
		Agent: os.Getenv("SSH_AUTH_SOCK"), KnownHosts: m.flags.KnownHosts,
	})
	if err != nil {
		return stateNone, err
	}
	defer client.Close()
	id, err := client.Output(ctx, userCommand)
	if err != nil {
		return stateNone, err
	}
	root := strings.TrimSpace(id) == "0"
	if m.flags.Programs != "" {
		if err := m.copyPrograms(ctx, client, h, root); err != nil {
			return stateNone, err
		}
	}
	end, err := m.remoteJoin(ctx, client, h, root, "")
	if err == nil && end.NeedToken {
		var token string
		if token, err = m.token(ctx, h.Node); err != nil {
			return stateNone, err
		}
		end, err = m.remoteJoin(ctx, client, h, root, token)
	}
	if err == nil && end.Error != "" {
		err = errors.New(end.Error)
	}
	return end.State, err
}

// remoteJoin runs edgectl join on the machine and passes its progress on.
func (m *manyJoin) remoteJoin(ctx context.Context, client *sshhost.Client, h host, root bool, token string) (end joinEvent, err error) {
	end.State = stateNone
	s := m.settings
	s.Node, s.Token = h.Node, token
	s.Labels, s.Set = merge(s.Labels, h.Labels), merge(s.Set, h.Set)
	if s.Wait != defaultWait {
		s.WaitText = s.Wait.String()
	}
	text, err := json.Marshal(s)
	if err != nil {
		return end, err
	}
	command := joinCommand
	if !root {
		command = sudoJoinCommand
	}
	events := &eventWriter{handle: func(e joinEvent) {
		if e.Step == "end" {
			end = e
			return
		}
		if e.Message != "" {
			m.say(h, e.Step+" "+e.Message)
		}
		for _, f := range e.Findings {
			m.say(h, fmt.Sprintf("%s %s %s; remedy: %s", f.Status, f.Check, f.Message, f.Remedy))
		}
	}}
	err = client.Run(ctx, command, bytes.NewReader(text), events)
	exit, failed := errors.AsType[*sshhost.ExitError](err)
	switch {
	case failed && end.Step == "end":
		return end, nil // it has said why
	case failed && exit.Status == 127:
		return end, errors.New("edgectl is not installed there: install the package, or give --programs")
	case failed && exit.Status == 2:
		return end, fmt.Errorf("the machine's edgectl does not take the settings; is it of this version? %w", err)
	case err == nil && end.Step != "end":
		return end, errors.New("the machine's edgectl has not said how the join ended: is it of this version?")
	}
	return end, err
}

// merge is a with the pairs of b, which go before.
func merge(a, b map[string]string) map[string]string {
	out := make(map[string]string)
	for _, m := range []map[string]string{a, b} {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

// expandHome replaces ~/ at the beginning of a path.
func expandHome(path string) string {
	rest, ok := strings.CutPrefix(path, "~/")
	if home, err := os.UserHomeDir(); ok && err == nil {
		return filepath.Join(home, rest)
	}
	return path
}

// maxEvent bounds a line from a machine in bytes.
const maxEvent = 256 << 10

// eventWriter reads lines of JSON as they come. What is no event is left out.
type eventWriter struct {
	handle func(joinEvent)
	line   []byte
}

// Write handles the lines that are complete.
func (w *eventWriter) Write(p []byte) (int, error) {
	w.line = append(w.line, p...)
	for {
		n, text, err := bufio.ScanLines(w.line, false)
		if err != nil || n == 0 {
			break
		}
		var e joinEvent
		if json.Unmarshal(text, &e) == nil {
			e.Findings = e.Findings[:min(len(e.Findings), len(preflight.Names())*4)]
			w.handle(e)
		}
		w.line = w.line[n:]
	}
	if len(w.line) > maxEvent {
		return 0, errors.New("a line of the machine's edgectl is too long")
	}
	return len(p), nil
}
