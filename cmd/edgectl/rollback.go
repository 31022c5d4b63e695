package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/systemd"
	"github.com/edgekit/edgekit/edged/jobs"
	"github.com/edgekit/edgekit/edged/upgrade"
)

// rollbackCmd goes back to the program before.
type rollbackCmd struct {
	localFlags
	To     string `help:"Go back only if this is the version before." placeholder:"VERSION"`
	NoWait bool   `help:"Do not wait until edgecore has started again."`

	connect func(context.Context) (services, error) // nil is connectSystemd
}

// Help has examples.
func (rollbackCmd) Help() string {
	return `edgectl rollback
edgectl rollback --to v1.2.3

Pods go on meanwhile. The cloud is not needed. If edgecore does not run, for example because it cannot start, the version that the next start runs is changed on the disk:

systemctl stop edgecore
edgectl rollback
systemctl start edgecore`
}

// Run asks the node to go back, and waits until it has. If edgecore does not run, it changes what
// the next start runs.
func (r *rollbackCmd) Run(ctx context.Context, out program.Output) error {
	var s jobs.Status
	err := r.ask(ctx, "/rollback", jobs.Rollback{To: r.To}, &s)
	if isStopped(err) {
		return r.onDisk(ctx, out)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "edgecore goes back from %s to %s\n", s.From, s.Version)
	if r.NoWait {
		return nil
	}
	return r.poll(ctx, func(list jobs.List) (bool, error) {
		var state struct{ Version string }
		if err := json.Unmarshal(list.Upgrade, &state); err != nil || state.Version == s.From && s.From != s.Version {
			return false, err
		}
		fmt.Fprintf(out, "%s runs\n", state.Version)
		return true, nil
	})
}

// isStopped reports whether nobody answers on the node's socket.
func isStopped(err error) bool {
	usage, ok := errors.AsType[*program.UsageError](err)
	return errors.Is(err, syscall.ECONNREFUSED) || ok && usage.Setting == "data-dir"
}

// onDisk goes back on the disk of a node whose edgecore does not run.
func (r *rollbackCmd) onDisk(ctx context.Context, out program.Output) error {
	if _, err := os.Stat(r.DataDir); err != nil {
		return &program.UsageError{Setting: "data-dir", Reason: err.Error() + ": give the data folder of edgecore"}
	}
	managed, err := r.checkStopped(ctx)
	if err != nil {
		return err
	}
	if err := checkUnused(r.DataDir); err != nil {
		return err
	}
	next, err := upgrade.RollbackStopped(r.DataDir, r.To, "rolled back at the machine while edgecore did not run", time.Now())
	switch {
	case errors.Is(err, upgrade.ErrNothing):
		return errors.New("edgecore does not run, and there is nothing to go back to: the next start runs the program of the package")
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: only root may change what the node runs", err)
	case err != nil:
		return err
	}
	place := "the program of the package"
	if next.Slot != upgrade.Base {
		place = "slot " + next.Slot.String()
	}
	fmt.Fprintf(out, "edgecore does not run. The next start runs %s (%s) and not %s\n", next.Version, place, next.Instead)
	if managed {
		fmt.Fprintln(out, "start it: systemctl start edgecore")
	}
	return nil
}

// checkStopped refuses to go on while systemd runs edgecore or is about to start it, because
// edgecore changes the same record. managed says that systemd has a unit for it.
func (r *rollbackCmd) checkStopped(ctx context.Context) (managed bool, err error) {
	connect := r.connect
	if connect == nil {
		connect = connectSystemd
	}
	sd, err := connect(ctx)
	if errors.Is(err, systemd.ErrNotBooted) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer sd.Close()
	state, err := sd.State(ctx, serviceName)
	if err != nil {
		return false, err
	}
	switch state.Active {
	case "active", "activating", "reloading", "deactivating":
		return true, fmt.Errorf("edgecore does not answer, and its service is %s: stop it first, so that it does not change the same files: systemctl stop edgecore", state.Active)
	}
	return state.Loaded, nil
}
