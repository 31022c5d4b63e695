package nodestatus

import (
	"context"
	"time"

	"github.com/edgekit/edgekit/edged/internal/hostinfo"
)

const (
	// diskPatience is how long one look at the node waits for the disk.
	diskPatience = time.Second
	// diskJoin is how long the end of an Agent waits for a disk that hangs. The
	// kernel lets nobody cancel such a call.
	diskJoin = time.Second
)

// diskSilentError says that a file system has not answered for too long.
type diskSilentError struct{ dir string }

func (e *diskSilentError) Error() string {
	return "the file system of " + e.dir + " does not answer: look at its disk, or at the server that it is mounted from"
}

// diskCheck asks how much room a file system has. The call hangs for as long as
// the disk does, as with a dead NFS server, so it is made in a goroutine, of which
// there is one at most. Its methods are called from one goroutine.
type diskCheck struct {
	dir   string
	limit time.Duration // a call that takes longer is one that hangs
	stat  func(dir string) (hostinfo.Space, error)

	begun   time.Time
	pending chan diskAnswer // the call under way; nil if there is none
	last    diskAnswer
}

type diskAnswer struct {
	space hostinfo.Space
	err   error
}

func newDiskCheck(dir string, limit time.Duration, stat func(dir string) (hostinfo.Space, error)) *diskCheck {
	return &diskCheck{dir: dir, limit: limit, stat: stat}
}

// space gives the room that there is. If the answer takes long it gives the one
// before, and a diskSilentError once that has taken too long.
func (d *diskCheck) space(ctx context.Context) (hostinfo.Space, error) {
	if d.pending == nil {
		pending := make(chan diskAnswer, 1)
		d.pending, d.begun = pending, time.Now()
		go func() {
			space, err := d.stat(d.dir)
			pending <- diskAnswer{space, err}
		}()
	}
	patience := time.NewTimer(diskPatience)
	defer patience.Stop()
	select {
	case d.last = <-d.pending:
		d.pending = nil
	case <-patience.C:
		if time.Since(d.begun) >= d.limit {
			return hostinfo.Space{}, &diskSilentError{d.dir}
		}
	case <-ctx.Done():
	}
	return d.last.space, d.last.err
}

// join waits for the call under way, but not for a disk that hangs.
func (d *diskCheck) join() {
	if d.pending == nil {
		return
	}
	patience := time.NewTimer(diskJoin)
	defer patience.Stop()
	select {
	case <-d.pending:
		d.pending = nil
	case <-patience.C:
	}
}
