package sshhost_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/cmd/internal/sshhost"
	"github.com/edgekit/edgekit/cmd/internal/sshhost/sshtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers with what it got.
func echo(command string, in io.Reader, out, errs io.Writer) int {
	switch command {
	case "echo":
		_, _ = io.Copy(out, in)
		return 0
	case "hang":
		_, _ = io.Copy(io.Discard, in)
		_, _ = io.Copy(io.Discard, in)
		return 0
	}
	fmt.Fprint(errs, strings.Repeat("x", 20<<10), "not found")
	return 127
}

// TestRun: input and output pass, a failure has its status and the end of what it said.
func TestRun(t *testing.T) {
	s := sshtest.Serve(t, echo)
	c, err := sshhost.Dial(t.Context(), sshhost.Config{Address: s.Host, Port: s.Port, User: "root", KeyFile: s.KeyFile, KnownHosts: s.KnownHosts})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	text := strings.Repeat("data; rm -rf / $(x) `y`\n", 50000)
	var out bytes.Buffer
	if err := c.Run(t.Context(), "echo", strings.NewReader(text), &out); err != nil || out.String() != text {
		t.Error(err, out.Len(), len(text))
	}
	var exit *sshhost.ExitError
	if err := c.Run(t.Context(), "moon", nil, io.Discard); !errors.As(err, &exit) || exit.Status != 127 || !strings.HasSuffix(exit.Stderr, "not found") || len(exit.Stderr) > 9<<10 {
		t.Error(err)
	}
}

// TestOutput: a machine that never ends writing is left, and takes no memory.
func TestOutput(t *testing.T) {
	s := sshtest.Serve(t, func(command string, in io.Reader, out, errs io.Writer) int {
		for command == "endless" {
			if _, err := out.Write(make([]byte, 32<<10)); err != nil {
				return 1
			}
		}
		return echo(command, strings.NewReader("0\n"), out, errs)
	})
	for command, want := range map[sshhost.Command]string{"echo": "0\n", "endless": "", "moon": ""} {
		c, err := sshhost.Dial(t.Context(), sshhost.Config{Address: s.Host, Port: s.Port, User: "root", KeyFile: s.KeyFile, KnownHosts: s.KnownHosts})
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.Output(t.Context(), command)
		if out != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", command, out, err)
		}
		if command == "endless" && !strings.Contains(err.Error(), "more than") {
			t.Error(err)
		}
		c.Close()
	}
}

// TestSilentAgent: an SSH agent that does not answer does not hold up the login.
func TestSilentAgent(t *testing.T) {
	s := sshtest.Serve(t, echo)
	dir, err := os.MkdirTemp("", "ek") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := sshhost.Dial(t.Context(), sshhost.Config{
		Address: s.Host, Port: s.Port, User: "root", KeyFile: s.KeyFile, KnownHosts: s.KnownHosts, Agent: filepath.Join(dir, "agent"), Timeout: 10 * time.Millisecond,
	})
	if err == nil {
		c.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "the SSH agent") {
		t.Error(err)
	}
}

// TestEnd: the end of the context ends a command that hangs.
func TestEnd(t *testing.T) {
	s := sshtest.Serve(t, echo)
	c, err := sshhost.Dial(t.Context(), sshhost.Config{Address: s.Host, Port: s.Port, User: "root", KeyFile: s.KeyFile, KnownHosts: s.KnownHosts})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		_, _ = w.Write([]byte("x"))
		cancel()
		w.Close()
	})
	if err := c.Run(ctx, "hang", r, io.Discard); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestHostKeys: a machine that is not known, or has another key, is refused; so is a key that
// may not log in.
func TestHostKeys(t *testing.T) {
	s, other := sshtest.Serve(t, echo), sshtest.Serve(t, echo)
	known, err := os.ReadFile(s.KnownHosts)
	if err != nil {
		t.Fatal(err)
	}
	_, key, _ := strings.Cut(strings.TrimSpace(string(known)), " ")
	changed := filepath.Join(t.TempDir(), "changed")
	otherAddress := fmt.Sprintf("[%s]:%d", other.Host, other.Port)
	if err := os.WriteFile(changed, []byte(otherAddress+" "+key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	base := sshhost.Config{Address: other.Host, Port: other.Port, User: "root", KeyFile: other.KeyFile, KnownHosts: other.KnownHosts}
	for name, tt := range map[string]struct {
		edit func(*sshhost.Config)
		want string
	}{
		"unknown":       {func(c *sshhost.Config) { c.KnownHosts = s.KnownHosts }, "is not in"},
		"no file":       {func(c *sshhost.Config) { c.KnownHosts = filepath.Join(t.TempDir(), "none") }, "is not in"},
		"changed":       {func(c *sshhost.Config) { c.KnownHosts = changed }, "shows another key"},
		"another user":  {func(c *sshhost.Config) { c.KeyFile = s.KeyFile }, "unable to authenticate"},
		"no key":        {func(c *sshhost.Config) { c.KeyFile = "" }, "no key to log in with"},
		"no key file":   {func(c *sshhost.Config) { c.KeyFile = "/nowhere" }, "/nowhere"},
		"no agent":      {func(c *sshhost.Config) { c.Agent = "/nowhere" }, "the SSH agent"},
		"damaged hosts": {func(c *sshhost.Config) { c.KnownHosts = s.KeyFile }, s.KeyFile},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := base
			tt.edit(&cfg)
			c, err := sshhost.Dial(t.Context(), cfg)
			if err == nil {
				c.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if _, ok := errors.AsType[*sshhost.HostKeyError](err); ok != (name == "unknown" || name == "no file" || name == "changed") {
				t.Errorf("%T", err)
			}
		})
	}
	// A file that has other kinds of keys of the machine too: the known one is asked for.
	two := filepath.Join(t.TempDir(), "two")
	mine, err := os.ReadFile(other.KnownHosts)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(two, append([]byte("@revoked * ssh-ed25519 "+strings.Fields(key)[1]+"\n"), mine...), 0o600); err != nil {
		t.Fatal(err)
	}
	base.KnownHosts = two
	c, err := sshhost.Dial(t.Context(), base)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// TestNoServer: a machine that is not there, and one that never answers.
func TestNoServer(t *testing.T) {
	s := sshtest.Serve(t, echo)
	cfg := sshhost.Config{Address: s.Host, Port: s.Port, User: "root", KeyFile: s.KeyFile, KnownHosts: s.KnownHosts}
	s.Close()
	if _, err := sshhost.Dial(t.Context(), cfg); err == nil {
		t.Error("nobody answered")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg.Port = l.Addr().(*net.TCPAddr).Port
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := sshhost.Dial(ctx, cfg)
		done <- err
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	if err := <-done; err == nil {
		t.Error("a silent machine was reached")
	}
}
