package shutdown

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/lifecycle"
)

const (
	redial       = 10 * time.Second       // after logind could not be reached, or was lost
	firstReload  = 100 * time.Millisecond // how long a reload of logind takes; doubling
	reloadChecks = 6
	endedCheck   = 200 * time.Millisecond // how often the pods of a group are looked at
	flushMargin  = 2 * time.Second        // for Config.Flush, beyond the periods
)

// dropIn is the name of the file for logind. The last file in the order of names counts;
// a kubelet's is 99-kubelet.conf.
const dropIn = "99-zz-edgecore.conf"

// Manager delays shutdowns of the machine until the node's pods have ended. See the
// package comment.
type Manager struct {
	cfg   Config
	log   *slog.Logger
	guard lifecycle.Guard

	// Of Run.
	failed string // why there is no logind, as last logged
	// ending cancels the goroutine that ends pods and waits for it; nil if there is none. It outlives
	// a connection: the lock is a file of this program, which logind respects without the bus.
	ending func()

	mu   sync.Mutex
	down bool
	last times
}

// New checks cfg and makes a Manager. It does no I/O.
func New(cfg Config) (*Manager, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	cfg.Periods = slices.Clone(cfg.Periods)
	return &Manager{cfg: cfg, log: cfg.Logger}, nil
}

// ShuttingDown reports whether the machine is about to shut down: the node is not ready and
// takes no pods.
func (m *Manager) ShuttingDown() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.down
}

// Run holds a lock and follows shutdowns until ctx ends; then it releases the lock and
// returns nil. A second call returns edged.ErrStarted.
func (m *Manager) Run(ctx context.Context) error {
	if err := m.guard.Start(); err != nil {
		return err
	}
	m.loadTimes()
	defer m.stopEnding()
	for {
		err := m.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		m.logFailed(err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(redial):
		}
	}
}

// logFailed logs why there is no connection to logind, once for each reason.
func (m *Manager) logFailed(err error) {
	if m.failed == err.Error() {
		return
	}
	m.failed = err.Error()
	if m.ShuttingDown() {
		m.log.Warn("systemd-logind cannot be used during a shutdown: pods are ended in order all the same; whether the shutdown is cancelled is looked for from time to time", "err", err)
		return
	}
	m.log.Warn("there is no graceful shutdown of this node: systemd-logind cannot be used; trying again from time to time", "err", err)
}

// session uses one connection to logind until it is lost, or ctx ends. A shutdown that it began
// goes on without it.
func (m *Manager) session(ctx context.Context) error {
	conn, err := m.cfg.Dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	delay, err := m.raiseDelay(ctx, conn)
	if err != nil {
		return err
	}
	events, err := conn.Watch(ctx) // first: no shutdown may begin between the two unseen
	if err != nil {
		return err
	}
	lock, err := conn.Inhibit(ctx)
	if err != nil {
		return err
	}
	defer func() { // whichever lock is held at the return
		if m.ending == nil {
			lock.Close()
		}
	}()
	if m.ShuttingDown() { // logind grants no lock during a shutdown: it was cancelled while there was no connection
		m.stopEnding()
		m.setDown(false)
		m.cfg.Pods.Resume()
	}
	m.failed = ""
	m.log.Info("shutdowns of this machine wait for its pods", "at most", delay)
	for {
		select {
		case <-ctx.Done():
			return nil
		case down, ok := <-events:
			if !ok {
				return errors.New("the connection to the message bus was lost")
			}
			m.stopEnding()
			m.setDown(down)
			if down {
				m.ending = m.startEnding(ctx, lock, delay)
				continue
			}
			m.cfg.Pods.Resume()
			fresh, err := conn.Inhibit(ctx)
			if err != nil {
				return err
			}
			lock.Close() // closed already if all pods had ended
			lock = fresh
		}
	}
}

// setDown notes whether the machine shuts down, and reports a change.
func (m *Manager) setDown(down bool) {
	m.mu.Lock()
	same := m.down == down
	m.down = down
	m.mu.Unlock()
	if same {
		return
	}
	what := "shutdown event"
	if !down {
		what = "shutdown cancellation"
	}
	m.log.Info("the machine prepares to shut down, or has cancelled that", "down", down)
	m.cfg.Event(corev1.EventTypeNormal, RejectReason, "Shutdown manager detected "+what)
	m.cfg.Changed()
}

