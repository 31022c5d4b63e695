package sources

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/edged/crilog"
)

// Bounds of PodLogs.
const (
	scanEvery     = 2 * time.Second
	maxContainers = 256 // that one reader follows
	maxText       = pipeline.MaxEvent / 2
)

// PodLogsConfig sets up PodLogs.
type PodLogsConfig struct {
	Folder string // where the container runtime writes logs; empty means /var/log/pods
	// State is a folder for the places in the files; empty means a pipeline's own (Env.State),
	// which is removed with the pipeline.
	State string
	// Labels returns the labels of a pod by its namespace, name and uid. nil: a source with a
	// podSelector is refused.
	Labels func(ctx context.Context, namespace, pod, uid string) (map[string]string, error)
	Clock  pipeline.Clock // nil means pipeline.SystemClock
	Logger *slog.Logger   // nil discards
}

// PodLogs follow the logs of containers in the files that the container runtime writes, in the
// format of the container runtime interface: FOLDER/NAMESPACE_POD_UID/CONTAINER/RESTARTS.log.
// They need no connection to the runtime.
type PodLogs struct{ cfg PodLogsConfig }

var _ pipeline.ContainerLogs = (*PodLogs)(nil)

// NewPodLogs checks cfg and allocates PodLogs.
func NewPodLogs(cfg PodLogsConfig) (*PodLogs, error) {
	if cfg.Folder == "" {
		cfg.Folder = "/var/log/pods"
	}
	if !filepath.IsAbs(cfg.Folder) {
		return nil, fmt.Errorf("bus/pipeline/sources: PodLogsConfig.Folder is %.100q: give the whole path", cfg.Folder)
	}
	if cfg.Clock == nil {
		cfg.Clock = pipeline.SystemClock{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &PodLogs{cfg: cfg}, nil
}

// At returns the same logs with a folder for places, unless PodLogsConfig.State says which.
func (p *PodLogs) At(folder string) pipeline.ContainerLogs {
	own := *p
	if own.cfg.State == "" {
		own.cfg.State = folder
	}
	return &own
}

// podDir reads the name of a pod's folder.
func podDir(name string) (namespace, pod, uid string, ok bool) {
	parts := strings.Split(name, "_")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return "", "", "", false
	}
	return parts[0], parts[1], parts[2], true
}

// logFile is one file of a container, which goes on under the same name after a rotation.
type logFile struct {
	path                           string // below the folder
	namespace, pod, uid, container string
}

// Follow calls handle with the lines of containers; see pipeline.ContainerLogs. At the very
// first start of a reader, what was logged before is left out. Lines of one container come in
// order, those of several one at a time.
func (p *PodLogs) Follow(ctx context.Context, name string, which v1alpha1.ContainerLogsSource, handle func(ctx context.Context, l pipeline.LogLine, done func()) error) error {
	selector := labels.Everything()
	if which.PodSelector != nil {
		var err error
		if selector, err = metav1.LabelSelectorAsSelector(which.PodSelector); err != nil {
			return fmt.Errorf("bus/pipeline/sources: containerLogs.podSelector: %w", err)
		}
		if p.cfg.Labels == nil && !selector.Empty() {
			return errors.New("bus/pipeline/sources: containerLogs.podSelector: this program does not know the labels of pods: select by container")
		}
	}
	if p.cfg.State != "" {
		if err := os.MkdirAll(p.cfg.State, 0o700); err != nil {
			return fmt.Errorf("bus/pipeline/sources: containerLogs: %w", err)
		}
	}
	r := &logReader{p: p, name: name, which: which, selector: selector, handle: handle, open: make(map[string]bool), wanted: make(map[string]bool)}
	return r.run(ctx)
}

// logReader is one call of Follow.
type logReader struct {
	p        *PodLogs
	name     string
	which    v1alpha1.ContainerLogsSource
	selector labels.Selector
	handle   func(ctx context.Context, l pipeline.LogLine, done func()) error

	wanted map[string]bool // by the name of a pod's folder: whether its labels match; of run alone

	handling sync.Mutex // one line at a time

	mu     sync.Mutex
	open   map[string]bool // by path
	failed error
}

func (r *logReader) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var followers sync.WaitGroup
	defer followers.Wait()
	defer cancel()
	first := !r.known()
	warned := false
	for {
		files, err := r.find(ctx)
		if err != nil && !warned && ctx.Err() == nil {
			r.p.cfg.Logger.Warn("the logs of containers cannot be listed; trying again", "folder", r.p.cfg.Folder, "err", err)
		}
		warned = err != nil
		for _, file := range files {
			r.mu.Lock()
			start := !r.open[file.path] && len(r.open) < maxContainers
			if start {
				r.open[file.path] = true
			}
			r.mu.Unlock()
			if start {
				fromEnd := first
				followers.Go(func() {
					if err := r.follow(ctx, file, fromEnd); err != nil {
						cancel()
					}
				})
			}
		}
		first = first && err != nil
		timer := r.p.cfg.Clock.NewTimer(scanEvery)
		select {
		case <-timer.C():
		case <-ctx.Done():
			timer.Stop()
			cancel()
			followers.Wait()
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.failed
		}
	}
}

