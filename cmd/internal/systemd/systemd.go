// Package systemd enables, starts and stops a service of this machine by systemd's D-Bus
// interface, and looks at it. No program is run for it.
package systemd

import (
	"context"
	_ "embed" // the unit
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Unit is edgecore's unit as packages install it: cmd/edgecore/edgecore.service.
//
//go:embed edgecore.service
var unit string

// Program is the path of edgecore in the unit.
const Program = "/usr/bin/edgecore"

// UnitFor is edgecore's unit with the program at another path.
func UnitFor(program string) string {
	return strings.Replace(unit, "ExecStart="+Program+"\n", "ExecStart="+program+"\n", 1)
}

// UnitDir is where units of the machine's administrator are.
const UnitDir = "/etc/systemd/system"

// State is what systemd says of a service.
type State struct {
	Loaded  bool   // there is a unit
	Path    string // the unit's file; "" without one
	Enabled bool   // it is started at boot
	Active  string // "active", "activating", "inactive", "failed" ...
	Result  string // why it ended: "success", "exit-code", "watchdog", "timeout" ...
	Exit    int    // the exit status of its last run
	Status  string // the line that it has reported
}

// ErrNotBooted says that systemd does not run the machine.
var ErrNotBooted = errors.New("systemd does not run this machine")

// Conn is a connection to systemd. It may be used by several goroutines.
type Conn struct{ bus *dbus.Conn }

// Connect connects to systemd. ctx ends the connection. Its error is ErrNotBooted on a
// machine that systemd does not run.
func Connect(ctx context.Context) (*Conn, error) {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return nil, ErrNotBooted
	}
	bus, err := dbus.NewWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("systemd: connect: %w: run as root", err)
	}
	return &Conn{bus}, nil
}

// Close ends the connection.
func (c *Conn) Close() { c.bus.Close() }

// State looks at a service, by its name with ".service".
func (c *Conn) State(ctx context.Context, name string) (State, error) {
	all, err := c.bus.GetAllPropertiesContext(ctx, name)
	if err != nil {
		return State{}, fmt.Errorf("systemd: look at %s: %w", name, err)
	}
	text := func(key string) string { s, _ := all[key].(string); return s }
	exit, _ := all["ExecMainStatus"].(int32)
	return State{
		Loaded: text("LoadState") == "loaded", Path: text("FragmentPath"), Enabled: strings.HasPrefix(text("UnitFileState"), "enabled"),
		Active: text("ActiveState"), Result: text("Result"), Exit: int(exit), Status: text("StatusText"),
	}, nil
}

// Enable has a service started at boot.
func (c *Conn) Enable(ctx context.Context, name string) error {
	if _, _, err := c.bus.EnableUnitFilesContext(ctx, []string{name}, false, false); err != nil {
		return fmt.Errorf("systemd: enable %s: %w", name, err)
	}
	return c.Reload(ctx)
}

// Disable undoes Enable.
func (c *Conn) Disable(ctx context.Context, name string) error {
	if _, err := c.bus.DisableUnitFilesContext(ctx, []string{name}, false); err != nil {
		return fmt.Errorf("systemd: disable %s: %w", name, err)
	}
	return c.Reload(ctx)
}

// Reload has systemd read its units again.
func (c *Conn) Reload(ctx context.Context) error {
	if err := c.bus.ReloadContext(ctx); err != nil {
		return fmt.Errorf("systemd: reload: %w", err)
	}
	return nil
}

// JobError says that a service could not be started or stopped.
type JobError struct {
	Verb, Name string
	Result     string // systemd's: "failed", "timeout", "canceled", "dependency", "skipped"
}

func (e *JobError) Error() string {
	return fmt.Sprintf("systemd: %s %s: the job ended with %q", e.Verb, e.Name, e.Result)
}

// Restart starts a service, again if it runs, and waits until it is ready. A service that
// fails is a *JobError.
func (c *Conn) Restart(ctx context.Context, name string) error {
	_ = c.bus.ResetFailedUnitContext(ctx, name) // one that has not failed cannot be reset
	return c.wait(ctx, "start", name, func(done chan<- string) (int, error) {
		return c.bus.RestartUnitContext(ctx, name, "replace", done)
	})
}

// Stop stops a service and waits until it has ended.
func (c *Conn) Stop(ctx context.Context, name string) error {
	return c.wait(ctx, "stop", name, func(done chan<- string) (int, error) {
		return c.bus.StopUnitContext(ctx, name, "replace", done)
	})
}

// wait queues a job and waits for its end.
func (c *Conn) wait(ctx context.Context, verb, name string, queue func(chan<- string) (int, error)) error {
	done := make(chan string, 1)
	if _, err := queue(done); err != nil {
		return fmt.Errorf("systemd: %s %s: %w", verb, name, err)
	}
	select {
	case result := <-done:
		if result != "done" {
			return &JobError{verb, name, result}
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("systemd: %s %s: %w", verb, name, ctx.Err())
	}
}

// UnitPath is where Install puts a unit.
func UnitPath(name string) string { return filepath.Join(UnitDir, name) }
