package shutdown_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/shutdown"
	"github.com/edgekit/edgekit/edged/shutdown/shutdowntest"
)

// podSet is the Pods of a Manager. A pod ends after its own time, or never.
type podSet struct {
	began time.Time
	takes map[string]time.Duration

	mu      sync.Mutex
	pods    []*corev1.Pod
	ended   map[types.UID]time.Time
	calls   []string
	resumed int
}

func (s *podSet) add(name string, priority int32, grace int64, takes time.Duration) {
	p := &corev1.Pod{}
	p.Name, p.UID = name, types.UID(name)
	p.Spec.Priority, p.Spec.TerminationGracePeriodSeconds = &priority, &grace
	s.pods = append(s.pods, p)
	if s.takes == nil {
		s.takes, s.ended, s.began = make(map[string]time.Duration), make(map[types.UID]time.Time), time.Now()
	}
	s.takes[name] = takes
}

// restart has times count from now on.
func (s *podSet) restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.began = time.Now()
}

func (s *podSet) Active() []*corev1.Pod { return s.pods }

func (s *podSet) End(uid types.UID, grace time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, fmt.Sprintf("%s %s at %s", uid, grace, time.Since(s.began).Round(time.Second)))
	s.ended[uid] = time.Now().Add(s.takes[string(uid)])
	return true
}

func (s *podSet) HasEnded(uid types.UID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !time.Now().Before(s.ended[uid])
}

func (s *podSet) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resumed++
}

func (s *podSet) said() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// start runs a Manager until the end of the test's bubble.
func start(t *testing.T, cfg shutdown.Config) *shutdown.Manager {
	t.Helper()
	if cfg.ConfigDir == "" {
		cfg.ConfigDir = t.TempDir()
	}
	m, err := shutdown.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	synctest.Wait()
	return m
}

const critical = 2_000_000_000

// TestOrder ends pods by priority: those of one group together, each within its own grace
// period and the group's time, the next group when the one before has ended or its time is over.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logind := &shutdowntest.Logind{Delay: 5 * time.Second, ReloadTo: time.Minute}
		dir, events, flushed := t.TempDir(), []string{}, 0
		pods := &podSet{}
		pods.add("app", 0, 30, 2*time.Second)
		pods.add("short", -5, 1, time.Second)
		pods.add("stuck", 1000, 600, time.Hour)
		pods.add("cni", critical, 30, 3*time.Second)
		m := start(t, shutdown.Config{
			Dial: logind.Dial, Periods: shutdown.Periods(30*time.Second, 10*time.Second), Pods: pods, ConfigDir: dir, StateFile: filepath.Join(dir, "state"),
			Flush: func(context.Context) { flushed++ }, Event: func(_, reason, message string) { events = append(events, reason+": "+message) },
		})
		time.Sleep(time.Second) // logind takes its time to read the file
		synctest.Wait()
		if logind.Locks() != 1 || logind.Reloads() != 1 || m.ShuttingDown() {
			t.Fatalf("%d locks, %d reloads, down %v", logind.Locks(), logind.Reloads(), m.ShuttingDown())
		}
		text, err := os.ReadFile(filepath.Join(dir, "99-zz-edgecore.conf"))
		if err != nil || !strings.HasSuffix(string(text), "[Login]\nInhibitDelayMaxSec=30\n") {
			t.Fatalf("%q %v", text, err)
		}
		synctest.Wait()
		pods.restart()
		if err := logind.Prepare(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !m.ShuttingDown() || logind.Locks() != 1 {
			t.Errorf("during it: down %v, %d locks", m.ShuttingDown(), logind.Locks())
		}
		if err := logind.WaitLocks(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		want := []string{"app 20s at 0s", "short 1s at 0s", "stuck 20s at 0s", "cni 10s at 20s"}
		if got := pods.said(); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if flushed != 1 || !slices.Equal(events, []string{"NodeShutdown: Shutdown manager detected shutdown event"}) {
			t.Errorf("flushed %d times, events %q", flushed, events)
		}
		began, ended := values(t, m)
		if d := ended - began; d < 22.9 || d > 24 {
			t.Errorf("the shutdown took %.1f s by its metrics, want 23", d)
		}
		again := start(t, shutdown.Config{Dial: logind.Dial, Periods: shutdown.Periods(time.Second, 0), Pods: pods, StateFile: filepath.Join(dir, "state")})
		if b, e := values(t, again); b != began || e != ended {
			t.Errorf("after the boot: %v %v, want %v %v", b, e, began, ended)
		}
	})
}

