package child

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrStarted is returned by a second Run of one value.
var ErrStarted = errors.New("bus/pipeline/child: Run was called before")

// Config sets up a Child. Program is required.
type Config struct {
	Program string   // the program's file, an absolute path
	Args    []string // its arguments
	Env     []string // of its environment, KEY=VALUE, besides what the package comment names
	// MinPause and MaxPause bound the pause before a restart; 0 means 1s and 1m.
	MinPause, MaxPause time.Duration
	// StopAfter is how long the program has to end after SIGTERM; 0 means 10s.
	StopAfter time.Duration
	// Changed is called after each change of State, one call at a time. It must not block.
	// Nil is not called.
	Changed func(State)
	Logger  *slog.Logger // nil discards
}

// Reason says what a Child does.
type Reason string

// The reasons.
const (
	ReasonStopped  Reason = "Stopped"          // Run does not run
	ReasonRunning  Reason = "Running"          // the program runs
	ReasonMissing  Reason = "ProgramMissing"   // there is no such program, or it cannot be started
	ReasonCrashing Reason = "CrashLoopBackOff" // it has ended by itself, and is started again after a pause
)

// State is what a Child does.
type State struct {
	Reason   Reason
	Message  string    // for people: what is wrong, and the remedy; empty if nothing is
	PID      int       // of the running program; else 0
	Restarts int       // how often it was started again
	Since    time.Time // since when Reason holds
}

// Child runs one program. Make one with New.
type Child struct {
	cfg     Config
	log     *slog.Logger
	started atomic.Bool

	mu    sync.Mutex
	state State
}

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Child, error) {
	switch {
	case !filepath.IsAbs(cfg.Program):
		return nil, fmt.Errorf("bus/pipeline/child: Config.Program is %q: give an absolute path", cfg.Program)
	case cfg.MinPause < 0 || cfg.MaxPause < 0 || cfg.StopAfter < 0:
		return nil, errors.New("bus/pipeline/child: Config.MinPause, MaxPause or StopAfter is negative: leave it 0 for the default")
	}
	if cfg.MinPause == 0 {
		cfg.MinPause = time.Second
	}
	if cfg.MaxPause == 0 {
		cfg.MaxPause = time.Minute
	}
	if cfg.StopAfter == 0 {
		cfg.StopAfter = 10 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Child{cfg: cfg, log: cfg.Logger, state: State{Reason: ReasonStopped}}, nil
}

// State returns what the Child does now.
func (c *Child) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// set changes the state and reports it.
func (c *Child) set(s State) {
	c.mu.Lock()
	s.Restarts = c.state.Restarts
	s.Since = c.state.Since
	if s.Reason != c.state.Reason || s.Since.IsZero() {
		s.Since = time.Now()
	}
	same := s == c.state
	c.state = s
	c.mu.Unlock()
	if c.cfg.Changed != nil && !same {
		c.cfg.Changed(s)
	}
}

// longLife is how long a program must have run for the next pause to be short again.
const longLife = time.Minute

// Run runs the program until ctx ends, then ends it and returns nil. A second call returns
// ErrStarted.
func (c *Child) Run(ctx context.Context) error {
	if !c.started.CompareAndSwap(false, true) {
		return ErrStarted
	}
	defer c.set(State{Reason: ReasonStopped})
	pause := c.cfg.MinPause
	for {
		begun := time.Now()
		err := c.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(begun) > longLife {
			pause = c.cfg.MinPause
		}
		state := c.judge(err, pause)
		c.log.Error("the program does not run", "program", c.cfg.Program, "reason", string(state.Reason), "err", state.Message)
		c.set(state)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		pause = min(2*pause, c.cfg.MaxPause)
		c.mu.Lock()
		c.state.Restarts++
		c.mu.Unlock()
	}
}

// startError is why a program could not be started.
type startError struct{ error }

func (e startError) Unwrap() error { return e.error }

// judge says what an end of the program means.
func (c *Child) judge(err error, pause time.Duration) State {
	if _, ok := errors.AsType[startError](err); !ok {
		how := "it has ended by itself"
		if err != nil {
			how = "it has ended: " + err.Error()
		}
		return State{Reason: ReasonCrashing, Message: fmt.Sprintf("%s: %s; it is started again in %v, and its last lines are in the log", c.cfg.Program, how, pause)}
	}
	remedy := "see the error"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		remedy = "install the program, or set its path"
	case errors.Is(err, fs.ErrPermission):
		remedy = "make the file executable"
	case errors.Is(err, syscall.ENOEXEC):
		remedy = "it is no program for this machine: install the one of this architecture"
	}
	return State{Reason: ReasonMissing, Message: fmt.Sprintf("%s cannot be started: %v: %s; it is tried again", c.cfg.Program, unwrapPath(err), remedy)}
}

// unwrapPath leaves out what os says about the path, which the message has.
func unwrapPath(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}

// inherited are the variables of the environment that the program gets of this one's.
func inherited() []string {
	return []string{
		"TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
	}
}

func (c *Child) environment() []string {
	env := []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, name := range inherited() {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return append(env, c.cfg.Env...)
}

// once runs the program until it ends or ctx does.
func (c *Child) once(ctx context.Context) error {
	// The kernel kills the program when the thread that started it ends (PR_SET_PDEATHSIG).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, c.cfg.Program, c.cfg.Args...)
	cmd.Env, cmd.Dir, cmd.SysProcAttr = c.environment(), "/", attributes()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = c.cfg.StopAfter
	stdin, err := cmd.StdinPipe() // nothing is written; its end is this program's
	if err != nil {
		return startError{err}
	}
	defer stdin.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return startError{err}
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	_ = w.Close() // the program has it
	if err != nil {
		return startError{err}
	}
	if err := yieldMemory(cmd.Process.Pid); err != nil {
		c.log.Debug("the program keeps this program's rank for the case that memory is short", "err", err)
	}
	c.log.Info("the program runs", "program", c.cfg.Program, "pid", cmd.Process.Pid)
	c.set(State{Reason: ReasonRunning, PID: cmd.Process.Pid})
	var logging sync.WaitGroup
	logging.Go(func() { copyLog(ctx, c.log, r) })
	err = cmd.Wait()
	// A child of the program may still have the pipe.
	_ = r.SetReadDeadline(time.Now().Add(logDrain))
	logging.Wait()
	return err
}

// logDrain is how long the last lines of a program that has ended may take.
const logDrain = time.Second
