package crilog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// maxEntry bounds one entry of a log file. Runtimes cut lines at 16 KiB; what
// is longer than this is no log.
const maxEntry = 1 << 20

// Options say what Copy copies. The zero value copies all text of both
// streams up to the end of the file as it is.
type Options struct {
	Stream     string    // "stdout" or "stderr"; "" means both
	Since      time.Time // entries before it are left out; zero means none
	Tail       *int64    // only so many of the last entries; nil means all
	Limit      *int64    // bytes of output at most; nil means no limit
	Timestamps bool      // begins each line with its time

	// Follow waits at the end of the file for more. nil ends there.
	Follow Follower
}

// Follower says when a file may have grown.
type Follower interface {
	// Wait returns when the file may have changed. more is false when nothing
	// will be added any more; Copy then reads the rest and returns. The error
	// is ctx's.
	Wait(ctx context.Context) (more bool, err error)
}

// Flusher is implemented by a writer that holds back what it got; Copy calls it
// before it waits.
type Flusher interface{ Flush() }

// Copy copies the text of a log file to w, as Options want it. It follows a
// file that is rotated away to those that take its place, one after the other, but
// for any that were compressed before it came to them. What is no log entry is left
// out. It returns nil at the end or when the limit is reached,
// ctx's error, or w's.
func Copy(ctx context.Context, path string, o Options, w io.Writer) error {
	f, err := open(path)
	if err != nil {
		return fmt.Errorf("crilog: %w", err)
	}
	defer func() { f.Close() }()
	if o.Tail != nil {
		if err := seekTail(f, *o.Tail); err != nil {
			return fmt.Errorf("crilog: %w", err)
		}
	}
	c := &copier{o: o, w: w, fresh: true}
	if o.Limit != nil {
		c.left = *o.Limit
	}
	r := newEntries(f)
	for more := o.Follow != nil; ; {
		if err := c.drain(ctx, r); err != nil || c.full {
			return err
		}
		if !more {
			return nil
		}
		if fl, ok := w.(Flusher); ok {
			fl.Flush()
		}
		if more, err = o.Follow.Wait(ctx); err != nil {
			return err
		}
		next, err := successor(path, f)
		if err != nil {
			return fmt.Errorf("crilog: %w", err)
		}
		if next == nil {
			continue
		}
		// What was added to the old file comes first.
		if err := c.drainQuiet(ctx, r); err != nil || c.full {
			next.Close()
			return err
		}
		f.Close()
		f, r = next, newEntries(next)
		more = true // the new file has to be read before anything ends
	}
}

// copier writes entries as text.
type copier struct {
	o     Options
	w     io.Writer
	fresh bool  // the next entry begins a line
	left  int64 // bytes until the limit
	full  bool
	line  []byte
	seen  int // entries that were read, copied or not
}

// quietTime is how long nothing is added to a file that was rotated before it is
// taken for complete. A runtime passes on what it had read before it changed the
// file; that takes it microseconds.
const quietTime = 50 * time.Millisecond

// drainQuiet copies what is there until nothing more is added.
func (c *copier) drainQuiet(ctx context.Context, r *entries) error {
	for {
		before := c.seen
		if err := c.drain(ctx, r); err != nil || c.full {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(quietTime):
		}
		if err := c.drain(ctx, r); err != nil || c.full || c.seen == before {
			return err
		}
	}
}

// drain copies what is there now.
func (c *copier) drain(ctx context.Context, r *entries) error {
	r.begin()
	defer r.end()
	for n := 0; !c.full; n++ {
		if n%256 == 255 && ctx.Err() != nil {
			return ctx.Err()
		}
		entry, err := r.next()
		if err != nil || entry == nil {
			return err
		}
		c.seen++
		l, err := Parse(entry)
		if err != nil || c.o.Stream != "" && c.o.Stream != l.Stream || l.Time.Before(c.o.Since) {
			continue
		}
		if err := c.write(l); err != nil {
			return err
		}
	}
	return nil
}

// write writes one entry as text, if it is asked for.
func (c *copier) write(l Line) error {
	c.line = c.line[:0]
	if c.o.Timestamps && c.fresh {
		c.line = append(l.Time.AppendFormat(c.line, timeFormat), ' ')
	}
	c.line = append(c.line, l.Text...)
	if c.fresh = !l.Partial; c.fresh {
		c.line = append(c.line, '\n')
	}
	out := c.line
	if c.o.Limit != nil {
		if int64(len(out)) >= c.left {
			out, c.full = out[:c.left], true
		}
		c.left -= int64(len(out))
	}
	_, err := c.w.Write(out)
	return err
}

// timeFormat has nine digits after the point, also where they are zero, so
// that lines sort.
const timeFormat = "2006-01-02T15:04:05.000000000Z07:00"

// entries reads a file entry by entry. An entry without its newline is not yet
// whole and is read again when there is more.
type entries struct {
	f    io.Reader
	r    *bufio.Reader // on f; nil while nothing is read
	part []byte        // of an entry whose rest has not been written yet
	skip bool          // the rest of an entry that was too long
}

// newEntries reads entries from f.
func newEntries(f io.Reader) *entries { return &entries{f: f} }

// readers are the buffers of entries, in use only while something is read: a
// thousand followers wait without one.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}

// begin and end enclose calls of next. At the end of the file nothing is left
// in the buffer.
func (e *entries) begin() {
	e.r = readers.Get().(*bufio.Reader)
	e.r.Reset(e.f)
}

func (e *entries) end() {
	e.r.Reset(nil)
	readers.Put(e.r)
	e.r = nil
}

// next gives the next whole entry, nil at the end of what is there.
func (e *entries) next() ([]byte, error) {
	for {
		b, err := e.r.ReadSlice('\n')
		switch {
		case err == nil && e.skip:
			e.skip = false
			continue
		case err == nil && len(e.part) == 0:
			return b, nil
		case err == nil:
			b = append(e.part, b...)
			e.part = nil
			return b, nil
		case errors.Is(err, io.EOF), errors.Is(err, bufio.ErrBufferFull):
			if !e.skip {
				e.part = append(e.part, b...)
			}
			if len(e.part) > maxEntry {
				e.part, e.skip = nil, true
			}
			if errors.Is(err, io.EOF) {
				return nil, nil
			}
		default:
			return nil, fmt.Errorf("crilog: %w", err)
		}
	}
}

// seekTail moves to where the last n entries begin.
func seekTail(f *os.File, n int64) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || n <= 0 {
		return err
	}
	block := make([]byte, 16<<10)
	// The newline at the very end does not begin an entry.
	for at, found := end, int64(-1); at > 0; {
		size := min(int64(len(block)), at)
		at -= size
		b := block[:size]
		if _, err := f.ReadAt(b, at); err != nil {
			return err
		}
		if at+size == end && b[size-1] != '\n' {
			found = 0 // the last entry is still being written
		}
		for i := bytes.LastIndexByte(b, '\n'); i >= 0; i = bytes.LastIndexByte(b[:i], '\n') {
			if found++; found == n {
				_, err = f.Seek(at+int64(i)+1, io.SeekStart)
				return err
			}
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}
