package join

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"
)

// persistStep is by how much a Clock must have advanced before it writes its file again,
// to reduce wear of flash.
const persistStep = time.Hour

// Clock is a clock that never goes back before a time that is proved to have passed: it
// gives that time or the system's, whichever is later. It is for tls.Config.Time. A nil
// *Clock is the system's.
type Clock struct {
	path string

	mu    sync.Mutex
	floor time.Time // without a monotonic reading
	since time.Time // when floor was learned, by the system's monotonic clock
	saved time.Time
	err   error
}

// NewClock makes a Clock that remembers in a file at path; an empty path remembers
// nothing. A damaged file is treated as missing: the next proved time replaces it.
func NewClock(path string) (*Clock, error) {
	c := &Clock{path: path, since: time.Now()}
	if path == "" {
		return c, nil
	}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("join: read the clock's file: %w", err)
	}
	if t, err := time.Parse(time.RFC3339, strings.TrimSpace(string(b))); err == nil {
		c.floor, c.saved = t, t
	}
	return c, nil
}

// Now is the latest time known.
func (c *Clock) Now() time.Time {
	now := time.Now()
	if c == nil {
		return now
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.floor.Add(now.Sub(c.since)); at.After(now) {
		return at
	}
	return now
}

// Learn notes that t has passed. t must be proved: the beginning of a
// certificate's life, for example, once its signature is verified. The
// system's own clock proves nothing, since it may have been in the future.
func (c *Clock) Learn(t time.Time) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if t = t.Round(0); !t.After(c.floor.Add(now.Sub(c.since))) {
		return
	}
	c.floor, c.since = t, now
	if c.path != "" && t.Sub(c.saved) >= persistStep {
		if c.err = writeFile(c.path, []byte(t.UTC().Format(time.RFC3339)+"\n")); c.err == nil {
			c.saved = t
		}
	}
}

// Err is the error of the last write of the file, or nil.
func (c *Clock) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