// startEnding ends the pods in a goroutine, which then releases the lock. The function that
// it returns cancels the goroutine and waits for it.
func (m *Manager) startEnding(ctx context.Context, lock io.Closer, delay time.Duration) func() {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer lock.Close()
		m.endPods(ctx, delay)
	}()
	return func() {
		cancel()
		<-done
	}
}

// stopEnding ends the goroutine of startEnding, if there is one.
func (m *Manager) stopEnding() {
	if m.ending != nil {
		m.ending()
		m.ending = nil
	}
}

// endPods ends all pods, group by group, within delay in sum.
func (m *Manager) endPods(ctx context.Context, delay time.Duration) {
	began := time.Now()
	m.saveTimes(times{Start: began})
	for _, g := range groups(m.cfg.Periods, m.cfg.Pods.Active()) {
		left := min(g.Grace, delay-time.Since(began))
		if len(g.pods) == 0 || ctx.Err() != nil {
			continue
		}
		m.endGroup(ctx, g, max(left, 0))
	}
	if ctx.Err() != nil {
		return // cancelled: nothing has ended
	}
	flush, cancel := context.WithTimeout(ctx, min(flushMargin, max(delay-time.Since(began), 0)))
	m.cfg.Flush(flush)
	cancel()
	m.saveTimes(times{Start: began, End: time.Now()})
	m.log.Info("the node's pods have ended, and the machine may shut down", "after", time.Since(began).Round(time.Millisecond))
}

// endGroup ends the pods of a group and waits for them, for limit at the most.
func (m *Manager) endGroup(ctx context.Context, g *group, limit time.Duration) {
	var wait []*corev1.Pod
	for _, pod := range g.pods {
		grace := limit
		if s := pod.Spec.TerminationGracePeriodSeconds; s != nil && *s < int64(limit/time.Second)+1 { // more than that may overflow
			grace = min(grace, time.Duration(max(*s, 0))*time.Second)
		}
		if m.cfg.Pods.End(pod.UID, grace) {
			wait = append(wait, pod)
		}
	}
	over := time.NewTimer(limit)
	defer over.Stop()
	tick := time.NewTicker(endedCheck)
	defer tick.Stop()
	for {
		wait = slices.DeleteFunc(wait, func(p *corev1.Pod) bool { return m.cfg.Pods.HasEnded(p.UID) })
		if len(wait) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-over.C:
			m.log.Warn("pods have not ended in their time before the shutdown", "priority", g.Priority, "time", limit, "pods", len(wait), "first", wait[0].Namespace+"/"+wait[0].Name)
			return
		case <-tick.C:
		}
	}
}

// raiseDelay has logind wait as long as the periods need, and returns how long it waits.
func (m *Manager) raiseDelay(ctx context.Context, conn Logind) (time.Duration, error) {
	need := total(m.cfg.Periods)
	have, err := conn.InhibitDelay(ctx)
	if err != nil || have >= need {
		return have, err
	}
	err = m.writeDropIn(need)
	if err == nil {
		err = conn.Reload(ctx)
	}
	pause := firstReload
	for range reloadChecks {
		if err != nil || have >= need {
			break
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(pause):
		}
		pause *= 2
		if have, err = conn.InhibitDelay(ctx); err != nil {
			return 0, err // 0 would end pods without any grace
		}
	}
	if have < need {
		m.log.Warn("systemd-logind does not wait as long as the pods have: those that are ended last get less time; set InhibitDelayMaxSec in logind.conf",
			"waits", have, "needed", need, "file", filepath.Join(m.cfg.ConfigDir, dropIn), "err", err)
	}
	return have, nil
}

// writeDropIn writes the file that has logind wait for d.
func (m *Manager) writeDropIn(d time.Duration) error {
	text := fmt.Appendf(nil, "# Written by edgecore: its --shutdown-grace-period needs this.\n[Login]\nInhibitDelayMaxSec=%d\n", int64(d.Seconds()))
	name := filepath.Join(m.cfg.ConfigDir, dropIn)
	have, err := os.ReadFile(name)
	if err == nil && string(have) == string(text) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(m.cfg.ConfigDir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, text, 0o644)
}
