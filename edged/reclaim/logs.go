package reclaim

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/edged/crilog"
	"github.com/edgekit/edgekit/edged/internal/durable"
	"github.com/edgekit/edgekit/edged/internal/lifecycle"
	"github.com/edgekit/edgekit/edged/internal/podlogs"
	"github.com/edgekit/edgekit/edged/internal/regular"
	"github.com/edgekit/edgekit/edged/runtime"
)

// Defaults of a LogsConfig, which are the kubelet's.
const (
	defaultLogSize     = 10 << 20
	defaultLogFiles    = 5
	defaultLogWorkers  = 1
	defaultLogInterval = 10 * time.Second
	minLogInterval     = 3 * time.Second
)

// reopenTimeout is how long the runtime has to open a log file. Meanwhile it has no
// name that readers know.
const reopenTimeout = 30 * time.Second

// LogRuntime is what of a runtime rotates logs.
type LogRuntime interface {
	runtime.LogReopener
	// ListContainers lists all containers, as runtime.Containers says.
	ListContainers(ctx context.Context, podUID string) ([]runtime.Container, error)
}

// LogsConfig sets up Logs. Root and Runtime are required.
type LogsConfig struct {
	Root    string // folder of the pods' logs
	Runtime LogRuntime

	MaxSize  int64         // bytes of a log at which it is rotated; 0 means 10 MiB
	MaxFiles int           // files kept of one container, the one that it writes to included; 0 means 5, the least is 2
	Workers  int           // logs that are rotated at the same time; 0 means 1
	Interval time.Duration // how often the logs are looked at; 0 means 10 seconds, the least is 3
	Logger   *slog.Logger  // nil discards
}

// Logs rotates the logs of running containers.
type Logs struct {
	cfg     LogsConfig
	guard   lifecycle.Guard
	failing bool // belongs to Run: the last look failed, and that was logged
}