// values are the two metrics.
func values(t *testing.T, m *shutdown.Manager) (start, end float64) {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(m)
	all, err := r.Gather()
	if err != nil || len(all) != 2 {
		t.Fatalf("%v %v", all, err)
	}
	if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	return all[1].Metric[0].Gauge.GetValue(), all[0].Metric[0].Gauge.GetValue()
}

// TestCancelled: a shutdown that is cancelled ends no further pod, the node is back, and
// the lock is held again; the next shutdown is like the first.
func TestCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logind := &shutdowntest.Logind{Delay: time.Minute}
		pods := &podSet{}
		pods.add("app", 0, 30, time.Hour)
		pods.add("cni", critical, 30, time.Second)
		changes := 0
		m := start(t, shutdown.Config{Dial: logind.Dial, Periods: shutdown.Periods(30*time.Second, 10*time.Second), Pods: pods, Changed: func() { changes++ }})
		for _, down := range []bool{true, false} {
			if err := logind.Prepare(t.Context(), down); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if m.ShuttingDown() || logind.Locks() != 1 || pods.resumed != 1 || changes != 2 {
			t.Errorf("down %v, %d locks, resumed %d, %d changes", m.ShuttingDown(), logind.Locks(), pods.resumed, changes)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := pods.said(); len(got) != 1 {
			t.Errorf("ended %q", got)
		}
		if err := logind.Prepare(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if err := logind.WaitLocks(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if got := pods.said(); len(got) != 3 || !m.ShuttingDown() {
			t.Errorf("ended %q", got)
		}
	})
}

// TestWithoutLogind: one line says that there is none, and the Manager finds it later, and
// again after the bus was lost.
func TestWithoutLogind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logind := &shutdowntest.Logind{Delay: time.Minute}
		logind.SetMissing(errors.New("no bus"))
		var log bytes.Buffer
		pods := &podSet{}
		start(t, shutdown.Config{Dial: logind.Dial, Periods: shutdown.Periods(time.Second, 0), Pods: pods, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := strings.Count(log.String(), "no graceful shutdown"); n != 1 {
			t.Errorf("%d lines: %s", n, log.String())
		}
		logind.SetMissing(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if logind.Locks() != 1 {
			t.Fatalf("%d locks", logind.Locks())
		}
		logind.Disconnect()
		time.Sleep(time.Minute)
		synctest.Wait()
		if logind.Locks() != 1 {
			t.Errorf("%d locks after the bus was lost", logind.Locks())
		}
	})
}

// TestCancelledUnseen: the bus is lost during a shutdown, which is cancelled before there is
// another connection. The node takes pods again.
func TestCancelledUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logind := &shutdowntest.Logind{Delay: time.Minute}
		pods := &podSet{}
		m := start(t, shutdown.Config{Dial: logind.Dial, Periods: shutdown.Periods(time.Second, 0), Pods: pods})
		if err := logind.Prepare(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		logind.Disconnect()
		time.Sleep(time.Minute)
		synctest.Wait()
		if !m.ShuttingDown() || logind.Locks() != 0 {
			t.Fatalf("during it: down %v, %d locks", m.ShuttingDown(), logind.Locks())
		}
		logind.Disconnect()
		if err := logind.Prepare(t.Context(), false); err == nil {
			t.Fatal("somebody has seen the end")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if m.ShuttingDown() || logind.Locks() != 1 || pods.resumed != 1 {
			t.Errorf("down %v, %d locks, resumed %d", m.ShuttingDown(), logind.Locks(), pods.resumed)
		}
	})
}

