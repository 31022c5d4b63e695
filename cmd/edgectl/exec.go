package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"

	"golang.org/x/term"
	"k8s.io/client-go/tools/remotecommand"
	clientspdy "k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

// logsCmd prints a container's logs.
type logsCmd struct {
	localFlags
	Pod        string `arg:"" help:"The pod's name."`
	Container  string `help:"The container, if the pod has several." short:"c" placeholder:"NAME"`
	Follow     bool   `help:"Follow: print new lines as they are written." short:"f"`
	Previous   bool   `help:"Print the logs of the container before its last restart." short:"p"`
	Timestamps bool   `help:"Print each line with its time."`
	Tail       int64  `help:"Print only this many of the last lines; a negative number prints all." default:"-1" placeholder:"N"`
}

// Run copies the log to the output.
func (l *logsCmd) Run(ctx context.Context, out program.Output) error {
	q := url.Values{}
	for name, on := range map[string]bool{"follow": l.Follow, "previous": l.Previous, "timestamps": l.Timestamps} {
		if on {
			q.Set(name, "true")
		}
	}
	if l.Container != "" {
		q.Set("container", l.Container)
	}
	if l.Tail >= 0 {
		q.Set("tailLines", strconv.FormatInt(l.Tail, 10))
	}
	body, err := l.get(ctx, "api.sock", l.podPath(l.Pod, "/log", q), "")
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(out, body)
	if ctx.Err() != nil {
		return nil // Ctrl-C is how one stops to follow
	}
	return err
}

// execCmd runs a command in a container.
type execCmd struct {
	localFlags
	Pod       string   `arg:"" help:"The pod's name."`
	Command   []string `arg:"" help:"The command and its arguments, after --." passthrough:""`
	Container string   `help:"The container, if the pod has several." short:"c" placeholder:"NAME"`
	Stdin     bool     `help:"Pass standard input to the command." short:"i"`
	TTY       bool     `help:"Run the command in a terminal." short:"t" name:"tty"`
}

// Run runs the command and ends as it ends.
func (e *execCmd) Run(ctx context.Context, out program.Output) error {
	if len(e.Command) > 0 && e.Command[0] == "--" {
		e.Command = e.Command[1:]
	}
	q := url.Values{"command": e.Command, "stdout": {"true"}}
	if e.Container != "" {
		q.Set("container", e.Container)
	}
	options := remotecommand.StreamOptions{Stdout: out, Tty: e.TTY}
	if e.Stdin {
		q.Set("stdin", "true")
		options.Stdin = os.Stdin
	}
	if e.TTY {
		q.Set("tty", "true")
		restore, sizes, err := terminal(ctx)
		if err != nil {
			return err
		}
		defer restore()
		options.TerminalSizeQueue = sizes
	} else {
		q.Set("stderr", "true")
		options.Stderr = os.Stderr
	}
	upgrade, err := spdy.NewRoundTripperWithConfig(spdy.RoundTripperConfig{UpgradeTransport: e.transport("api.sock")})
	if err != nil {
		return err
	}
	at := &url.URL{Scheme: "http", Host: "node"}
	if at, err = at.Parse(e.podPath(e.Pod, "/exec", q)); err != nil {
		return err
	}
	executor, err := remotecommand.NewSPDYExecutorForTransports(upgrade, clientspdy.NewUpgraderForStreaming(upgrade), http.MethodPost, at)
	if err != nil {
		return err
	}
	err = executor.StreamWithContext(ctx, options)
	if code, ok := errors.AsType[utilexec.CodeExitError](err); ok {
		return fmt.Errorf("the command ended with %d", code.Code)
	}
	return err
}

// sizes returns the size of our terminal and each change of it.
type sizes struct {
	ctx     context.Context // Next has none, and must end with the command
	changed chan os.Signal
	sent    bool
}

// terminal makes ours raw, until restore.
func terminal(ctx context.Context) (restore func(), s *sizes, err error) {
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return func() {}, nil, &program.UsageError{Setting: "tty", Reason: "the input is no terminal"}
	}
	state, err := term.MakeRaw(fd)
	if err != nil {
		return nil, nil, err
	}
	s = &sizes{ctx: ctx, changed: make(chan os.Signal, 1)}
	signal.Notify(s.changed, resized...)
	return func() {
		signal.Stop(s.changed)
		_ = term.Restore(fd, state) // nothing else can be done
	}, s, nil
}

// Next waits for the next size; nil ends.
func (s *sizes) Next() *remotecommand.TerminalSize {
	if s == nil {
		return nil
	}
	if s.sent {
		select {
		case <-s.changed:
		case <-s.ctx.Done():
			return nil
		}
	}
	s.sent = true
	w, h, err := term.GetSize(int(os.Stdin.Fd()))
	if err != nil {
		return nil
	}
	return &remotecommand.TerminalSize{Width: uint16(w), Height: uint16(h)}
}
