package reclaim

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logNode is a runtime with one container that writes a log.
type logNode struct {
	t    *testing.T
	rt   *runtimetest.Runtime
	root string
	file string // of the container's log
	mu   sync.Mutex
	out  *os.File // what the runtime has open
	id   string
	line int
}

func labels(uid string) map[string]string {
	return map[string]string{runtime.LabelPodUID: uid, runtime.LabelPodName: "web", runtime.LabelPodNamespace: "default", runtime.LabelContainerName: "main"}
}

func newLogNode(t *testing.T) *logNode {
	t.Helper()
	n := &logNode{t: t, rt: runtimetest.New(), root: t.TempDir()}
	n.file = filepath.Join(n.root, "default_web_u", "main", "0.log")
	if err := os.MkdirAll(filepath.Dir(n.file), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	box, err := n.rt.RunSandbox(ctx, &runtime.SandboxConfig{Name: "web", Namespace: "default", UID: "u", Labels: labels("u")})
	if err == nil {
		n.id, err = n.rt.CreateContainer(ctx, box, &runtime.ContainerConfig{Name: "main", Labels: labels("u")}, nil)
	}
	if err == nil {
		err = n.rt.StartContainer(ctx, n.id)
	}
	if err == nil {
		err = n.open(runtime.Container{})
	}
	if err != nil {
		t.Fatal(err)
	}
	n.rt.ReopenWith(n.open)
	t.Cleanup(func() { n.out.Close() })
	return n
}

// open opens the log, as a runtime does at the start of a container and on
// ReopenContainerLog.
func (n *logNode) open(runtime.Container) error {
	f, err := os.OpenFile(n.file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err == nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.out.Close()
		n.out = f
	}
	return err
}

// write writes so many lines of 100 bytes, which are numbered.
func (n *logNode) write(lines int) {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	for range lines {
		if _, err := fmt.Fprintf(n.out, "%-99d\n", n.line); err != nil {
			n.t.Fatal(err)
		}
		n.line++
	}
}

// read returns the numbers of all lines in the log's files, oldest first.
func (n *logNode) read() []string {
	n.t.Helper()
	names, err := filepath.Glob(n.file + ".*")
	if err != nil {
		n.t.Fatal(err)
	}
	var out []string
	for _, name := range append(names, n.file) {
		b, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil && strings.HasSuffix(name, ".gz") {
			var z *gzip.Reader
			if z, err = gzip.NewReader(bytes.NewReader(b)); err == nil {
				b, err = io.ReadAll(z)
			}
		}
		if err != nil {
			n.t.Fatal(err)
		}
		out = append(out, strings.Fields(string(b))...)
	}
	return out
}

// check checks that the newest lines are there, each once and in order.
func (n *logNode) check() {
	n.t.Helper()
	lines := n.read()
	for i, line := range lines {
		if want := fmt.Sprint(n.line - len(lines) + i); line != want {
			n.t.Fatalf("line %d of %d is %s, want %s", i, len(lines), line, want)
		}
	}
}

func (n *logNode) logs() *Logs {
	n.t.Helper()
	l, err := NewLogs(LogsConfig{Root: n.root, Runtime: n.rt, MaxSize: 1000, MaxFiles: 4})
	if err != nil {
		n.t.Fatal(err)
	}
	return l
}

func (n *logNode) names() string {
	names, _ := filepath.Glob(n.file + "*")
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	return strings.Join(names, " ")
}

func TestRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newLogNode(t)
		l := n.logs()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		time.Sleep(5 * time.Second) // never at the moment of a look
		for range 8 {
			n.write(9)
			time.Sleep(10 * time.Second) // below the limit: nothing happens
			n.write(2)
			time.Sleep(10 * time.Second)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		n.check()
		if len(n.read()) < 30 || strings.Count(n.names(), ".gz") != 2 || strings.Count(n.names(), " ") != 3 {
			t.Errorf("%d lines in %s, want four files, two of them compressed", len(n.read()), n.names())
		}
		reopened := 0
		for _, call := range n.rt.Calls() {
			if strings.HasPrefix(call, "ReopenContainerLog") {
				reopened++
			}
		}
		if reopened != 8 {
			t.Errorf("reopened %d times", reopened)
		}
	})
}

