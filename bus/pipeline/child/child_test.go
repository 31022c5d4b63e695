package child_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline/child"
)

const patience = 30 * time.Second

// visitor is a program that has connected.
type visitor struct {
	net.Conn
	pid int
}

// visitors is a socket to which the programs connect.
func visitors(t *testing.T) (socket string, next func() visitor) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return socket, func() visitor {
		t.Helper()
		if err := l.(*net.UnixListener).SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		conn, err := l.Accept()
		if err != nil {
			t.Fatalf("no program came: %v", err)
		}
		t.Cleanup(func() { conn.Close() })
		line, err := bufio.NewReader(conn).ReadString('\n')
		pid, err2 := strconv.Atoi(strings.TrimSpace(line))
		if err != nil || err2 != nil {
			t.Fatal(line, err, err2)
		}
		return visitor{conn, pid}
	}
}

// ended waits until the program of v has ended.
func (v visitor) ended(t *testing.T) {
	t.Helper()
	if err := v.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("program %d still runs: %v", v.pid, err)
	}
}

// run runs a child until the test ends. It returns its states.
func run(t *testing.T, cfg child.Config, what string) (stop func(), states <-chan child.State) {
	t.Helper()
	changed := make(chan child.State, 1000)
	cfg.Changed = func(s child.State) { changed <- s }
	cfg.Env = append(cfg.Env, behaviour+"="+what)
	c, err := child.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
		if s := c.State(); s.Reason != child.ReasonStopped || s.PID != 0 {
			t.Errorf("after Run: %+v", s)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return stop, changed
}

// until returns the next state with a reason.
func until(t *testing.T, states <-chan child.State, reason child.Reason) child.State {
	t.Helper()
	limit := time.After(patience)
	for {
		select {
		case s := <-states:
			if s.Reason == reason {
				return s
			}
		case <-limit:
			t.Fatalf("no state %s", reason)
		}
	}
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestStops: the program ends with the Child, also one that ignores SIGTERM.
func TestStops(t *testing.T) {
	for _, what := range []string{"serve", "stubborn"} {
		t.Run(what, func(t *testing.T) {
			socket, next := visitors(t)
			stop, states := run(t, child.Config{Program: self(t), Args: []string{socket}, StopAfter: 200 * time.Millisecond}, what)
			v := next()
			if s := until(t, states, child.ReasonRunning); s.PID != v.pid {
				t.Errorf("%+v, the program is %d", s, v.pid)
			}
			stop()
			v.ended(t)
		})
	}
}

// TestKilled: a program that is killed is started again.
func TestKilled(t *testing.T) {
	socket, next := visitors(t)
	_, states := run(t, child.Config{Program: self(t), Args: []string{socket}, MinPause: time.Millisecond}, "serve")
	v := next()
	until(t, states, child.ReasonRunning)
	if err := syscall.Kill(v.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if s := until(t, states, child.ReasonCrashing); !strings.Contains(s.Message, "killed") {
		t.Errorf("%+v", s)
	}
	again := next()
	if s := until(t, states, child.ReasonRunning); again.pid == v.pid || s.Restarts != 1 {
		t.Errorf("%+v after %d", s, v.pid)
	}
}

// TestMissing: a program that is not there is started once it is.
func TestMissing(t *testing.T) {
	socket, next := visitors(t)
	path := filepath.Join(t.TempDir(), "program")
	_, states := run(t, child.Config{Program: path, Args: []string{socket}, MinPause: time.Millisecond, MaxPause: 10 * time.Millisecond}, "serve")
	if s := until(t, states, child.ReasonMissing); !strings.Contains(s.Message, "install the program") || strings.Count(s.Message, path) != 1 {
		t.Errorf("%+v", s)
	}
	if err := os.WriteFile(path+".text", []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".text", path); err != nil {
		t.Fatal(err)
	}
	for s := until(t, states, child.ReasonMissing); !strings.Contains(s.Message, "make the file executable"); {
		s = until(t, states, child.ReasonMissing)
	}
	if err := os.Symlink(self(t), path+".link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".link", path); err != nil {
		t.Fatal(err)
	}
	next()
	until(t, states, child.ReasonRunning)
}

// TestCrashes: the pause before a restart grows, and what the program writes is logged without
// control characters.
func TestCrashes(t *testing.T) {
	var out bytes.Buffer
	stop, states := run(t, child.Config{
		Program: self(t), MinPause: time.Millisecond, MaxPause: 4 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&out, nil)),
	}, "crash")
	for _, want := range []string{"1ms", "2ms", "4ms", "4ms"} {
		if s := until(t, states, child.ReasonCrashing); !strings.Contains(s.Message, "exit status 3; it is started again in "+want) {
			t.Errorf("%+v, want a pause of %s", s, want)
		}
	}
	stop()
	log := out.String()
	for _, want := range []string{`level=ERROR msg="cannot go on" reason="test` + "\uFFFD" + `[31m"`, `line="panic: no"`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %s:\n%s", want, log)
		}
	}
}

// TestAttackFlood: a program that writes much fills no log.
func TestAttackFlood(t *testing.T) {
	var out bytes.Buffer
	stop, states := run(t, child.Config{Program: self(t), MinPause: time.Hour, MaxPause: time.Hour, Logger: slog.New(slog.NewTextHandler(&out, nil))}, "flood")
	until(t, states, child.ReasonCrashing)
	stop()
	if n := strings.Count(out.String(), "msg=\"output"); n < 100 || n > 1000 {
		t.Errorf("%d lines were logged", n)
	}
	if !strings.Contains(out.String(), "too many lines") {
		t.Error("nothing says that lines were dropped")
	}
}

// TestParentKilled: a program, even a stubborn one, does not outlive who started it.
func TestParentKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it is the kernel's work, on Linux")
	}
	socket, next := visitors(t)
	parent := exec.Command(self(t), socket)
	parent.Env = append(os.Environ(), behaviour+"=parent")
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	v := next()
	rank, err := os.ReadFile("/proc/" + strconv.Itoa(v.pid) + "/oom_score_adj")
	if err != nil || strings.TrimSpace(string(rank)) != "500" {
		t.Logf("oom_score_adj is %q, %v", rank, err) // it may come later than the program
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // it was killed
	v.ended(t)
}

// TestConfig: wrong settings are refused.
func TestConfig(t *testing.T) {
	for _, cfg := range []child.Config{{}, {Program: "edgepipe"}, {Program: "/x", MinPause: -1}} {
		if _, err := child.New(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
	c, err := child.New(child.Config{Program: "/nonexistent"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Run(ctx); err != nil {
		t.Error(err)
	}
	if err := c.Run(ctx); !errors.Is(err, child.ErrStarted) {
		t.Errorf("the second Run: %v", err)
	}
}