// TestBusLostDuringShutdown: the bus is lost while pods end. The order goes on, in its times, and
// the machine waits for it.
func TestBusLostDuringShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logind := &shutdowntest.Logind{Delay: time.Minute}
		var log bytes.Buffer
		flushed := 0
		pods := &podSet{}
		pods.add("app", 0, 30, 20*time.Second)
		pods.add("cni", critical, 30, 3*time.Second)
		m := start(t, shutdown.Config{
			Dial: logind.Dial, Periods: shutdown.Periods(40*time.Second, 10*time.Second), Pods: pods,
			Flush: func(context.Context) { flushed++ }, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		pods.restart()
		if err := logind.Prepare(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		logind.Disconnect()
		logind.SetMissing(errors.New("no bus")) // one connection fails, the next finds the shutdown
		time.Sleep(12 * time.Second)
		synctest.Wait()
		logind.SetMissing(nil)
		if !m.ShuttingDown() || logind.Locks() != 1 || pods.resumed != 0 {
			t.Fatalf("after 12 s: down %v, %d locks, resumed %d", m.ShuttingDown(), logind.Locks(), pods.resumed)
		}
		if err := logind.WaitLocks(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if got, want := pods.said(), []string{"app 30s at 0s", "cni 10s at 20s"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if d := time.Since(pods.began); d < 22*time.Second || d > 24*time.Second {
			t.Errorf("the lock was released after %s, want 23 s", d)
		}
		if flushed != 1 || !m.ShuttingDown() || pods.resumed != 0 {
			t.Errorf("flushed %d times, down %v, resumed %d", flushed, m.ShuttingDown(), pods.resumed)
		}
		if strings.Contains(log.String(), "there is no graceful shutdown") || !strings.Contains(log.String(), "ended in order all the same") {
			t.Errorf("the log: %s", log.String())
		}
	})
}

// TestCancelledWhileBusWasLost: a shutdown is cancelled while the bus is lost and pods end. The next
// connection finds that out: no further pod is ended.
func TestCancelledWhileBusWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logind := &shutdowntest.Logind{Delay: time.Hour}
		pods := &podSet{}
		pods.add("app", 0, 600, time.Hour)
		pods.add("cni", critical, 30, time.Second)
		m := start(t, shutdown.Config{Dial: logind.Dial, Periods: shutdown.Periods(11*time.Minute, time.Minute), Pods: pods})
		if err := logind.Prepare(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		logind.Disconnect()
		if err := logind.Prepare(t.Context(), false); err == nil {
			t.Fatal("somebody has seen the end")
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if m.ShuttingDown() || logind.Locks() != 1 || pods.resumed != 1 {
			t.Errorf("down %v, %d locks, resumed %d", m.ShuttingDown(), logind.Locks(), pods.resumed)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := pods.said(); len(got) != 1 || logind.Locks() != 1 {
			t.Errorf("ended %q, %d locks", got, logind.Locks())
		}
	})
}

// TestHugeGrace: a grace period that is no time.Duration is as long as the group's time.
func TestHugeGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logind := &shutdowntest.Logind{Delay: time.Minute}
		pods := &podSet{}
		pods.add("app", 0, 1<<62, 0)
		pods.add("other", 0, 10_000_000_000, 0)
		start(t, shutdown.Config{Dial: logind.Dial, Periods: shutdown.Periods(10*time.Second, 0), Pods: pods})
		if err := logind.Prepare(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if err := logind.WaitLocks(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if got, want := pods.said(), []string{"app 10s at 0s", "other 10s at 0s"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestLogindWaitsLess: logind refuses a longer delay. The groups share what there is.
func TestLogindWaitsLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logind := &shutdowntest.Logind{Delay: 5 * time.Second}
		var log bytes.Buffer
		pods := &podSet{}
		pods.add("app", 0, 30, time.Hour)
		pods.add("cni", critical, 30, 0)
		start(t, shutdown.Config{Dial: logind.Dial, Periods: shutdown.Periods(30*time.Second, 10*time.Second), Pods: pods, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !strings.Contains(log.String(), "does not wait as long") || logind.Locks() != 1 {
			t.Fatalf("%d locks, %s", logind.Locks(), log.String())
		}
		synctest.Wait()
		pods.restart()
		if err := logind.Prepare(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if err := logind.WaitLocks(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if got, want := pods.said(), []string{"app 5s at 0s", "cni 0s at 5s"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestNew(t *testing.T) {
	pods, dial := &podSet{}, (&shutdowntest.Logind{}).Dial
	periods := shutdown.Periods(time.Second, 0)
	for name, cfg := range map[string]shutdown.Config{
		"Dial":      {Periods: periods, Pods: pods},
		"Pods":      {Dial: dial, Periods: periods},
		"empty":     {Dial: dial, Pods: pods},
		"negative":  {Dial: dial, Pods: pods, Periods: []shutdown.Period{{Grace: -time.Second}, {Priority: 1, Grace: 2 * time.Second}}},
		"whole":     {Dial: dial, Pods: pods, Periods: []shutdown.Period{{Grace: time.Millisecond}}},
		"twice":     {Dial: dial, Pods: pods, Periods: []shutdown.Period{{Grace: time.Second}, {Grace: time.Second}}},
		"ConfigDir": {Dial: dial, Pods: pods, Periods: periods, ConfigDir: "etc"},
	} {
		if _, err := shutdown.New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
