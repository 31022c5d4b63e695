package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/linkstate"
	"github.com/edgekit/edgekit/cmd/internal/nodejoin"
	"github.com/edgekit/edgekit/cmd/internal/preflight"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/systemd"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/join/jointest"
)

// testMachine is a machine of a test: a data folder, a systemd that runs nothing, and the API of an
// edgecore that "runs" while the service is active.
type testMachine struct {
	t     *testing.T
	cloud *jointest.Cloud
	addr  string // of the cloud
	dir   string
	on    joinMachine

	mu      sync.Mutex
	service systemd.State
	booted  bool
	fail    error // of a start
	link    linkstate.Link
	calls   []string
}

// newMachine makes a machine with edgecore installed, on which all checks are ignored.
func newMachine(t *testing.T, c *jointest.Cloud, edit ...func(*join.HandlerConfig)) *testMachine {
	t.Helper()
	srv := httptest.NewUnstartedServer(c.Handler(edit...))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Listener = tls.NewListener(srv.Listener, c.ServerTLS())
	srv.Start()
	t.Cleanup(srv.Close)
	dir, err := os.MkdirTemp("", "ek") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &testMachine{t: t, cloud: c, addr: srv.Listener.Addr().String(), dir: dir, booted: true}
	m.service = systemd.State{Active: "inactive"}
	edgecore := filepath.Join(dir, "edgecore")
	if err := errors.Join(os.WriteFile(edgecore, []byte("#!"), 0o700), os.MkdirAll(filepath.Join(dir, "root"), 0o755)); err != nil {
		t.Fatal(err)
	}
	look := preflight.Machine{
		Root: filepath.Join(dir, "root"), Admin: true, Now: time.Now, Dial: new(net.Dialer).DialContext,
		Resolve:    func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no name server") },
		Filesystem: func(string) (preflight.Filesystem, error) { return preflight.Filesystem{}, errors.New("no disk") },
		Sync:       func(string) error { return nil },
		RouteMTU:   func(net.Conn) (int, error) { return 1500, nil },
		Runtime:    func(context.Context, string) (preflight.Runtime, error) { return nil, errors.New("no runtime") },
	}
	m.on = joinMachine{
		preflight: look, connect: m.connect, unitFile: filepath.Join(dir, "units", serviceName), programs: []string{"/nowhere/edgecore", edgecore}, poll: time.Millisecond,
	}
	m.serveAPI()
	return m
}

// serveAPI answers for the link while the service is active.
func (m *testMachine) serveAPI() {
	m.t.Helper()
	path := filepath.Join(m.dir, "data", "api")
	if err := os.MkdirAll(path, 0o700); err != nil {
		m.t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(path, "api.sock"))
	if err != nil {
		m.t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.service.Active != "active" || m.link.Node == "" || r.URL.Path != linkstate.Path {
			http.Error(w, "not running", http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(m.link)
	}))
	srv.Listener = l
	srv.Start()
	m.t.Cleanup(srv.Close)
}

func (m *testMachine) connect(context.Context) (services, error) {
	if !m.booted {
		return nil, systemd.ErrNotBooted
	}
	return m, nil
}

func (m *testMachine) note(call string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, call)
}

func (m *testMachine) State(context.Context, string) (systemd.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := os.Stat(m.on.unitFile); err == nil {
		m.service.Loaded, m.service.Path = true, m.on.unitFile
	}
	return m.service, nil
}

func (m *testMachine) Enable(context.Context, string) error {
	m.note("enable")
	m.mu.Lock()
	defer m.mu.Unlock()
	m.service.Enabled = true
	return nil
}

func (m *testMachine) Disable(context.Context, string) error {
	m.note("disable")
	m.mu.Lock()
	defer m.mu.Unlock()
	m.service.Enabled = false
	return nil
}

func (m *testMachine) Reload(context.Context) error {
	m.note("reload")
	return nil
}

func (m *testMachine) Restart(context.Context, string) error {
	m.note("restart")
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.service.Active = "active"
	return nil
}

func (m *testMachine) Stop(context.Context, string) error {
	m.note("stop")
	m.mu.Lock()
	defer m.mu.Unlock()
	m.service.Active = "inactive"
	return nil
}

func (m *testMachine) Close() {}

