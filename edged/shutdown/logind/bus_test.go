package logind_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/shutdown"
	"github.com/edgekit/edgekit/edged/shutdown/logind"
	"github.com/edgekit/edgekit/edged/shutdown/shutdowntest"
)

// wait bounds what a loaded machine does in no time otherwise.
const wait = 2 * time.Minute

// bus starts a message bus of the test's own. It returns its address, and what kills it.
func bus(t *testing.T) (address string, kill func()) {
	t.Helper()
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("needs dbus-daemon")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "bus.conf")
	text := fmt.Sprintf(`<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=%s</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`, filepath.Join(dir, "bus"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "--config-file="+config, "--nofork", "--nopidfile", "--print-address")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		cancel()
		_ = cmd.Wait()
	})
	t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line), kill
}

// onePod is the Pods of a node with one pod, which ends at once.
type onePod struct {
	mu      sync.Mutex
	ended   int
	resumed chan struct{}
}

func (p *onePod) Active() []*corev1.Pod   { return []*corev1.Pod{{}} }
func (p *onePod) HasEnded(types.UID) bool { return true }
func (p *onePod) Resume()                 { p.resumed <- struct{}{} }
func (p *onePod) End(types.UID, time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended++
	return true
}

// TestBus uses a real message bus, with a stand-in of logind on it: the delay is raised by
// a file and SIGHUP through systemd, the lock is a file that is held open, a shutdown is
// announced by a signal, its cancellation too, and the lock is released when the pods have ended.
func TestBus(t *testing.T) {
	address, _ := bus(t)
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	machine := &shutdowntest.Logind{Delay: 5 * time.Second, ReloadTo: 30 * time.Second}
	prepared := make(chan func(bool) error, 1)
	wg.Go(func() {
		if err := shutdowntest.ServeBus(ctx, address, machine, func(prepare func(bool) error) { prepared <- prepare }); err != nil {
			t.Error(err)
		}
	})
	var prepare func(bool) error
	select {
	case prepare = <-prepared:
	case <-ctx.Done():
		t.Fatal("the stand-in is not there")
	}
	pods := &onePod{resumed: make(chan struct{}, 8)}
	dir := t.TempDir()
	m, err := shutdown.New(shutdown.Config{
		Dial:    func(ctx context.Context) (shutdown.Logind, error) { return logind.DialBus(ctx, address) },
		Periods: shutdown.Periods(30*time.Second, 10*time.Second), Pods: pods, ConfigDir: filepath.Join(dir, "logind.conf.d"),
	})
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	wg.Go(func() { done <- m.Run(running) })
	locks := func(n int) {
		t.Helper()
		if err := machine.WaitLocks(ctx, n); err != nil {
			t.Fatalf("not %d locks but %d: %v", n, machine.Locks(), err)
		}
	}
	locks(1)
	if machine.Reloads() != 1 {
		t.Errorf("%d reloads", machine.Reloads())
	}
	if text, err := os.ReadFile(filepath.Join(dir, "logind.conf.d", "99-zz-edgecore.conf")); err != nil || !strings.Contains(string(text), "InhibitDelayMaxSec=30\n") {
		t.Errorf("%q %v", text, err)
	}
	for range 2 {
		if err := prepare(true); err != nil {
			t.Fatal(err)
		}
		locks(0)
		if !m.ShuttingDown() {
			t.Error("the node is not shutting down")
		}
		if err := prepare(false); err != nil {
			t.Fatal(err)
		}
		select {
		case <-pods.resumed:
		case <-ctx.Done():
			t.Fatal("the cancellation did not come")
		}
		locks(1)
	}
	if pods.ended != 2 || m.ShuttingDown() {
		t.Errorf("ended %d times, down %v", pods.ended, m.ShuttingDown())
	}
	stop()
	locks(0)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// slowPod is the Pods of a node with one pod, which ends when end is closed.
type slowPod struct{ began, end chan struct{} }

func (p *slowPod) Active() []*corev1.Pod { return []*corev1.Pod{{}} }
func (p *slowPod) Resume()               {}
func (p *slowPod) End(types.UID, time.Duration) bool {
	close(p.began)
	return true
}

func (p *slowPod) HasEnded(types.UID) bool {
	select {
	case <-p.end:
		return true
	default:
		return false
	}
}

// lostLog calls a function at each line of the log which says that the bus cannot be used during a
// shutdown: there is one for each reason, the loss and what the next connection finds.
type lostLog func()

func (l lostLog) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("cannot be used during a shutdown")) {
		l()
	}
	return len(line), nil
}

// TestBusDies kills the message bus while a pod ends before a shutdown: the lock stays held until the
// pod has ended, since it is a file and no part of the connection.
func TestBusDies(t *testing.T) {
	address, kill := bus(t)
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	machine := &shutdowntest.Logind{Delay: time.Minute}
	prepared := make(chan func(bool) error, 1)
	wg.Go(func() {
		if err := shutdowntest.ServeBus(ctx, address, machine, func(prepare func(bool) error) { prepared <- prepare }); err != nil {
			t.Error(err)
		}
	})
	var prepare func(bool) error
	select {
	case prepare = <-prepared:
	case <-ctx.Done():
		t.Fatal("the stand-in is not there")
	}
	pod := &slowPod{began: make(chan struct{}), end: make(chan struct{})}
	lost := make(chan struct{})
	m, err := shutdown.New(shutdown.Config{
		Dial:    func(ctx context.Context) (shutdown.Logind, error) { return logind.DialBus(ctx, address) },
		Periods: shutdown.Periods(30*time.Second, 10*time.Second), Pods: pod, ConfigDir: t.TempDir(),
		Logger: slog.New(slog.NewTextHandler(lostLog(sync.OnceFunc(func() { close(lost) })), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	wg.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := machine.WaitLocks(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if err := prepare(true); err != nil {
		t.Fatal(err)
	}
	for _, step := range []<-chan struct{}{pod.began, lost} {
		select {
		case <-step:
		case <-ctx.Done():
			t.Fatal("the pod was not ended, or the loss of the bus was not seen")
		}
		kill()
	}
	if machine.Locks() != 1 || !m.ShuttingDown() {
		t.Errorf("after the loss of the bus: %d locks, down %v", machine.Locks(), m.ShuttingDown())
	}
	close(pod.end)
	if err := machine.WaitLocks(ctx, 0); err != nil {
		t.Errorf("the lock is held after the pod's end: %v", err)
	}
}

// TestNoBus names the bus that is missing.
func TestNoBus(t *testing.T) {
	_, err := logind.DialBus(t.Context(), "unix:path="+filepath.Join(t.TempDir(), "none"))
	if err == nil || !strings.Contains(err.Error(), "message bus") {
		t.Error(err)
	}
}
