package static

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
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
	cfg   Config
	files map[string]*file // by name
	told  string           // why the folder could not be read, as last logged
}

// file is what is known of one manifest.
type file struct {
	mark string      // of the content that was looked at last: size and time
	pod  *corev1.Pod // the last good one; nil if there was none
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
	return &Folder{cfg: cfg, files: make(map[string]*file)}, nil
}

// Run calls changed with all pods, ordered by namespace and name: at once, and
// after each change of the folder, until ctx ends; it then returns nil. The
// pods are shared and must not be changed. It may be called once.
func (f *Folder) Run(ctx context.Context, changed func([]*corev1.Pod)) error {
	f.look()
	changed(f.pods())
	tick := time.NewTicker(f.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if f.look() {
			changed(f.pods())
		}
	}
}

// look reads what changed in the folder and reports whether the pods did.
func (f *Folder) look() bool {
	entries, err := os.ReadDir(f.cfg.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		// What was known stays: the disk may come back.
		if f.told != err.Error() {
			f.cfg.Logger.Warn("folder of static pods cannot be read; its pods stay as they were", "dir", f.cfg.Dir, "err", err)
		}
		f.told = err.Error()
		return false
	}
	f.told = ""
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
		different = f.read(e.Name(), info, err) || different
	}
	for name, known := range f.files {
		if !there[name] {
			delete(f.files, name)
			different = different || known.pod != nil
		}
	}
	return different
}

func isManifest(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	return slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name))
}

// read looks at one file, if it is not as it was, and reports whether its pod
// changed. What it has to complain of is logged once for each content.
func (f *Folder) read(name string, info fs.FileInfo, err error) bool {
	known := f.files[name]
	if known == nil {
		known = &file{}
		f.files[name] = known
	}
	mark := fmt.Sprint(err)
	if err == nil {
		mark = fmt.Sprint(info.Size(), info.ModTime().UnixNano(), info.Mode())
	}
	if mark == known.mark {
		return false
	}
	known.mark = mark
	path := filepath.Join(f.cfg.Dir, name)
	var pod *corev1.Pod
	if err == nil {
		pod, err = load(path, info, f.cfg.Node)
	}
	if err == nil {
		err = f.taken(name, pod)
	}
	if err != nil {
		f.cfg.Logger.Error("static pod is skipped", "file", path, "err", err, "keeps", known.pod != nil)
		return false
	}
	if known.pod != nil && known.pod.UID == pod.UID {
		return false // other spaces, same pod
	}
	known.pod = pod
	return true
}

// taken reports that another file has a pod of this name.
func (f *Folder) taken(name string, pod *corev1.Pod) error {
	for other, known := range f.files {
		if other != name && known.pod != nil && known.pod.Namespace == pod.Namespace && known.pod.Name == pod.Name {
			return fmt.Errorf("pod %s/%s is in %s already: give one of them another metadata.name", pod.Namespace, pod.Name, other)
		}
	}
	return nil
}

func load(path string, info fs.FileInfo, node string) (*corev1.Pod, error) {
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxManifest {
		return nil, fmt.Errorf("it has more than %d bytes", maxManifest)
	}
	return Decode(text, node)
}

// pods gives the pods of all files.
func (f *Folder) pods() []*corev1.Pod {
	var all []*corev1.Pod
	for _, known := range f.files {
		if known.pod != nil {
			all = append(all, known.pod)
		}
	}
	slices.SortFunc(all, func(a, b *corev1.Pod) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return all
}
