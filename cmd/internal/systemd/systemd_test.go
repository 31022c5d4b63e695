package systemd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestUnit: the embedded unit is the one that packages install, and its program can be
// elsewhere.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile("../../edgecore/edgecore.service")
	if err != nil || string(text) != unit {
		t.Errorf("cp cmd/edgecore/edgecore.service cmd/internal/systemd/: they differ (%v)", err)
	}
	if UnitFor(Program) != unit || !strings.Contains(UnitFor("/opt/edgecore"), "\nExecStart=/opt/edgecore\n") || strings.Contains(UnitFor("/opt/edgecore"), Program) {
		t.Error(UnitFor("/opt/edgecore"))
	}
}

// bus starts a message bus of the test's own, and returns its address.
func bus(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("needs dbus-daemon")
	}
	dir, err := os.MkdirTemp("", "ek") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	config := filepath.Join(dir, "bus.conf")
	text := fmt.Sprintf(`<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=%s</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`, filepath.Join(dir, "bus"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "--config-file="+config, "--nofork", "--nopidfile", "--print-address")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

const (
	managerPath = godbus.ObjectPath("/org/freedesktop/systemd1")
	managerName = "org.freedesktop.systemd1.Manager"
	jobPath     = godbus.ObjectPath("/org/freedesktop/systemd1/job/7")
)

// manager stands in for systemd: it has one service, edgecore.
type manager struct {
	conn *godbus.Conn

	mu      sync.Mutex
	calls   []string
	result  string // of jobs
	enabled string
	active  string
}

func (m *manager) note(call string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, call)
}

// job ends a job at once, as systemd does after the reply.
func (m *manager) job(verb, name, active string) (godbus.ObjectPath, *godbus.Error) {
	m.note(verb + " " + name)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.result == "done" {
		m.active = active
	}
	result := m.result
	time.AfterFunc(50*time.Millisecond, func() { _ = m.conn.Emit(managerPath, managerName+".JobRemoved", uint32(7), jobPath, name, result) })
	return jobPath, nil
}

func (m *manager) restart(name, _ string) (godbus.ObjectPath, *godbus.Error) {
	return m.job("restart", name, "active")
}

func (m *manager) stop(name, _ string) (godbus.ObjectPath, *godbus.Error) {
	return m.job("stop", name, "inactive")
}

func (m *manager) enable(names []string, _, _ bool) (bool, [][]any, *godbus.Error) {
	m.note("enable " + names[0])
	m.mu.Lock()
	defer m.mu.Unlock()
	m.enabled = "enabled"
	return true, nil, nil
}

func (m *manager) disable(names []string, _ bool) ([][]any, *godbus.Error) {
	m.note("disable " + names[0])
	return nil, nil
}

func (m *manager) reload() *godbus.Error {
	m.note("reload")
	return nil
}

func (m *manager) resetFailed(string) *godbus.Error {
	return godbus.MakeFailedError(errors.New("not loaded"))
}

func (m *manager) all(string) (map[string]godbus.Variant, *godbus.Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[string]godbus.Variant)
	for key, value := range map[string]any{
		"LoadState": "loaded", "FragmentPath": "/usr/lib/systemd/system/edgecore.service", "UnitFileState": m.enabled, "ActiveState": m.active,
		"Result": "exit-code", "ExecMainStatus": int32(2), "StatusText": "no link",
	} {
		out[key] = godbus.MakeVariant(value)
	}
	return out, nil
}

// TestConn: the calls arrive, a job's end is waited for, and its failure is an error.
func TestConn(t *testing.T) {
	address := bus(t)
	server, err := godbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	m := &manager{conn: server, result: "done", active: "failed", enabled: "disabled"}
	err = errors.Join(
		server.ExportMethodTable(map[string]any{
			"RestartUnit": m.restart, "StopUnit": m.stop, "EnableUnitFiles": m.enable, "DisableUnitFiles": m.disable, "Reload": m.reload, "ResetFailedUnit": m.resetFailed,
		}, managerPath, managerName),
		server.ExportMethodTable(map[string]any{"GetAll": m.all}, "/org/freedesktop/systemd1/unit/edgecore_2eservice", "org.freedesktop.DBus.Properties"),
	)
	if err == nil {
		_, err = server.RequestName("org.freedesktop.systemd1", godbus.NameFlagDoNotQueue)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	inner, err := dbus.NewConnection(func() (*godbus.Conn, error) { return godbus.Connect(address, godbus.WithContext(ctx)) })
	if err != nil {
		t.Fatal(err)
	}
	c := &Conn{inner}
	defer c.Close()
	const name = "edgecore.service"
	state, err := c.State(ctx, name)
	if want := (State{true, "/usr/lib/systemd/system/edgecore.service", false, "failed", "exit-code", 2, "no link"}); err != nil || state != want {
		t.Errorf("%+v, want %+v, %v", state, want, err)
	}
	if err := errors.Join(c.Enable(ctx, name), c.Restart(ctx, name)); err != nil {
		t.Error(err)
	}
	if state, err := c.State(ctx, name); err != nil || !state.Enabled || state.Active != "active" {
		t.Errorf("%+v, %v", state, err)
	}
	if err := errors.Join(c.Stop(ctx, name), c.Disable(ctx, name)); err != nil {
		t.Error(err)
	}
	m.mu.Lock()
	m.result = "timeout"
	got := strings.Join(m.calls, ", ")
	m.mu.Unlock()
	if want := "enable edgecore.service, reload, restart edgecore.service, stop edgecore.service, disable edgecore.service, reload"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	var job *JobError
	if err := c.Restart(ctx, name); !errors.As(err, &job) || job.Result != "timeout" {
		t.Error(err)
	}
}
