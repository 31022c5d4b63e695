package evictor

import (
	"context"
	"time"

	"github.com/edgekit/edgekit/edged/internal/diskusage"
	"github.com/edgekit/edgekit/edged/internal/nodeusage"
)

// joinLimit is how long the end of an Evictor waits for a disk that hangs. The kernel
// lets nobody cancel such a call.
const joinLimit = time.Second

// reader reads files, which takes as long as the disk does. Its methods are called from
// one goroutine.
type reader struct {
	node NodeMeter
	disk *diskusage.Meter // belongs to the call under way

	pending chan reading // of the call under way; nil if there is none
}

// reading is what was read: of the node, and of folders.
type reading struct {
	node nodeusage.Reading
	disk map[string]diskusage.Usage
}

// do reads the node and folders, files of these at the most. It is false when that takes
// longer than the limit; the next call then gives what this one would have.
func (r *reader) do(ctx context.Context, limit time.Duration, folders []string, files int) (reading, bool) {
	if r.pending == nil {
		pending := make(chan reading, 1)
		r.pending = pending
		go func() {
			out := reading{node: r.node.Read(ctx)}
			if files > 0 {
				out.disk = r.disk.Measure(ctx, folders, files)
			}
			pending <- out
		}()
	}
	patience := time.NewTimer(limit)
	defer patience.Stop()
	select {
	case out := <-r.pending:
		r.pending = nil
		return out, true
	case <-patience.C:
	case <-ctx.Done():
	}
	return reading{}, false
}

// join waits for the call under way, but not for a disk that hangs, and closes what is
// open.
func (r *reader) join() {
	if r.pending != nil {
		patience := time.NewTimer(joinLimit)
		defer patience.Stop()
		select {
		case <-r.pending:
			r.pending = nil
		case <-patience.C:
			return // what is open ends with the program
		}
	}
	r.disk.Close()
}
