package sources

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
)

// Bounds of a followed file.
const (
	pollEvery   = 250 * time.Millisecond
	saveEvery   = 500 * time.Millisecond
	maxLine     = pipeline.MaxEvent
	headSize    = 1024 // bytes of the fingerprint
	batchLines  = 500
	batchBytes  = 256 << 10
	goneAfter   = 10 * time.Second // a file that may end: without a name for so long, it has
	maxSiblings = 1000             // rotated files that are looked at
)

// line is one line of a file.
type line struct {
	text       []byte // without its line break; the receiver's
	generation uint64 // counts the files that had the name
	offset     int64  // where the line begins
	end        int64  // where the next begins
}

// id names the line, the same after a restart.
func (l line) id() string { return fmt.Sprintf("%d-%d", l.generation, l.offset) }

// follower reads the lines of a file, and of those that take its place. run is called once.
type follower struct {
	root  *os.Root
	path  string
	state string // file of the place; empty remembers nothing
	end   bool   // begins at the end of the file if nothing is remembered
	ends  bool   // run returns when the file is gone
	clock pipeline.Clock
	log   *slog.Logger

	file *os.File // nil while there is none
	at   place    // what was emitted
	read *bufio.Reader
	part []byte // of a line whose rest is not there yet
	skip bool   // the line is too long

	mu    sync.Mutex
	safe  place // what is safe
	saved place
	last  time.Time         // of the last save
	heads map[uint64][]byte // the beginnings of files that were read, while not all of them is safe
}

// done notes that all lines up to the end of l are safe. It may be called by any goroutine, in
// the order of the lines.
func (f *follower) done(l line) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.generation > f.safe.Generation || l.generation == f.safe.Generation && l.end > f.safe.Offset {
		f.safe = place{Generation: l.generation, Offset: l.end}
	}
}

// run emits lines until ctx ends, or the file is gone for good.
func (f *follower) run(ctx context.Context, emit func(ctx context.Context, lines []line) error) error {
	defer f.close()
	known := f.load()
	if known {
		f.resume()
	}
	missing := time.Time{}
	for {
		if f.file == nil {
			if err := f.open(known); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			known = true // a file that comes later is read from its beginning
		}
		if f.file != nil {
			if err := f.drain(ctx, emit); err != nil {
				return err
			}
			more, err := f.rotate(ctx, emit)
			if err != nil {
				return err
			}
			f.save(false)
			if more {
				continue
			}
		}
		if _, err := f.root.Lstat(f.path); !errors.Is(err, fs.ErrNotExist) {
			missing = time.Time{}
		} else if missing.IsZero() {
			missing = f.clock.Now()
		}
		if f.ends && !missing.IsZero() && f.clock.Now().Sub(missing) >= goneAfter {
			f.save(true)
			return nil
		}
		timer := f.clock.NewTimer(pollEvery)
		select {
		case <-timer.C():
		case <-ctx.Done():
			timer.Stop()
			f.save(true)
			return nil
		}
	}
}

func (f *follower) close() {
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
}

// openRegular opens a regular file to read it. It does not wait, and follows no link out of the
// folder.
func (f *follower) openRegular(name string) (*os.File, error) {
	info, err := f.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file but %s", name, info.Mode().Type())
	}
	file, err := f.root.Open(name)
	if err != nil {
		return nil, err
	}
	if now, err := file.Stat(); err != nil || !os.SameFile(info, now) {
		file.Close()
		return nil, fmt.Errorf("%s was replaced meanwhile", name)
	}
	return file, nil
}

// use reads a file from where it is.
func (f *follower) use(file *os.File) {
	f.file, f.read, f.part, f.skip = file, bufio.NewReaderSize(file, 32<<10), nil, false
}

// open opens the file under its name, at the beginning, or at the end if nothing is known of it
// and that is wanted.
func (f *follower) open(known bool) error {
	file, err := f.openRegular(f.path)
	if err != nil {
		return err
	}
	f.at.Offset, f.at.Head, f.at.HeadSize = 0, "", 0
	if f.end && !known {
		if f.at.Offset, err = lastLine(file); err == nil {
			_, err = file.Seek(f.at.Offset, io.SeekStart)
		}
		if err != nil {
			file.Close()
			return err
		}
	}
	f.use(file)
	f.mu.Lock()
	if f.at.Generation >= f.safe.Generation && f.at.Offset >= f.safe.Offset {
		f.safe = f.at
	}
	f.mu.Unlock()
	return nil
}

// lastLine is where the last unfinished line begins.
func lastLine(file *os.File) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	block := make([]byte, 32<<10)
	for end := info.Size(); end > 0; {
		b := block[:min(int64(len(block)), end)]
		if _, err := file.ReadAt(b, end-int64(len(b))); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
			return end - int64(len(b)) + int64(i) + 1, nil
		}
		end -= int64(len(b))
	}
	return 0, nil
}

// drain emits the lines that are whole.
func (f *follower) drain(ctx context.Context, emit func(ctx context.Context, lines []line) error) error {
	for {
		var batch []line
		size := 0
		for len(batch) < batchLines && size < batchBytes {
			l, ok, err := f.next()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if l.text != nil {
				batch, size = append(batch, l), size+len(l.text)
			}
		}
		if len(batch) == 0 {
			return nil
		}
		if err := emit(ctx, batch); err != nil {
			return err
		}
		f.save(false)
	}
}

