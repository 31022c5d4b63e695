package httplink

import (
	"errors"
	"io"
	"sync"
	"time"
)

// The buffers of a copy. One at rest has a small one; one that carries many
// bytes reads pieces of up to mostRead, and gathers up to mostGathered while a
// write is under way.
const (
	firstRead    = 4 << 10
	mostRead     = 32 << 10
	mostGathered = 128 << 10
)

// carry copies from r to w until r ends. It reads on while a write is under way:
// TLS reads 16 KiB at a time, and each write to a stream waits for others, so
// that one after the other they would leave both ends idle most of the time.
//
// When a write fails, carry ends a read under way by a deadline if r has deadlines;
// otherwise carry returns when the read does.
func carry(w io.Writer, r io.Reader) (int64, error) {
	c := &carrier{w: w}
	c.changed.L = &c.mu
	if d, ok := r.(interface{ SetReadDeadline(time.Time) error }); ok {
		c.interrupt = func() { _ = d.SetReadDeadline(time.Unix(1, 0)) } // one that has gone is read no more
	}
	var writing sync.WaitGroup
	writing.Go(c.write)
	err := c.read(r)
	writing.Wait()
	if c.err != nil {
		err = c.err
	}
	return c.written, err
}

type carrier struct {
	w         io.Writer
	interrupt func() // ends a read; may be nil
	written   int64  // only the writer's, until it has ended

	mu       sync.Mutex
	changed  sync.Cond
	gathered []byte // that was read and is not being written
	ended    bool   // reading has ended
	err      error  // why writing ended
}

// read gathers the bytes of r, until r ends or writing has failed.
func (c *carrier) read(r io.Reader) error {
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ended = true
		c.changed.Broadcast()
	}()
	for buf := make([]byte, firstRead); ; {
		n, err := r.Read(buf)
		if !c.gather(buf[:n]) || errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if n == len(buf) && n < mostRead {
			buf = make([]byte, min(4*n, mostRead))
		}
	}
}

// gather appends b to what is to be written. It reports false when writing has failed.
func (c *carrier) gather(b []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && len(c.gathered) > 0 && len(c.gathered)+len(b) > mostGathered {
		c.changed.Wait()
	}
	if c.err != nil {
		return false
	}
	c.gathered = append(c.gathered, b...)
	c.changed.Broadcast()
	return true
}

// write writes what was gathered.
func (c *carrier) write() {
	var batch []byte
	for {
		if batch = c.take(batch); len(batch) == 0 {
			return
		}
		n, err := c.w.Write(batch)
		if c.written += int64(n); err != nil {
			c.mu.Lock()
			c.err = err
			c.changed.Broadcast()
			c.mu.Unlock()
			if c.interrupt != nil {
				c.interrupt()
			}
			return
		}
	}
}

// take waits for gathered bytes, and hands back the buffer of the bytes before. It
// returns none at the end.
func (c *carrier) take(before []byte) []byte {
	if cap(before) > firstRead && len(before) < firstRead {
		before = nil // little is gathered now: free the large buffer
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.gathered) == 0 && !c.ended {
		c.changed.Wait()
	}
	batch := c.gathered
	c.gathered = before[:0]
	c.changed.Broadcast()
	return batch
}
