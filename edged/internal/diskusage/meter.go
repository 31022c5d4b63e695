package diskusage

import (
	"context"
	"os"
	"slices"
)

// Bounds of what a Meter remembers of one folder. What is beyond them is left out of the
// usage (folders that wait), or counted more than once (files with several names).
const (
	maxPending = 16384
	maxLinks   = 16384
)

// batch is how many names of a folder are read at once.
const batch = 256

// minShare is how many files of each folder are looked at in a pass, whatever its bound.
const minShare = 32

// Usage is what a folder takes of the disk.
type Usage struct{ Bytes, Inodes uint64 }

// Meter measures folders. See the package comment.
type Meter struct {
	walks map[string]*walk
	next  int // the folder that what is left of a pass goes to first
}

// New makes a Meter.
func New() *Meter { return &Meter{walks: make(map[string]*walk)} }

// Close closes the folders that are open. The Meter begins anew after it.
func (m *Meter) Close() {
	for _, w := range m.walks {
		w.close()
	}
	clear(m.walks)
}

// Measure looks at files of the folders, most of them at the most, and gives the usage of
// each. A folder that is not there uses nothing. What is known of folders that are not
// named is forgotten.
func (m *Meter) Measure(ctx context.Context, dirs []string, most int) map[string]Usage {
	for dir := range m.walks {
		if !slices.Contains(dirs, dir) {
			m.walks[dir].close()
			delete(m.walks, dir)
		}
	}
	done := make(map[string]bool)
	visit := func(dir string, share int) int {
		w := m.walks[dir]
		if w == nil {
			w = &walk{dir: dir}
			m.walks[dir] = w
		}
		if ctx.Err() != nil || done[dir] || share <= 0 {
			return 0
		}
		n, ended := w.run(share)
		done[dir] = ended
		return n
	}
	left := most
	for _, dir := range dirs { // each gets its share first
		left -= visit(dir, max(most/len(dirs), minShare))
	}
	for i := range dirs { // then the large ones get what is left, in turn
		at := (m.next + i) % len(dirs)
		left -= visit(dirs[at], left)
		if left <= 0 {
			m.next = at
			break
		}
	}
	out := make(map[string]Usage, len(dirs))
	for _, dir := range dirs {
		out[dir] = m.walks[dir].usage()
	}
	return out
}

// walk is the way through one folder, which may take several passes.
type walk struct {
	dir     string
	before  Usage // of the last walk that came to its end
	so      Usage // so far
	pending []string
	open    *os.File           // the folder that is being read; nil between two
	at      string             // its path
	linked  map[[2]uint64]bool // files with several names that were counted
	device  uint64
	begun   bool
}

// usage is the best that is known.
func (w *walk) usage() Usage {
	return Usage{max(w.before.Bytes, w.so.Bytes), max(w.before.Inodes, w.so.Inodes)}
}

// run goes on for about that many files, and reports how many it looked at and whether
// it came to the end. A folder with very many files in it stays open until the next pass.
func (w *walk) run(share int) (n int, ended bool) {
	if !w.begun {
		w.begun, w.so, w.pending, w.linked = true, Usage{}, []string{"."}, nil
	}
	for n < share {
		if w.open == nil {
			last := len(w.pending) - 1
			if last < 0 {
				w.before, w.so, w.begun, w.pending, w.linked = w.so, Usage{}, false, nil, nil
				return n, true
			}
			w.at = w.pending[last]
			w.pending = w.pending[:last]
			w.open = w.openFolder(w.at)
			n++
			continue
		}
		read := w.readBatch(min(batch, share-n))
		n += read
		if read == 0 {
			w.close()
		}
	}
	return n, false
}

// close closes the folder that is open, if any.
func (w *walk) close() {
	if w.open != nil {
		_ = w.open.Close() // it was only read
		w.open = nil
	}
}

// entry is what is counted of a file.
type entry struct {
	bytes         uint64
	device, inode uint64
	links         uint64
	folder        bool
}

// count adds a file, and notes a folder for later.
func (w *walk) count(path string, e entry) {
	if e.device != w.device {
		return // mounted there, such as a tmpfs
	}
	if e.links > 1 && !e.folder {
		id := [2]uint64{e.device, e.inode}
		if w.linked[id] {
			return
		}
		if w.linked == nil {
			w.linked = make(map[[2]uint64]bool)
		}
		if len(w.linked) < maxLinks {
			w.linked[id] = true
		}
	}
	w.so.Bytes += e.bytes
	w.so.Inodes++
	if e.folder && len(w.pending) < maxPending {
		w.pending = append(w.pending, path)
	}
}
