package sdnotify

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"
)

// Config sets up a Reporter. Only Healthy is required.
type Config struct {
	// Healthy reports whether the program does its work. It is called from one goroutine.
	Healthy func(ctx context.Context) error
	// Status calls set with a line of text about what the program does, at each change,
	// until ctx ends. nil reports none.
	Status func(ctx context.Context, set func(line string))
	// Continues reports, once ctx has ended, whether the process goes on: STOPPING is not
	// reported then, for systemd kills a process that stays after it. nil means that it ends.
	Continues func() bool
	Logger    *slog.Logger // nil discards

	send func(state string) error // nil means to systemd, if it has started the program
	// watchdog is the time within which systemd wants to hear of the program; 0 means what
	// systemd says.
	watchdog time.Duration
}

// Reporter reports the state of a program to systemd.
type Reporter struct{ cfg Config }

// New makes a Reporter.
func New(cfg Config) *Reporter {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Reporter{cfg}
}

// firstChecks is the pause between two calls of Healthy before the program is ready.
const firstChecks = 200 * time.Millisecond

// Run reports READY once Healthy returns nil, then feeds the watchdog while that goes on,
// and reports STOPPING when ctx ends. It returns nil.
func (r *Reporter) Run(ctx context.Context) error {
	send, interval := r.cfg.send, r.cfg.watchdog
	if send == nil {
		send = func(state string) error {
			_, err := daemon.SdNotify(false, state)
			return err
		}
	}
	if interval == 0 {
		var err error
		if interval, err = daemon.SdWatchdogEnabled(false); err != nil {
			r.cfg.Logger.Warn("the watchdog of systemd is not fed: its interval cannot be read", "err", err)
		}
	}
	notify := func(state string) {
		if err := send(state); err != nil {
			r.cfg.Logger.Warn("systemd cannot be notified", "state", state, "err", err)
		}
	}
	if !r.waitHealthy(ctx) {
		return nil
	}
	notify(daemon.SdNotifyReady)
	if interval > 0 {
		notify(watchdogIn(interval)) // Replaced may have made it longer
	}
	group, ctx := errgroup.WithContext(ctx)
	if r.cfg.Status != nil {
		group.Go(func() error {
			r.cfg.Status(ctx, func(line string) { notify("STATUS=" + oneLine(line)) })
			return nil
		})
	}
	group.Go(func() error {
		r.feed(ctx, interval, notify)
		if r.cfg.Continues == nil || !r.cfg.Continues() {
			notify(daemon.SdNotifyStopping)
		}
		return nil
	})
	return group.Wait()
}

// waitHealthy waits for the first success of Healthy. It is false when ctx ended first.
func (r *Reporter) waitHealthy(ctx context.Context) bool {
	tick := time.NewTicker(firstChecks)
	defer tick.Stop()
	for r.cfg.Healthy(ctx) != nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// feed feeds the watchdog, at a third of its interval, until ctx ends. An interval of 0
// means that there is none.
func (r *Reporter) feed(ctx context.Context, interval time.Duration, notify func(string)) {
	if interval <= 0 {
		<-ctx.Done()
		return
	}
	tick := time.NewTicker(max(interval/3, time.Millisecond))
	defer tick.Stop()
	for {
		err := r.cfg.Healthy(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			r.cfg.Logger.Error("the program is not healthy: systemd restarts it unless it recovers", "err", err, "watchdog", interval)
		default:
			notify(daemon.SdNotifyWatchdog)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// replacedLimit is how long a program that replaces this one may take until it is ready: as long
// as systemd waits for a first start (TimeoutStartSec of the units).
const replacedLimit = 15 * time.Minute

// Replaced reports that another program replaces this one in its process. To systemd the service
// is running, so that its watchdog goes on: it gets the time that a start may take, until the
// Reporter of the other program is ready. It returns an error if systemd does not listen.
func Replaced() error {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval <= 0 {
		return err
	}
	_, err = daemon.SdNotify(false, daemon.SdNotifyWatchdog+"\n"+watchdogIn(max(interval, replacedLimit)))
	return err
}

// watchdogIn sets the interval of the watchdog.
func watchdogIn(interval time.Duration) string {
	return fmt.Sprintf("WATCHDOG_USEC=%d", interval.Microseconds())
}

// Failed reports the line with which a program ends, so that systemctl status and 'edgectl
// join' show it. The error of a report is of no use to a program that ends.
func Failed(line string) {
	_, _ = daemon.SdNotify(false, "STATUS="+oneLine(line))
}

// oneLine keeps text from setting other variables of the protocol.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
