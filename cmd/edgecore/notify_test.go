package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/edgekit/edgekit/edged/cri/critest"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// TestNotify runs edgecore as systemd does: it is ready without the cloud, says what its link
// does, feeds the watchdog, and says that it stops. One that cannot start says why.
func TestNotify(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("edgecore runs pods on Linux only")
	}
	dir, err := os.MkdirTemp("", "ek") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := socket.SetReadDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "edgecore")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	start := func(args ...string) (*exec.Cmd, *strings.Builder) {
		t.Helper()
		ctx := context.WithoutCancel(t.Context())
		cmd := alone(ctx, program, args)
		if cmd.Env == nil {
			cmd.Env = os.Environ()
		}
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+filepath.Join(dir, "notify"), "WATCHDOG_USEC=300000")
		var log strings.Builder
		cmd.Stderr = &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, &log
	}
	next := func() string {
		t.Helper()
		text := make([]byte, 4096)
		n, err := socket.Read(text)
		if err != nil {
			t.Fatal(err)
		}
		return string(text[:n])
	}
	data := joined(t, -30*time.Minute)
	cmd, log := start("--no-cgroups-per-qos", "--eviction-hard", "", "--data-dir", data, "--runtime-endpoint", critest.Serve(t, runtimetest.New()),
		"--pod-log-dir", filepath.Join(dir, "logs"), "--container-log-links", "", "--cloud", "192.0.2.1:10000", "--no-local-api", "--mqtt-listen", "unix://"+filepath.Join(dir, "mqtt"))
	ended := false
	defer func() {
		if !ended {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		if t.Failed() {
			t.Logf("edgecore said:\n%s", log)
		}
	}()
	var seen []string
	for fed := 0; fed < 3 || !slices.ContainsFunc(seen, func(s string) bool { return strings.HasPrefix(s, "STATUS=node ") }); {
		one := next()
		seen = append(seen, one)
		if one == "WATCHDOG=1" {
			fed++
		}
	}
	if seen[0] != "READY=1" {
		t.Errorf("%q", seen)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for next() != "STOPPING=1" {
		continue
	}
	ended = true
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	bad, _ := start("--data-dir", data, "--cgroup-driver", "moon")
	if err := bad.Wait(); err == nil {
		t.Error("edgecore runs with wrong settings")
	}
	for {
		if one := next(); strings.HasPrefix(one, "STATUS=") && strings.Contains(one, "--cgroup-driver") {
			break
		}
	}
}
