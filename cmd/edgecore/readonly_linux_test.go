package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/edgekit/edgekit/edged/cri/critest"
	"github.com/edgekit/edgekit/edged/runtimetest"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// readOnlyEnv has the test's own program, in a network and with mounts of its
// own, run TestReadOnlyDisk with the edgecore of that path.
const readOnlyEnv = "EDGECORE_TEST_READONLY"

// TestReadOnlyDisk starts a node whose data disk has become read-only while it
// was down. It comes up from what is stored: its containers run on, and the
// metric tells the truth. When the disk can be written again, so can the store,
// containers that ended meanwhile are restarted, and an event tells what was.
func TestReadOnlyDisk(t *testing.T) {
	program := os.Getenv(readOnlyEnv)
	if program == "" {
		if os.Geteuid() != 0 {
			t.Skip("needs root, to mount")
		}
		program = filepath.Join(t.TempDir(), "edgecore")
		if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
			t.Fatalf("build: %v: %s", err, out)
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := alone(t.Context(), "/usr/bin/env", []string{"-u", aloneEnv, readOnlyEnv + "=" + program, self, "-test.run=^TestReadOnlyDisk$", "-test.v"})
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	data := joined(t, time.Hour)
	fillStore(t, filepath.Join(data, storeDir))
	rt := runtimetest.New()
	rt.AddImage("registry.example/app:1")
	started := func() (n int) {
		for _, call := range rt.Calls() {
			if strings.HasPrefix(call, "StartContainer") {
				n++
			}
		}
		return n
	}
	args := []string{
		"--no-cgroups-per-qos", "--eviction-hard", "", "--data-dir", data, "--runtime-endpoint", critest.Serve(t, rt), "--pod-log-dir", filepath.Join(data, "logs"), "--container-log-links", "",
		"--cloud", "192.0.2.1:10000", "--max-pods", "200", "--metrics-listen", "127.0.0.1:10002",
	}
	agent := startAgent(t, program, args)
	hubtest.Until(t, "all containers are started", func() bool { return started() == coldPods })
	_ = agent.Process.Kill()
	_ = agent.Wait()

	t.Cleanup(func() { unmountBelow(data) })
	if err := unix.Mount(data, data, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	remount := func(flags uintptr) {
		t.Helper()
		if err := unix.Mount("", data, "", unix.MS_REMOUNT|unix.MS_BIND|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(unix.MS_RDONLY)
	agent = startAgent(t, program, args)
	hubtest.Until(t, "the metric says that the store cannot be written", func() bool { return storeWritable() == "0" })
	rt.Exit("main", 1)

	remount(0)
	hubtest.Until(t, "the containers that ended are restarted", func() bool { return started() == 2*coldPods })
	hubtest.Until(t, "the metric says that the store can be written", func() bool { return storeWritable() == "1" })
	hubtest.Until(t, "the local API's socket is there", func() bool {
		_, err := os.Stat(filepath.Join(data, apiDir, apiSocket))
		return err == nil
	})
	hubtest.Until(t, "the event is stored", func() bool {
		return strings.Contains(localEvents(filepath.Join(data, apiDir, apiSocket)), "StoreUnwritable")
	})
	if err := agent.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := agent.Wait(); err != nil {
		t.Errorf("edgecore ended with %v", err)
	}
	for _, call := range rt.Calls() {
		if strings.HasPrefix(call, "StopContainer") || strings.HasPrefix(call, "StopSandbox") {
			t.Errorf("the runtime was asked to %s", call)
		}
	}
	store, err := badgerstore.Open(badgerstore.Config{Dir: filepath.Join(data, storeDir)})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	events, _, err := store.List(t.Context(), meta.Events)
	if err != nil || !slices.ContainsFunc(events, func(r meta.Record) bool { return bytes.Contains(r.Value, []byte("StoreUnwritable")) }) {
		t.Errorf("no event among %d, %v", len(events), err)
	}
}

// unmountBelow unmounts a folder and the pods' volumes in it, so that it can be
// removed.
func unmountBelow(dir string) {
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for _, line := range slices.Backward(strings.Split(string(mounts), "\n")) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir) {
			_ = unix.Unmount(f[1], unix.MNT_DETACH)
		}
	}
}

// startAgent starts edgecore, which ends with the test.
func startAgent(t *testing.T, program string, args []string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// localEvents is what the node's own API answers when it is asked for all events.
func localEvents(socket string) string {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	r, err := (&http.Client{Transport: transport}).Get("http://node/api/v1/events")
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(r.Body)
	return string(text)
}

// storeWritable is what the metric says.
func storeWritable() string {
	r, err := http.Get("http://127.0.0.1:10002/metrics")
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(r.Body)
	_, rest, _ := strings.Cut(string(text), "\nedgekit_store_writable ")
	value, _, _ := strings.Cut(rest, "\n")
	return value
}
