package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/edgekit/edgekit/cmd/demo/site"
)

// session is a kubectl that runs, with its input and its output line by line.
type session struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // closed at the end of the output
	ended chan struct{}
	err   error // once ended is closed
}

// start starts kubectl with pipes.
func start(ctx context.Context, t *testing.T, s *site.Site, args ...string) *session {
	t.Helper()
	cmd := kubectlCommand(ctx, s, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	return begin(t, cmd, in, out, w)
}

// startTerminal starts kubectl on a terminal of its own and gives that too.
func startTerminal(ctx context.Context, t *testing.T, s *site.Site, cols, rows uint16, args ...string) (*session, *os.File) {
	t.Helper()
	master, slave, err := openTerminal()
	if err != nil {
		t.Fatal(err)
	}
	resize(t, master, cols, rows)
	cmd := kubectlCommand(ctx, s, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	return begin(t, cmd, master, master, slave), master
}

func kubectlCommand(ctx context.Context, s *site.Site, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.Kubectl(), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.Kubeconfig())
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

func begin(t *testing.T, cmd *exec.Cmd, in io.WriteCloser, out, theirs *os.File) *session {
	t.Helper()
	k := &session{t: t, name: "kubectl " + strings.Join(cmd.Args[1:], " "), cmd: cmd, in: in, lines: make(chan string, 10000), ended: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	go func() {
		defer close(k.lines)
		for r := bufio.NewScanner(out); r.Scan(); {
			k.lines <- strings.TrimRight(r.Text(), "\r")
		}
	}()
	go func() {
		k.err = cmd.Wait()
		close(k.ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // most have ended
		<-k.ended
		out.Close()
	})
	return k
}

// see waits for a line that holds want and gives it.
func (k *session) see(want string) string {
	k.t.Helper()
	var seen []string
	late := time.After(30 * time.Second)
	for {
		select {
		case line, ok := <-k.lines:
			if !ok {
				k.t.Fatalf("%s ended without %q: %q", k.name, want, seen)
			}
			if strings.Contains(line, want) {
				return line
			}
			if seen = append(seen, line); len(seen) > 20 {
				seen = seen[1:]
			}
		case <-late:
			k.t.Fatalf("%s does not say %q; last was %q", k.name, want, seen)
		}
	}
}

// say types a line.
func (k *session) say(line string) {
	k.t.Helper()
	if _, err := io.WriteString(k.in, line+"\n"); err != nil {
		k.t.Fatalf("%s: %v", k.name, err)
	}
}

// code waits for the end and gives kubectl's exit code.
func (k *session) code(atMost time.Duration) int {
	k.t.Helper()
	late := time.After(atMost)
	for {
		select {
		case <-k.ended:
			if exit, ok := errors.AsType[*exec.ExitError](k.err); ok {
				return exit.ExitCode()
			}
			if k.err != nil {
				k.t.Fatalf("%s: %v", k.name, k.err)
			}
			return 0
		case _, ok := <-k.lines: // nobody else reads them
			if !ok {
				k.lines = nil
			}
		case <-late:
			k.t.Fatalf("%s has not ended within %v", k.name, atMost)
		}
	}
}

// stop ends kubectl as Ctrl-C does.
func (k *session) stop() {
	_ = k.cmd.Process.Signal(os.Interrupt) // it may have ended
	k.code(10 * time.Second)
}

// openTerminal makes a pseudo-terminal.
func openTerminal() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, err
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	return master, slave, err
}

func resize(t *testing.T, terminal *os.File, cols, rows uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: cols, Row: rows}); err != nil {
		t.Fatal(err)
	}
}