// known reports whether the reader has run before, and notes that it has.
func (r *logReader) known() bool {
	mark := stateFile(r.p.cfg.State, "logs", r.name)
	if mark == "" {
		return false
	}
	if _, err := os.Stat(mark); err == nil {
		return true
	}
	if err := saveFile(mark, r.name); err != nil {
		r.p.cfg.Logger.Warn("places in logs cannot be stored", "err", err)
	}
	return false
}

// find lists the files that are wanted.
func (r *logReader) find(ctx context.Context) ([]logFile, error) {
	pods, err := os.ReadDir(r.p.cfg.Folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no pod has run yet
	}
	var out []logFile
	seen := make(map[string]bool)
	for _, d := range pods {
		namespace, pod, uid, ok := podDir(d.Name())
		if !ok || !d.IsDir() || namespace != r.which.Namespace {
			continue
		}
		seen[d.Name()] = true
		match, asked := r.wanted[d.Name()]
		if !asked {
			if match = true; !r.selector.Empty() {
				set, err := r.p.cfg.Labels(ctx, namespace, pod, uid)
				if err != nil {
					continue // asked again at the next look
				}
				match = r.selector.Matches(labels.Set(set))
			}
			r.wanted[d.Name()] = match
		}
		if !match {
			continue
		}
		containers, err := os.ReadDir(path.Join(r.p.cfg.Folder, d.Name()))
		if err != nil {
			continue // the pod was removed meanwhile
		}
		for _, c := range containers {
			if !c.IsDir() || r.which.Container != "" && c.Name() != r.which.Container {
				continue
			}
			logs, err := os.ReadDir(path.Join(r.p.cfg.Folder, d.Name(), c.Name()))
			if err != nil {
				continue
			}
			for _, l := range logs {
				if number, ok := strings.CutSuffix(l.Name(), ".log"); ok && strings.Trim(number, "0123456789") == "" {
					out = append(out, logFile{path.Join(d.Name(), c.Name(), l.Name()), namespace, pod, uid, c.Name()})
				}
			}
		}
	}
	for name := range r.wanted {
		if !seen[name] {
			delete(r.wanted, name)
		}
	}
	slices.SortFunc(out, func(a, b logFile) int { return strings.Compare(a.path, b.path) })
	return out, err
}

// follow reads one file until ctx ends or the file is gone. It returns handle's error.
func (r *logReader) follow(ctx context.Context, file logFile, fromEnd bool) error {
	log := r.p.cfg.Logger.With("source", r.name, "file", file.path)
	finish := func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.open, file.path)
	}
	defer finish()
	root, err := os.OpenRoot(r.p.cfg.Folder)
	if err != nil {
		return nil // the next look tries again
	}
	defer root.Close()
	f := &follower{
		root: root, path: file.path, state: stateFile(r.p.cfg.State, "log", r.name+"\x00"+file.path), end: fromEnd, ends: true,
		clock: r.p.cfg.Clock, log: log,
	}
	whole := assembler{file: file}
	var stopped error
	err = f.run(ctx, func(ctx context.Context, lines []line) error {
		r.handling.Lock()
		defer r.handling.Unlock()
		for _, l := range lines {
			out, safe, ok := whole.add(l)
			if !ok {
				continue
			}
			if err := r.handle(ctx, out, func() { f.done(safe) }); err != nil {
				stopped = err
				return err
			}
		}
		return nil
	})
	switch {
	case stopped != nil && ctx.Err() == nil:
		r.mu.Lock()
		r.failed = stopped
		r.mu.Unlock()
		return stopped
	case err != nil && ctx.Err() == nil:
		log.Warn("a log cannot be read; trying again", "err", err)
	case ctx.Err() == nil && f.state != "":
		_ = os.Remove(f.state) // the file is gone, and with it its place
	}
	return nil
}

// assembler makes lines of the entries of one file: runtimes cut long ones.
type assembler struct {
	file  logFile
	parts map[string]*partLine // by stream
}

type partLine struct {
	first line
	at    time.Time
	text  []byte
}

// add adds an entry. With ok, out is a whole line, and all up to safe is done when out is.
func (a *assembler) add(l line) (out pipeline.LogLine, safe line, ok bool) {
	entry, err := crilog.Parse(l.text)
	if err != nil {
		return out, l, false // no entry of a log
	}
	p := a.parts[entry.Stream]
	if p == nil {
		p = &partLine{first: l, at: entry.Time}
	}
	if len(p.text)+len(entry.Text) <= maxText { // the rest of a longer one is left out
		p.text = append(p.text, entry.Text...)
	}
	if entry.Partial {
		if a.parts == nil {
			a.parts = make(map[string]*partLine)
		}
		a.parts[entry.Stream] = p
		return out, l, false
	}
	delete(a.parts, entry.Stream)
	safe = l
	for _, other := range a.parts { // of the other stream: it is read again from its beginning
		if other.first.generation == l.generation && other.first.offset < safe.end {
			safe.end = other.first.offset
		}
	}
	return pipeline.LogLine{
		Namespace: a.file.namespace, Pod: a.file.pod, Container: a.file.container, Stream: entry.Stream, Time: p.at,
		Text: strings.ToValidUTF8(string(p.text), "\uFFFD"), ID: a.file.uid + "/" + a.file.container + "/" + strings.TrimSuffix(path.Base(a.file.path), ".log") + "/" + p.first.id(),
	}, safe, true
}