// TestRotateFails: the runtime fails in every way. No line is lost, and the log is
// rotated when it works again.
func TestRotateFails(t *testing.T) {
	broken := errors.New("broken")
	for name, fail := range map[string]func(n *logNode){
		"it says no": func(n *logNode) { n.rt.ReopenWith(func(runtime.Container) error { return broken }) },
		"it does it and the answer is lost": func(n *logNode) {
			n.rt.ReopenWith(func(c runtime.Container) error { return errors.Join(broken, n.open(c)) })
		},
		"it cannot list": func(n *logNode) { n.rt.FailReadsWith(func(string) error { return broken }) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newLogNode(t)
			l := n.logs()
			n.write(10)
			fail(n)
			if err := l.Rotate(t.Context()); !errors.Is(err, broken) {
				t.Errorf("%v", err)
			}
			n.write(5)
			n.check()
			n.rt.ReopenWith(n.open)
			n.rt.FailReadsWith(nil)
			n.write(5)
			if err := l.Rotate(t.Context()); err != nil {
				t.Error(err)
			}
			n.write(1)
			n.check()
			if len(n.read()) != 21 || !strings.Contains(n.names(), "0.log.2") {
				t.Errorf("%d lines in %s", len(n.read()), n.names())
			}
		})
	}
}

// TestRotateAfterACrash starts from the files that a crash leaves at each step of a
// rotation.
func TestRotateAfterACrash(t *testing.T) {
	old := func(n *logNode, end string) string { return n.file + ".20260101-000000" + end }
	move := func(n *logNode) {
		if err := os.Rename(n.file, old(n, "")); err != nil {
			n.t.Fatal(err)
		}
	}
	for name, crash := range map[string]func(n *logNode){
		"after the renaming": move,
		"in the middle of a compression": func(n *logNode) {
			move(n)
			if err := errors.Join(n.open(runtime.Container{}), os.WriteFile(old(n, ".tmp"), []byte("half"), 0o600)); err != nil {
				n.t.Fatal(err)
			}
		},
		"before the uncompressed file is removed": func(n *logNode) {
			move(n)
			if err := errors.Join(n.open(runtime.Container{}), compress(old(n, "")), os.WriteFile(old(n, ""), []byte("0 1 2"), 0o600)); err != nil {
				n.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newLogNode(t)
			n.write(7)
			crash(n)
			n.write(2)
			if err := n.logs().Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
			n.write(2)
			n.check()
			if len(n.read()) != 11 || strings.Contains(n.names(), ".tmp") {
				t.Errorf("%d lines in %s", len(n.read()), n.names())
			}
			if _, err := os.Stat(n.file); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRotateOnlyRunning leaves alone the log of a container that has ended, and
// folders that are not those of containers.
func TestRotateOnlyRunning(t *testing.T) {
	n := newLogNode(t)
	n.write(20)
	n.rt.Exit("main", 0)
	for _, dir := range []string{"mine", "a_b_c/d"} {
		if err := os.MkdirAll(filepath.Join(n.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(n.root, "a_b_c/d/0.log"), make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.logs().Rotate(t.Context()); err != nil {
		t.Error(err)
	}
	if n.names() != "0.log" {
		t.Error(n.names())
	}
}

// TestRotateOnAFullDisk: compression fails. The log is rotated all the same, and no more
// files are kept than otherwise.
func TestRotateOnAFullDisk(t *testing.T) {
	n := newLogNode(t)
	l := n.logs()
	for i := range 6 {
		n.write(10)
		// A folder with the name of the temporary file makes the compression fail.
		names, _ := filepath.Glob(n.file + ".*")
		for _, name := range names {
			if !strings.HasSuffix(name, ".tmp") {
				if err := os.MkdirAll(name+".tmp/x", 0o700); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := l.Rotate(t.Context()); (err != nil) != (i > 0) {
			t.Errorf("%d: %v", i, err)
		}
		n.check2()
	}
	if logs := strings.Count(strings.ReplaceAll(n.names(), ".tmp", ""), "0.log"); logs > 12 {
		t.Error(n.names())
	}
	if info, err := os.Stat(n.file); err != nil || info.Size() != 0 {
		t.Errorf("the log is not rotated: %v %v", info, err)
	}
}

// check2 checks the lines of the files that can be read.
func (n *logNode) check2() {
	n.t.Helper()
	names, _ := filepath.Glob(n.file + ".*")
	kept := 0
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			kept++
		}
	}
	if kept > 3 {
		n.t.Errorf("%d rotated files are kept: %s", kept, n.names())
	}
}

func TestLogsConfig(t *testing.T) {
	rt := runtimetest.New()
	for name, cfg := range map[string]LogsConfig{
		"Root": {Root: "logs", Runtime: rt}, "Runtime": {Root: "/logs"}, "MaxSize": {Root: "/logs", Runtime: rt, MaxSize: -1},
		"MaxFiles": {Root: "/logs", Runtime: rt, MaxFiles: 1}, "Workers": {Root: "/logs", Runtime: rt, Workers: -1},
		"Interval": {Root: "/logs", Runtime: rt, Interval: time.Second},
	} {
		if _, err := NewLogs(cfg); err == nil || !strings.Contains(err.Error(), "LogsConfig."+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