// command is a join of the machine that ignores all checks.
func (m *testMachine) command(s joinSettings) *joinCmd {
	s.IgnoreCheck = preflight.Names()
	if s.Wait == 0 {
		s.Wait = time.Minute
	}
	return &joinCmd{
		machineFlags: machineFlags{DataDir: filepath.Join(m.dir, "data"), ConfigFile: filepath.Join(m.dir, "edgecore.yaml")}, joinSettings: s, on: m.on,
	}
}

// join runs a join, and returns its output and what it asked of systemd.
func (m *testMachine) join(cmd *joinCmd) (out, calls string, err error) {
	m.t.Helper()
	m.calls = nil
	var text bytes.Buffer
	err = cmd.Run(m.t.Context(), &cli{}, program.Output{Writer: &text})
	return text.String(), strings.Join(m.calls, " "), err
}

// TestJoin: from a bare machine to a connected node; the second run does nothing, a change
// restarts edgecore, and another name is refused.
func TestJoin(t *testing.T) {
	c := jointest.NewCloud(t)
	m := newMachine(t, c)
	m.link = linkstate.Link{Node: "edge-1", Cloud: m.addr, Connected: true, Transport: "quic"}
	if _, _, err := m.join(m.command(joinSettings{Cloud: m.addr, Node: "edge-1"})); !errors.Is(err, errNeedToken) {
		t.Fatal("without a token:", err)
	}
	first := joinSettings{Cloud: m.addr, Node: "edge-1", Token: c.Token("edge-1").String(), Labels: map[string]string{"site": "plant-1"}, Set: map[string]string{"max-pods": "50"}}
	out, calls, err := m.join(m.command(first))
	if err != nil || calls != "reload enable restart" {
		t.Fatal(calls, err, out)
	}
	for _, want := range []string{"identity  joined", "settings ", "is installed for " + filepath.Join(m.dir, "edgecore"), "link      node edge-1 is connected"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	unit, err := os.ReadFile(m.on.unitFile)
	if err != nil || !strings.HasPrefix(string(unit), unitMark) || !strings.Contains(string(unit), "ExecStart="+filepath.Join(m.dir, "edgecore")+"\n") {
		t.Error(string(unit), err)
	}
	text, err := os.ReadFile(filepath.Join(m.dir, "edgecore.yaml"))
	if err != nil || !strings.Contains(string(text), "node-labels: site=plant-1\n") || !strings.Contains(string(text), "max-pods: 50\n") {
		t.Error(string(text), err)
	}
	first.Token = ""
	if out, calls, err = m.join(m.command(first)); err != nil || calls != "" || !strings.Contains(out, "there is nothing to do") {
		t.Error("the second run:", calls, err, out)
	}
	first.Set = map[string]string{"max-pods": "60"}
	if _, calls, err = m.join(m.command(first)); err != nil || calls != "restart" {
		t.Error("another setting:", calls, err)
	}
	var usage *program.UsageError
	if _, _, err = m.join(m.command(joinSettings{Node: "edge-2"})); !errors.As(err, &usage) || usage.Setting != "node" {
		t.Error("another name:", err)
	}
	again := joinSettings{Cloud: m.addr, Node: "edge-2", Replace: true, Token: c.Token("edge-2").String()}
	m.link.Node = "edge-2"
	if _, calls, err = m.join(m.command(again)); err != nil || calls != "restart" {
		t.Error("replaced:", calls, err)
	}
}

// TestJoinGoesOn: what failed is said, and the next run goes on from there.
func TestJoinGoesOn(t *testing.T) {
	c := jointest.NewCloud(t)
	m := newMachine(t, c)
	m.fail, m.service.Status = &systemd.JobError{Verb: "start", Name: serviceName, Result: "failed"}, "--mqtt-listen: bad"
	s := joinSettings{Cloud: m.addr, Node: "edge-1", Token: c.Token("edge-1").String()}
	if _, _, err := m.join(m.command(s)); err == nil || !strings.Contains(err.Error(), "edgecore does not start: --mqtt-listen: bad") {
		t.Fatal(err)
	}
	m.fail, s.Token = nil, ""
	short := m.command(s)
	short.Wait = time.Millisecond
	if _, calls, err := m.join(short); err == nil || calls != "restart" || !strings.Contains(err.Error(), "no link to the cloud after 1ms") {
		t.Fatal("no link:", calls, err)
	}
	m.link = linkstate.Link{Node: "edge-1", Cloud: m.addr, Connected: true}
	if out, calls, err := m.join(m.command(s)); err != nil || calls != "" {
		t.Error(calls, err, out)
	}
	// A run that was killed has saved another address; edgecore still has the first.
	name := strings.Replace(m.addr, "127.0.0.1", "localhost", 1)
	if err := nodejoin.SaveCloud(filepath.Join(m.dir, "data", "identity"), name); err != nil {
		t.Fatal(err)
	}
	if out, calls, err := m.join(m.command(joinSettings{})); err != nil || calls != "restart" {
		t.Error("another address:", calls, err, out)
	}
	failing := m.command(joinSettings{Cloud: m.addr, Node: "edge-1", Replace: true, Token: c.Token("edge-1").String()})
	failing.IgnoreCheck = nil
	out, calls, err := m.join(failing)
	if err == nil || calls != "" || !strings.Contains(err.Error(), "findings are failures") || !strings.Contains(out, "remedy:") {
		t.Error("checks that fail:", calls, err, out)
	}
	if had, err := join.LoadCredentials(filepath.Join(m.dir, "data", "identity")); err != nil || had.Node != "edge-1" {
		t.Error("the identity was touched:", err)
	}
}

// TestJoinWaitsForApproval: edgecore is started and waits; the next run needs no token, and
// ends when the node is approved and connected.
func TestJoinWaitsForApproval(t *testing.T) {
	c := jointest.NewCloud(t)
	m := newMachine(t, c, func(cfg *join.HandlerConfig) { cfg.Approvals, cfg.ApproveAll = &c.Store, true })
	cmd := m.command(joinSettings{Cloud: m.addr, Node: "edge-1", Token: c.Token("edge-1").String()})
	cmd.Wait = time.Millisecond
	out, calls, err := m.join(cmd)
	if err == nil || !strings.Contains(err.Error(), "not approved after 1ms") || !strings.Contains(out, "edgectl node approve edge-1") || calls != "reload enable restart" {
		t.Fatal(out, calls, err)
	}
	if err := c.Decide("edge-1", true); err != nil {
		t.Fatal(err)
	}
	if _, err := nodejoin.Wait(t.Context(), cmd.DataDir, nil); err != nil { // edgecore's part
		t.Fatal(err)
	}
	m.link = linkstate.Link{Node: "edge-1", Cloud: m.addr, Connected: true}
	if out, calls, err = m.join(m.command(joinSettings{})); err != nil || calls != "" || !strings.Contains(out, "is connected") {
		t.Error(out, calls, err)
	}
}

// TestJoinWithoutSystemd says what to run.
func TestJoinWithoutSystemd(t *testing.T) {
	c := jointest.NewCloud(t)
	m := newMachine(t, c)
	m.booted = false
	out, _, err := m.join(m.command(joinSettings{Cloud: m.addr, Node: "edge-1", Token: c.Token("edge-1").String()}))
	if err != nil || !strings.Contains(out, "'edgecore --data-dir "+filepath.Join(m.dir, "data")+"'") {
		t.Error(out, err)
	}
}

// TestJoinConfig: JSON from standard input, and what is refused in it and in flags.
func TestJoinConfig(t *testing.T) {
	j := &joinCmd{}
	if err := j.readConfig(strings.NewReader(`{"cloud":"c:1","token":"t","node":"n","labels":{"a":"b"},"set":{"max-pods":"5"}}`)); err != nil || j.Cloud != "c:1" || j.Labels["a"] != "b" || j.Set["max-pods"] != "5" {
		t.Errorf("%+v, %v", j.joinSettings, err)
	}
	for text, want := range map[string]string{
		`{"cloud":1}`: "want one object", `{"command":"rm -rf /"}`: "unknown field", "": "EOF", strings.Repeat(" ", maxJoinConfig+1): "too long",
	} {
		var usage *program.UsageError
		if err := new(joinCmd).readConfig(strings.NewReader(text)); !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for _, bad := range []joinSettings{
		{Cloud: "c"}, {Set: map[string]string{"modules.edged.x": "1"}}, {Set: map[string]string{"": "1"}}, {IgnoreCheck: []string{"moon"}}, {Wait: -1},
		{Labels: map[string]string{"site": "a;b=c"}}, {Labels: map[string]string{"a b": "c"}},
	} {
		var usage *program.UsageError
		if err := bad.check(); !errors.As(err, &usage) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
