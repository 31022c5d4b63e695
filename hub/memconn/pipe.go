package memconn

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// pipe is one direction of a stream: chunks of bytes, each with the time at
// which it arrives.
type pipe struct {
	n *Network

	mu        sync.Mutex
	chunks    []chunk
	size      int // bytes in chunks
	end       bool
	endAt     time.Time
	err       error // broken off: both sides get it
	stalled   bool
	readable  deadline
	writeable deadline
	// changed is closed and renewed whenever a waiting side should look again.
	changed chan struct{}
}

type chunk struct {
	data []byte
	at   time.Time
}

// deadline is a point in time; zero is none.
type deadline struct{ at time.Time }

func (d deadline) passed(now time.Time) bool { return !d.at.IsZero() && !now.Before(d.at) }

func newPipe(n *Network, stalled bool) *pipe {
	return &pipe{n: n, stalled: stalled, changed: make(chan struct{})}
}

func (p *pipe) wakeLocked() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *pipe) read(b []byte) (int, error) {
	for {
		p.mu.Lock()
		now := time.Now()
		n, wake, err := p.takeLocked(b, now)
		if n > 0 || err != nil || len(b) == 0 {
			p.mu.Unlock()
			return n, err
		}
		changed := p.changed
		wake = earlier(wake, p.readable.at)
		p.mu.Unlock()
		wait(changed, wake)
	}
}

// takeLocked reads what has arrived. wake is when more will have, if known.
func (p *pipe) takeLocked(b []byte, now time.Time) (n int, wake time.Time, err error) {
	if p.err != nil {
		return 0, wake, p.err
	}
	if p.readable.passed(now) {
		return 0, wake, os.ErrDeadlineExceeded
	}
	if p.stalled {
		return 0, wake, nil
	}
	for len(p.chunks) > 0 && n < len(b) {
		c := &p.chunks[0]
		if now.Before(c.at) {
			return n, c.at, nil
		}
		k := copy(b[n:], c.data)
		n += k
		p.size -= k
		if c.data = c.data[k:]; len(c.data) == 0 {
			p.chunks = p.chunks[1:]
		}
	}
	switch {
	case n > 0:
		p.wakeLocked()
	case len(p.chunks) == 0 && p.end && now.Before(p.endAt):
		wake = p.endAt
	case len(p.chunks) == 0 && p.end:
		err = io.EOF
	}
	return n, wake, err
}

func (p *pipe) write(b []byte) (int, error) {
	delay := p.n.currentDelay()
	total := 0
	for {
		p.mu.Lock()
		now := time.Now()
		switch {
		case p.err != nil:
			p.mu.Unlock()
			return total, p.err
		case p.end:
			p.mu.Unlock()
			return total, fmt.Errorf("memconn: write after the end: %w", io.ErrClosedPipe)
		case p.writeable.passed(now):
			p.mu.Unlock()
			return total, os.ErrDeadlineExceeded
		}
		if k := min(len(b)-total, p.n.cfg.Window-p.size); k > 0 {
			data := append([]byte(nil), b[total:total+k]...)
			p.chunks = append(p.chunks, chunk{data, p.arrivalLocked(now.Add(delay))})
			p.size += k
			total += k
			p.wakeLocked()
		}
		if total == len(b) {
			p.mu.Unlock()
			return total, nil
		}
		changed, wake := p.changed, p.writeable.at
		p.mu.Unlock()
		wait(changed, wake)
	}
}

// arrivalLocked keeps the order when the delay becomes shorter.
func (p *pipe) arrivalLocked(at time.Time) time.Time {
	if k := len(p.chunks); k > 0 && at.Before(p.chunks[k-1].at) {
		return p.chunks[k-1].at
	}
	return at
}

func (p *pipe) closeWrite() error {
	delay := p.n.currentDelay()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil && !p.end {
		p.end, p.endAt = true, p.arrivalLocked(time.Now().Add(delay))
		p.wakeLocked()
	}
	return nil
}

// breakOff ends the pipe for both sides at once.
func (p *pipe) breakOff(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err, p.chunks, p.size = err, nil, 0
		p.wakeLocked()
	}
}

func (p *pipe) stall(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = on
	p.wakeLocked()
}

func (p *pipe) setReadDeadline(t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readable.at = t
	p.wakeLocked()
}

func (p *pipe) setWriteDeadline(t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writeable.at = t
	p.wakeLocked()
}

// earlier is the first of two times of which zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// wait returns at a change or at the time wake, zero being never.
func wait(changed <-chan struct{}, wake time.Time) {
	if wake.IsZero() {
		<-changed
		return
	}
	t := time.NewTimer(time.Until(wake))
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	}
}
