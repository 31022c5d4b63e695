package mounthelper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Config sets up a Helper. The zero value is good.
type Config struct {
	MountProgram   string        // "" means "mount", looked for in PATH
	UnmountProgram string        // "" means "umount", looked for in PATH
	Graceful       time.Duration // how long an unmount may take before it is forced; 0 means one minute
}

// Helper mounts and unmounts.
type Helper struct{ cfg Config }

// path is where the programs, and those that they start, are looked for.
const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// maxOutput is how much of a program's output goes into an error.
const maxOutput = 1 << 10

// New makes a Helper.
func New(cfg Config) *Helper {
	if cfg.MountProgram == "" {
		cfg.MountProgram = "mount"
	}
	if cfg.UnmountProgram == "" {
		cfg.UnmountProgram = "umount"
	}
	if cfg.Graceful == 0 {
		cfg.Graceful = time.Minute
	}
	return &Helper{cfg: cfg}
}

// Mount mounts source on target, which must be an absolute path. The options are
// those of the file system; the caller has checked them.
func (h *Helper) Mount(ctx context.Context, fstype, source, target string, options []string) error {
	if err := check(fstype, target); err != nil {
		return err
	}
	args := []string{"-t", fstype}
	if len(options) > 0 {
		args = append(args, "-o", strings.Join(options, ","))
	}
	return run(ctx, h.cfg.MountProgram, append(args, "--", source, target)...)
}

// Unmount unmounts target. When that takes too long, because the server is away, it
// is forced, and what was not written yet is lost: umount(8), -f and -l.
func (h *Helper) Unmount(ctx context.Context, target string) error {
	if err := check("none", target); err != nil {
		return err
	}
	graceful, cancel := context.WithTimeout(ctx, h.cfg.Graceful)
	defer cancel()
	err := run(graceful, h.cfg.UnmountProgram, "--", target)
	if err == nil || ctx.Err() != nil || graceful.Err() == nil {
		return err
	}
	return run(ctx, h.cfg.UnmountProgram, "-f", "-l", "--", target)
}

func check(fstype, target string) error {
	if fstype == "" || strings.HasPrefix(fstype, "-") {
		return fmt.Errorf("mounthelper: %q is no type of file system", fstype)
	}
	if !filepath.IsAbs(target) {
		return fmt.Errorf("mounthelper: target %q is no absolute path", target)
	}
	return nil
}

func run(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{path, "LC_ALL=C"}
	endWithHelpers(cmd)
	cmd.WaitDelay = 5 * time.Second // a helper that it started may hold its output open
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err == nil {
		return nil
	}
	text := strings.TrimSpace(string(out.Bytes()[:min(out.Len(), maxOutput)]))
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("mounthelper: the host has no program %s: install it: %w", program, err)
	case ctx.Err() != nil:
		return fmt.Errorf("mounthelper: %s %s: %w: %s", program, strings.Join(args, " "), ctx.Err(), text)
	}
	return fmt.Errorf("mounthelper: %s %s: %w: %s", program, strings.Join(args, " "), err, text)
}
