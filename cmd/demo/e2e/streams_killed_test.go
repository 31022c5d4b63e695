package e2e

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

// killed ends edgecore in the middle of a session of each kind: all end,
// new ones get the error that the node is not connected, nothing of them is left in
// cloudcore or in the container, and everything works again after it has come back. What
// kubectl makes of it is its own: an exec whose connection ends without a
// status counts as done, with every kubelet.
func killed(ctx context.Context, t *testing.T, s *site.Site, transport string) {
	before := cloudFigure(ctx, t, s, "go_goroutines")
	long := filepath.Join(t.TempDir(), "long") // longer than this test
	if err := errors.Join(os.WriteFile(long, nil, 0o600), os.Truncate(long, 4<<30)); err != nil {
		t.Fatal(err)
	}
	all := []*session{
		start(ctx, t, s, "-n", tour.Namespace, "logs", "-f", "--tail=1", "tools"),
		start(ctx, t, s, "-n", tour.Namespace, "exec", "-i", "tools", "--", "/tools", "console"),
		start(ctx, t, s, "-n", tour.Namespace, "attach", "tools"),
		start(ctx, t, s, "-n", tour.Namespace, "cp", long, "tools:/tmp/long"),
	}
	all[0].see("tick")
	all[1].see("console")
	all[2].see("tick")
	forward := start(ctx, t, s, "-n", tour.Namespace, "port-forward", "pod/tools", ":7000")
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", forwarded(forward))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil { // it stands
		t.Fatal(err)
	}
	if n := cloudFigure(ctx, t, s, "edgekit_kubelet_sessions"); n < float64(len(all)) {
		t.Errorf("cloudcore counts %v sessions", n)
	}
	if err := s.KillEdge(ctx); err != nil {
		t.Fatal(err)
	}
	for _, k := range all {
		k.code(time.Minute)
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a forwarded connection outlives its node")
	}
	forward.code(time.Minute) // it has lost its pod
	began := time.Now()
	for _, args := range [][]string{{"logs", "tools"}, {"exec", "tools", "--", "/tools"}} {
		_, err := s.Kube().Run(ctx, "", append([]string{"-n", tour.Namespace}, args...)...)
		if err == nil || !strings.Contains(err.Error(), "is not connected") {
			t.Errorf("%s: %v", args[0], err)
		}
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the answer took %v", took)
	}
	startWith(ctx, t, s, transport)
	execs(ctx, t, s)
	forwards(ctx, t, s)
	for late := time.Now().Add(30 * time.Second); ; <-time.After(300 * time.Millisecond) {
		commands, sessions := consoles(t), cloudFigure(ctx, t, s, "edgekit_kubelet_sessions")
		more := cloudFigure(ctx, t, s, "go_goroutines") - before
		// The API server keeps a few connections; leaked sessions would be
		// hundreds, after a hundred forwarded connections.
		if commands == 0 && sessions == 0 && more < 50 {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("left behind: %d commands in the container, %v sessions and %v goroutines in cloudcore", commands, sessions, more)
		}
	}
}

// cloudFigure adds up one of cloudcore's metrics.
func cloudFigure(ctx context.Context, t *testing.T, s *site.Site, name string) (sum float64) {
	t.Helper()
	monitor, err := s.CloudMonitor()
	if err != nil {
		t.Fatal(err)
	}
	text, err := scrape(ctx, http.DefaultClient, monitor)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(text, "\n") {
		if !strings.HasPrefix(line, name+" ") && !strings.HasPrefix(line, name+"{") {
			continue
		}
		v, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		sum += v
	}
	return sum
}

// consoles counts the commands that are left of execs.
func consoles(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil && string(text) == "/tools\x00console\x00" {
			n++
		}
	}
	return n
}
