package oomwatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"syscall"
)

// Victim is the process that the kernel has killed.
type Victim struct {
	PID  int
	Name string
}

// Config sets up Run. Killed and File are required.
type Config struct {
	Killed func(Victim)
	File   string       // of the kernel's messages: /dev/kmsg
	Logger *slog.Logger // nil discards
}

// maxMessage is the most that the kernel gives in one read, see Documentation/ABI/testing/dev-kmsg.
const maxMessage = 8192

// Run watches until ctx ends, and then returns nil. A machine whose messages may not be read is not
// watched, which is logged: Run waits for ctx then.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Killed == nil || cfg.File == "" {
		return errors.New("oomwatch: Config.Killed and Config.File are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	err := watch(ctx, cfg)
	if ctx.Err() == nil {
		cfg.Logger.Debug("the kernel's messages cannot be read: there are no events of a machine that is out of memory", "err", err)
		<-ctx.Done()
	}
	return nil
}

func watch(ctx context.Context, cfg Config) error {
	f, err := os.OpenFile(cfg.File, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("oomwatch: %w", err)
	}
	defer f.Close()
	if _, err := f.Seek(0, io.SeekEnd); err != nil && !errors.Is(err, syscall.ESPIPE) {
		return fmt.Errorf("oomwatch: %w", err)
	}
	// A read that waits ends with the file.
	defer context.AfterFunc(ctx, func() { _ = f.Close() })()
	message := make([]byte, maxMessage)
	for {
		n, err := f.Read(message) // one message
		if errors.Is(err, syscall.EPIPE) {
			continue // some were overwritten before they were read
		}
		if err != nil {
			return fmt.Errorf("oomwatch: %w", err)
		}
		if v, ok := parse(message[:n]); ok {
			cfg.Killed(v)
		}
	}
}

// parse reads a message of the kernel. It is true for a process that was killed because the machine
// had no memory: "6,1,2,-;oom-kill:constraint=CONSTRAINT_NONE,...,global_oom,task_memcg=/x,task=name,pid=1,uid=0".
func parse(message []byte) (v Victim, ok bool) {
	_, text, ok := bytes.Cut(message, []byte(";"))
	line, _, _ := bytes.Cut(text, []byte("\n"))
	rest, isKill := bytes.CutPrefix(line, []byte("oom-kill:"))
	if !ok || !isKill {
		return v, false
	}
	global := false
	for field := range bytes.SplitSeq(rest, []byte(",")) {
		name, value, _ := bytes.Cut(field, []byte("="))
		switch string(name) {
		case "global_oom":
			global = true
		case "task":
			v.Name = string(value)
		case "pid":
			pid, err := strconv.Atoi(string(value))
			if err != nil || pid <= 0 {
				return v, false
			}
			v.PID = pid
		}
	}
	return v, global && v.PID > 0
}
