package main

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// output keeps what a program prints.
type output struct {
	mu      sync.Mutex
	text    string
	printed chan struct{} // has one when there may be more
	ended   chan error    // how the program ended
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text += string(b)
	select {
	case o.printed <- struct{}{}:
	default:
	}
	return len(b), nil
}

// find waits for a line that contains the text, and takes that line.
func (o *output) find(t *testing.T, text string) string {
	t.Helper()
	for {
		o.mu.Lock()
		before, after, found := strings.Cut(o.text, text)
		line, rest, whole := strings.Cut(after, "\n")
		if found && whole {
			begin := strings.LastIndex(before, "\n") + 1
			o.text = before[:begin] + rest
			o.mu.Unlock()
			return before[begin:] + text + line
		}
		o.mu.Unlock()
		select {
		case <-o.printed:
		case err := <-o.ended:
			t.Fatalf("the program ended with %v before it printed %q", err, text)
		}
	}
}

// start runs one of the two programs until stop.
func start(t *testing.T, args ...string) (out *output, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out = &output{printed: make(chan struct{}, 1), ended: make(chan error, 1)}
	go func() { out.ended <- run(ctx, args, out) }()
	return out, func() {
		cancel()
		if err := <-out.ended; err != nil {
			t.Errorf("%s: %v", args[0], err)
		}
	}
}

// TestTwoPrograms runs what doc.go says: the node joins, gets the settings, asks, and
// reports; then it comes back without a token.
func TestTwoPrograms(t *testing.T) {
	dir := t.TempDir()
	cloud, stopCloud := start(t, "cloud", "-listen", freeAddr(t), "-dir", dir+"/cloud")
	defer stopCloud()
	command := strings.Fields(cloud.find(t, "-token"))[1:]
	for i := range command {
		if command[i] == "-dir" {
			command[i+1] = dir + "/edge-1"
		}
	}
	for _, args := range [][]string{command, command[:len(command)-2]} {
		edge, stopEdge := start(t, args...)
		edge.find(t, "sets unit: °C") // find takes lines in whatever order they come
		edge.find(t, "hello edge-1")
		cloud.find(t, "edge-1 reports temperature: ")
		stopEdge()
	}
}

// freeAddr is an address on loopback that nobody listens on, for TCP nor UDP.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		u, err := net.ListenPacket("udp", addr)
		l.Close()
		if err == nil {
			u.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

// TestBadArguments has arguments that miss something: the error says what.
func TestBadArguments(t *testing.T) {
	for want, args := range map[string][]string{
		"cloud or edge": nil, `no program "sky"`: {"sky"}, "-dir is required": {"cloud"}, "-node and -dir": {"edge"},
		"-token is required": {"edge", "-node", "edge-1", "-dir", t.TempDir()},
	} {
		if err := run(t.Context(), args, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", args, err)
		}
	}
}
