package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged/cri/critest"
	"github.com/edgekit/edgekit/edged/runtimetest"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// joinedFolder is the data folder of a node whose certificate ended so long ago. Its path is short
// enough for a socket in it.
func joinedFolder(t *testing.T, ended time.Duration) string {
	t.Helper()
	data, err := os.MkdirTemp("", "ec")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(data) })
	if err := os.CopyFS(data, os.DirFS(joined(t, ended))); err != nil {
		t.Fatal(err)
	}
	return data
}

// runWithoutCloud runs edgecore in this process on a runtime of tests, with no cloud in reach. It returns
// the exit code.
func runWithoutCloud(ctx context.Context, data, endpoint string, log io.Writer, flags ...string) int {
	c := &cli{}
	return program.Program{Name: "edgecore", CLI: c, Command: c.command, ConfigFile: filepath.Join(data, "none.yaml"), Stdout: io.Discard, Stderr: log}.Run(ctx, append([]string{
		"--no-cgroups-per-qos", "--eviction-hard", "", "--data-dir", data, "--runtime-endpoint", endpoint,
		"--pod-log-dir", filepath.Join(data, "logs"), "--container-log-links", "", "--cloud", "127.0.0.1:1", "--transport", "websocket", "--kernel-log", "",
		"--no-local-api", "--mqtt-listen", "unix://" + filepath.Join(data, "mqtt.sock"),
	}, flags...))
}

// TestEndsWhileItStarts asks edgecore to end at many moments of its start: it ends with 0 each
// time, since systemd counts another exit code as a failure.
func TestEndsWhileItStarts(t *testing.T) {
	data, endpoint := joinedFolder(t, 0), critest.Serve(t, runtimetest.New())
	hubtest.RunEnds(t, 2*time.Second, func() (func(context.Context) error, error) {
		return func(ctx context.Context) error {
			var log bytes.Buffer
			if code := runWithoutCloud(ctx, data, endpoint, &log); code != 0 {
				return fmt.Errorf("%d: %s", code, &log)
			}
			return nil
		}, nil
	})
}