// next reads one line; not ok at the end of what is there. Of a line that is too long, text is
// nil.
func (f *follower) next() (l line, ok bool, err error) {
	for {
		b, err := f.read.ReadSlice('\n')
		if !f.skip {
			f.part = append(f.part, b...)
		}
		l = line{generation: f.at.Generation, offset: f.at.Offset}
		switch {
		case err == nil:
			f.at.Offset += int64(len(b))
			if f.skip {
				f.skip = false
				f.log.Warn("a line is left out: it is too long", "file", f.path, "offset", l.offset, "limit", maxLine)
				return line{end: f.at.Offset, generation: l.generation}, true, nil
			}
			return f.whole(l), true, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
		default:
			return l, false, err
		}
		if len(f.part) > maxLine {
			f.skip = true
			f.at.Offset += int64(len(f.part))
			f.part = nil
		} else if f.skip {
			f.at.Offset += int64(len(b))
		}
		if errors.Is(err, io.EOF) {
			return l, false, nil
		}
	}
}

// whole makes a line of part.
func (f *follower) whole(l line) line {
	f.at.Offset = l.offset + int64(len(f.part))
	text := bytes.TrimSuffix(bytes.TrimSuffix(f.part, []byte("\n")), []byte("\r"))
	l.text, l.end, f.part = append([]byte{}, text...), f.at.Offset, f.part[:0]
	return l
}

// rotate goes on to the file that has taken the place of the one that is read. It reports
// whether there is more to read.
func (f *follower) rotate(ctx context.Context, emit func(ctx context.Context, lines []line) error) (bool, error) {
	mine, err := f.file.Stat()
	if err != nil {
		return false, err
	}
	if mine.Size() < f.at.Offset { // copied away and truncated
		f.nextGeneration(f.file)
		if _, err := f.file.Seek(0, io.SeekStart); err != nil {
			return false, err
		}
		f.use(f.file)
		return true, nil
	}
	now, err := f.root.Lstat(f.path)
	if err != nil || os.SameFile(mine, now) || now.Size() == 0 {
		return false, nil // also between the steps of a rotation
	}
	next := f.path
	for _, name := range f.siblings() { // of several rotations, the first after mine
		if info, err := f.root.Lstat(name); err == nil && !os.SameFile(info, mine) && info.ModTime().After(mine.ModTime()) {
			next = name
			break
		}
	}
	file, err := f.openRegular(next)
	if err != nil {
		return false, nil // the next look finds its successor
	}
	// What was added to the old file comes first; at its end there is no more.
	if err := f.drain(ctx, emit); err != nil {
		file.Close()
		return false, err
	}
	if len(f.part) > 0 && !f.skip {
		l := f.whole(line{generation: f.at.Generation, offset: f.at.Offset})
		if err := emit(ctx, []line{l}); err != nil {
			file.Close()
			return false, err
		}
	}
	f.nextGeneration(f.file)
	f.close()
	f.use(file)
	return true, nil
}

// nextGeneration begins the next file. The beginning of the one before is kept, so that it is
// found again if not all of its lines are safe when the program ends.
func (f *follower) nextGeneration(file *os.File) {
	if f.heads == nil {
		f.heads = make(map[uint64][]byte)
	}
	b := make([]byte, min(f.at.Offset, headSize))
	if _, err := file.ReadAt(b, 0); err == nil && len(f.heads) < 64 {
		f.heads[f.at.Generation] = b
	}
	f.at = place{Generation: f.at.Generation + 1}
}

// siblings are the files that the file was rotated to: those in its folder whose names begin
// with its own name, or with that before its extension, and end with no sign of compression;
// oldest first.
func (f *follower) siblings() []string {
	dir, base := path.Split(filepath.ToSlash(f.path))
	if dir = path.Clean(dir); dir == "" {
		dir = "."
	}
	entries, err := fs.ReadDir(f.root.FS(), dir)
	if err != nil {
		return nil
	}
	stem := strings.TrimSuffix(base, path.Ext(base))
	type sibling struct {
		name string
		at   time.Time
	}
	var list []sibling
	for _, e := range entries {
		name := e.Name()
		ext := path.Ext(name)
		rotated := strings.HasPrefix(name, base+".") || strings.HasPrefix(name, base+"-") || stem != "" && ext == path.Ext(base) && (strings.HasPrefix(name, stem+".") || strings.HasPrefix(name, stem+"-"))
		if name == base || !rotated || !e.Type().IsRegular() || slices.Contains([]string{".gz", ".zst", ".bz2", ".xz", ".tmp"}, ext) {
			continue
		}
		if info, err := e.Info(); err == nil && len(list) < maxSiblings {
			list = append(list, sibling{path.Join(dir, name), info.ModTime()})
		}
	}
	slices.SortFunc(list, func(a, b sibling) int { return a.at.Compare(b.at) })
	names := make([]string, 0, len(list))
	for _, s := range list {
		names = append(names, s.name)
	}
	return names
}