// NewLogs checks cfg and makes Logs. It does no I/O.
func NewLogs(cfg LogsConfig) (*Logs, error) {
	switch {
	case !filepath.IsAbs(cfg.Root):
		return nil, fmt.Errorf("reclaim: LogsConfig.Root %q is not an absolute path", cfg.Root)
	case cfg.Runtime == nil:
		return nil, errors.New("reclaim: LogsConfig.Runtime is required")
	case cfg.MaxSize < 0:
		return nil, fmt.Errorf("reclaim: LogsConfig.MaxSize is %d: want a number of bytes, or 0 for 10 MiB", cfg.MaxSize)
	case cfg.MaxFiles != 0 && cfg.MaxFiles < 2:
		return nil, fmt.Errorf("reclaim: LogsConfig.MaxFiles is %d: want at least 2, or 0 for 5", cfg.MaxFiles)
	case cfg.Workers < 0:
		return nil, fmt.Errorf("reclaim: LogsConfig.Workers is %d: want at least 1, or 0 for 1", cfg.Workers)
	case cfg.Interval != 0 && cfg.Interval < minLogInterval:
		return nil, fmt.Errorf("reclaim: LogsConfig.Interval is %s: want at least %s, or 0 for %s", cfg.Interval, minLogInterval, defaultLogInterval)
	}
	if cfg.MaxSize == 0 {
		cfg.MaxSize = defaultLogSize
	}
	if cfg.MaxFiles == 0 {
		cfg.MaxFiles = defaultLogFiles
	}
	if cfg.Workers == 0 {
		cfg.Workers = defaultLogWorkers
	}
	if cfg.Interval == 0 {
		cfg.Interval = defaultLogInterval
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Logs{cfg: cfg}, nil
}

// Run looks at the logs now and then until ctx ends, and then returns nil. A second
// call returns edged.ErrStarted.
func (l *Logs) Run(ctx context.Context) error {
	if err := l.guard.Start(); err != nil {
		return err
	}
	tick := time.NewTicker(l.cfg.Interval)
	defer tick.Stop()
	for {
		err := l.Rotate(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !l.failing:
			l.cfg.Logger.Warn("logs of containers cannot be rotated; trying again", "err", err)
		}
		l.failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// logWork is a log that there is something to do about.
type logWork struct {
	dir   string // folder of the container's logs
	files logFiles
	id    string // of the container
}

// Rotate looks at all logs once, and rotates those that are due. The runtime is
// asked only where there is something to do. It goes through all and returns the
// errors joined.
func (l *Logs) Rotate(ctx context.Context) error {
	due, err := l.due()
	if err != nil || len(due) == 0 {
		return err
	}
	// Only running containers: the runtime opens no file for others, and there would be
	// no file left to read.
	all, err := l.cfg.Runtime.ListContainers(ctx, "")
	if err != nil {
		return fmt.Errorf("reclaim: %w", err)
	}
	errs := make([]error, len(all))
	var group errgroup.Group
	group.SetLimit(l.cfg.Workers)
	for i, c := range all {
		file, ok := podlogs.ContainerFile(l.cfg.Root, c)
		w, found := due[file]
		if !ok || !found || c.State != runtime.ContainerRunning || ctx.Err() != nil {
			continue
		}
		w.id = c.ID
		group.Go(func() error {
			errs[i] = l.rotate(ctx, w)
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	return errors.Join(errs...)
}

// due lists the logs that there is something to do about, by the path of the file
// that the container writes to.
func (l *Logs) due() (map[string]logWork, error) {
	due := make(map[string]logWork)
	pods, err := os.ReadDir(l.cfg.Root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reclaim: %w", err)
	}
	for _, pod := range pods {
		// What goes while it is read belongs to a pod that has ended.
		containers, _ := os.ReadDir(filepath.Join(l.cfg.Root, pod.Name()))
		for _, c := range containers {
			dir := filepath.Join(l.cfg.Root, pod.Name(), c.Name())
			for _, f := range logsIn(dir) {
				if !planLog(f, l.policy(), time.Time{}).isEmpty() {
					due[filepath.Join(dir, f.file)] = logWork{dir: dir, files: f}
				}
			}
		}
	}
	return due, nil
}

func (l *Logs) policy() logPolicy { return logPolicy{maxSize: l.cfg.MaxSize, maxFiles: l.cfg.MaxFiles} }

// logsIn lists the logs of a container that are in a folder: one for each time that
// it was started. A log of which only rotated files are left is among them.
func logsIn(dir string) []logFiles {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	var out []logFiles
	known := make(map[string]bool)
	for _, e := range entries { // "0.log" sorts before "0.log.20060102-150405"
		number, rest, ok := strings.Cut(e.Name(), ".log")
		file := number + ".log"
		if !ok || known[file] {
			continue
		}
		f := logFiles{file: file, size: -1, beside: names}
		if rest == "" {
			info, err := e.Info()
			if err != nil || !info.Mode().IsRegular() {
				continue
			}
			f.size = info.Size()
		}
		known[file] = true
		out = append(out, f)
	}
	return out
}

// rotate does what is due about one log.
func (l *Logs) rotate(ctx context.Context, w logWork) error {
	plan := planLog(w.files, l.policy(), time.Now())
	var errs []error
	for _, name := range plan.remove {
		if err := os.Remove(filepath.Join(w.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("reclaim: %w", err)) // a full disk must not keep a log from being rotated
		}
	}
	path := filepath.Join(w.dir, w.files.file)
	switch {
	case plan.reopen:
		errs = append(errs, l.Reopen(ctx, w.id))
	case plan.rotateTo != "":
		if err := l.rename(ctx, w.id, path, filepath.Join(w.dir, plan.rotateTo)); err != nil {
			return errors.Join(append(errs, err)...)
		}
	}
	for _, name := range plan.compress {
		// What cannot be compressed, on a disk that is full, stays as it is, and goes in its
		// turn.
		if err := compress(filepath.Join(w.dir, name)); err != nil {
			errs = append(errs, fmt.Errorf("reclaim: compress a log: %w", err))
		}
	}
	return errors.Join(errs...)
}

// rename renames the file that a container writes to, and has the runtime open a new
// one. If that fails the name is given back.
func (l *Logs) rename(ctx context.Context, id, from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("reclaim: %w", err)
	}
	err := l.Reopen(ctx, id)
	if err == nil {
		return nil
	}
	// It may have been opened all the same, before the answer was lost.
	if _, statErr := os.Lstat(from); !errors.Is(statErr, fs.ErrNotExist) {
		return err
	}
	if back := os.Rename(to, from); back != nil {
		return errors.Join(err, fmt.Errorf("reclaim: %w", back))
	}
	return err
}

// Reopen has the runtime open the log file of a running container. A rotation that has begun is
// brought to its end also when the agent is to end.
func (l *Logs) Reopen(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reopenTimeout)
	defer cancel()
	if err := l.cfg.Runtime.ReopenContainerLog(ctx, id); err != nil {
		return fmt.Errorf("reclaim: reopen the log of container %s: %w", id, err)
	}
	return nil
}

// compress replaces a file by a compressed one. At each moment one of the two is
// whole on the disk, also after a power cut.
func compress(path string) error {
	in, err := regular.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	temp := path + crilog.TemporaryName
	out, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp) }()             // after the renaming there is none; what a crash leaves goes at the next look
	z, err := gzip.NewWriterLevel(out, gzip.BestSpeed) // CPU is scarce on a small machine
	if err == nil {
		_, err = io.Copy(z, in)
		err = errors.Join(err, z.Close(), out.Sync())
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, path+crilog.CompressedName); err != nil {
		return err
	}
	if err := durable.SyncDir(filepath.Dir(path)); err != nil {
		return err // both are there: the next look removes the one that is not needed
	}
	return os.Remove(path)
}
