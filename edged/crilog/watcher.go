package crilog

import (
	"context"
	"path/filepath"
	"sync"

	"github.com/edgekit/edgekit/edged/internal/lifecycle"
)

// Watcher notices when log files change, for any number of readers with one
// descriptor. On a system without inotify, and while Run does not run, it notices
// nothing: readers must look at their file from time to time in any case.
type Watcher struct {
	guard lifecycle.Guard

	mu      sync.Mutex
	folders map[string]*folder // by path
	notify  notifier           // nil while Run does not run
}

// folder is a folder with readers. Folders are watched, not files, so that a
// file which takes another's place is seen.
type folder struct {
	readers map[chan struct{}]struct{}
	id      int // of the watch; -1 if there is none
}

// notifier is the system's way to watch folders.
type notifier interface {
	add(path string) (id int, err error)
	remove(id int)
	// wait calls changed for each change until close.
	wait(changed func(id int)) error
	close()
}

// NewWatcher makes a Watcher. It starts nothing.
func NewWatcher() *Watcher { return &Watcher{folders: make(map[string]*folder)} }

// Run wakes the readers until ctx ends, and then returns nil. A system that cannot
// watch files is no error. A second call returns edged.ErrStarted.
func (w *Watcher) Run(ctx context.Context) error {
	if err := w.guard.Start(); err != nil {
		return err
	}
	n, err := newNotifier()
	if err != nil {
		<-ctx.Done()
		return nil
	}
	w.mu.Lock()
	w.notify = n
	for path, f := range w.folders {
		w.watchLocked(path, f)
	}
	w.mu.Unlock()
	closeOnce := sync.OnceFunc(n.close) // also waits for the call of the other
	stop := context.AfterFunc(ctx, closeOnce)
	defer stop()
	err = n.wait(w.changed)
	w.mu.Lock()
	w.notify = nil
	w.mu.Unlock()
	closeOnce()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Watch gives a channel that gets a value when the file or its neighbours may
// have changed; it holds one value. stop must be called at the end.
func (w *Watcher) Watch(file string) (changed <-chan struct{}, stop func()) {
	path := filepath.Dir(file)
	c := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.folders[path]
	if f == nil {
		f = &folder{readers: make(map[chan struct{}]struct{}), id: -1}
		w.folders[path] = f
		w.watchLocked(path, f)
	}
	f.readers[c] = struct{}{}
	return c, sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(f.readers, c)
		if len(f.readers) > 0 {
			return
		}
		delete(w.folders, path)
		if f.id >= 0 && w.notify != nil {
			w.notify.remove(f.id)
		}
	})
}

// watchLocked watches a folder, if the system can.
func (w *Watcher) watchLocked(path string, f *folder) {
	if w.notify == nil {
		return
	}
	if id, err := w.notify.add(path); err == nil { // else its readers look by themselves
		f.id = id
	}
}

// changed wakes the readers of a folder.
func (w *Watcher) changed(id int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.folders {
		if f.id != id {
			continue
		}
		for c := range f.readers {
			select {
			case c <- struct{}{}:
			default:
			}
		}
	}
}
