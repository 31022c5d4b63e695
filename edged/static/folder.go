package static

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/lifecycle"
)

// maxManifest is the size in bytes of the largest manifest that is read.
const maxManifest = 1 << 20

// Config sets up a Folder. Dir and Node are required.
type Config struct {
	Dir    string        // absolute path; it may not exist yet
	Node   string        // the node's name
	Every  time.Duration // between two looks at the folder; 0 means 1 s
	Logger *slog.Logger  // nil discards
}

// Folder is a folder of manifests.
type Folder struct {
	cfg       Config
	guard     lifecycle.Guard
	files     map[string]*file // by name
	lastError string           // why the folder could not be read, as last logged

	readFile func(path string) ([]byte, error) // reads at most maxManifest+1 bytes; tests replace it
}

// file is what is known of one manifest.
type file struct {
	mark    string      // of the content that was read last: size and time; "" to read it again
	next    *corev1.Pod // what the content says; nil once it is accepted or refused for good
	pod     *corev1.Pod // the last good one; nil if there was none
	refused string      // why the content was refused, as last logged
}

// New checks the configuration; it reads nothing.
func New(cfg Config) (*Folder, error) {
	switch {
	case !filepath.IsAbs(cfg.Dir):
		return nil, fmt.Errorf("static: Config.Dir %q is not an absolute path", cfg.Dir)
	case cfg.Node == "":
		return nil, errors.New("static: Config.Node is required: the node's name")
	case cfg.Every < 0:
		return nil, errors.New("static: Config.Every is negative: leave it 0 for 1 s")
	}
	if cfg.Every == 0 {
		cfg.Every = time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Folder{cfg: cfg, files: make(map[string]*file), readFile: readManifest}, nil
}

// Run calls changed with all pods, ordered by namespace and name: at once, and
// after each change of the folder, until ctx ends; it then returns nil. The
// pods are shared and must not be changed. A second call
// returns edged.ErrStarted.
func (f *Folder) Run(ctx context.Context, changed func([]*corev1.Pod)) error {
	if err := f.guard.Start(); err != nil {
		return err
	}
	f.scan()
	changed(f.pods())
	tick := time.NewTicker(f.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if f.scan() {
			changed(f.pods())
		}
	}
}

// scan reads what changed in the folder and reports whether the pods did.
func (f *Folder) scan() bool {
	entries, err := os.ReadDir(f.cfg.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		// What was known stays: the disk may come back.
		if f.lastError != err.Error() {
			f.cfg.Logger.Warn("folder of static pods cannot be read; its pods stay as they were", "dir", f.cfg.Dir, "err", err)
		}
		f.lastError = err.Error()
		return false
	}
	f.lastError = ""
	there := make(map[string]bool)
	different := false
	for _, e := range entries {
		if !isManifest(e.Name()) {
			continue
		}
		info, err := os.Stat(filepath.Join(f.cfg.Dir, e.Name())) // follows links: config maps on hosts are made of them
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		there[e.Name()] = true
		f.read(e.Name(), info, err)
	}
	for name, known := range f.files {
		if !there[name] {
			delete(f.files, name)
			different = different || known.pod != nil
		}
	}
	return f.accept() || different
}

// isManifest reports whether a file of that name is read.
func isManifest(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	return slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name))
}

// read reads one file if it changed. A file that cannot be read is read again next
// time: a disk recovers.
func (f *Folder) read(name string, info fs.FileInfo, err error) {
	known := f.files[name]
	if known == nil {
		known = &file{}
		f.files[name] = known
	}
	var mark string
	if err == nil {
		mark = fmt.Sprint(info.Size(), info.ModTime().UnixNano(), info.Mode())
		if mark == known.mark {
			return
		}
	}
	var text []byte
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = errors.New("it is not a regular file")
	default:
		text, err = f.readFile(filepath.Join(f.cfg.Dir, name))
	}
	if err != nil {
		known.mark = ""
		f.refuse(name, err)
		return
	}
	known.mark, known.next, known.refused = mark, nil, ""
	pod, err := decode(text, f.cfg.Node)
	if err != nil {
		f.refuse(name, err)
		return
	}
	known.next = pod
}

// accept takes over what the files say, and reports whether the pods changed. A
// pod whose name another file has waits until that is free.
func (f *Folder) accept() bool {
	names := slices.Sorted(maps.Keys(f.files))
	different := false
	for again := true; again; { // one that is accepted may free a name
		again = false
		for _, name := range names {
			known := f.files[name]
			if known.next == nil || f.taken(name, known.next) != nil {
				continue
			}
			if known.pod == nil || known.pod.UID != known.next.UID { // else other spaces, same pod
				known.pod = known.next
				different, again = true, true
			}
			known.next, known.refused = nil, ""
		}
	}
	for _, name := range names {
		if next := f.files[name].next; next != nil {
			f.refuse(name, f.taken(name, next))
		}
	}
	return different
}

// refuse logs why a file is not taken over, once for each content and cause.
func (f *Folder) refuse(name string, err error) {
	known := f.files[name]
	if known.refused != err.Error() {
		f.cfg.Logger.Error("static pod is skipped", "file", filepath.Join(f.cfg.Dir, name), "err", err, "keeps", known.pod != nil)
	}
	known.refused = err.Error()
}

// taken is an error if another file has a pod of this name.
func (f *Folder) taken(name string, pod *corev1.Pod) error {
	for other, known := range f.files {
		if other != name && known.pod != nil && known.pod.Namespace == pod.Namespace && known.pod.Name == pod.Name {
			return fmt.Errorf("pod %s/%s is in %s already: give one of them another metadata.name", pod.Namespace, pod.Name, other)
		}
	}
	return nil
}

// decode makes a pod of a manifest and names the remedy in its error.
func decode(text []byte, node string) (*corev1.Pod, error) {
	if len(text) > maxManifest {
		return nil, fmt.Errorf("it has more than %d bytes", maxManifest)
	}
	return Decode(text, node)
}

// readManifest reads a plain file, and at most maxManifest+1 bytes of it.
func readManifest(path string) ([]byte, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, maxManifest+1))
}

// pods lists the pods of all files.
func (f *Folder) pods() []*corev1.Pod {
	var all []*corev1.Pod
	for _, known := range f.files {
		if known.pod != nil {
			all = append(all, known.pod)
		}
	}
	sortPods(all)
	return all
}

// sortPods orders pods by namespace and name.
func sortPods(pods []*corev1.Pod) {
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
}
