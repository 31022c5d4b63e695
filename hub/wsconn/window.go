package wsconn

import "sync/atomic"

const (
	// firstWindow is how much of a stream may be unread at first; the first
	// stream of a connection, which carries the session's state, has more.
	firstWindow     = 16 << 10
	firstWindowMain = 256 << 10
	// maxWindow is what a window grows to while the reader waits for the
	// network: 4 MiB over 40 ms are 100 MiB a second.
	maxWindow = 4 << 20
	// maxGrown bounds the growth of all windows of one connection.
	maxGrown = 16 << 20
	// defaultMemory bounds it for all connections of a Listener.
	defaultMemory = 256 << 20
	// maxStreams is how many streams a peer may have open.
	maxStreams = 4096
)

// windowOf is the first window of a stream, on both sides.
func windowOf(id uint64) int {
	if id == 1 {
		return firstWindowMain
	}
	return firstWindow
}

// memoryBudget is a number of bytes that many connections share. A nil one has no limit.
type memoryBudget struct {
	limit int64
	used  atomic.Int64
}

func (g *memoryBudget) reserve(n int) bool {
	if g == nil {
		return true
	}
	if g.used.Add(int64(n)) > g.limit {
		g.used.Add(-int64(n))
		return false
	}
	return true
}

func (g *memoryBudget) release(n int) {
	if g != nil {
		g.used.Add(-int64(n))
	}
}
